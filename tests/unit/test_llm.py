"""The model's client against a stand-in that speaks OpenAI's interface over real HTTP."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator

import pytest

from adapters.llm import OpenAiModel
from adapters.port import OutsideError, Permanent, Transient
from adapters.words import Secret
from bot.demo.model import Behaviour, serve

KEY = "sk-very-secret-key"


@pytest.fixture
def behaviour() -> Behaviour:
    return Behaviour(key=KEY)


@pytest.fixture
async def url(behaviour: Behaviour) -> AsyncIterator[str]:
    async with serve(behaviour) as base_url:
        yield base_url


async def ask(url: str, key: str = KEY, timeout: float = 10.0) -> str:
    async with OpenAiModel(url, "deepseek-chat", Secret(key)) as model:
        answer = await model.ask("简短回答", "磁盘 92% 怎么办？", timeout=timeout)
    assert answer.model == model.name == "deepseek-chat"
    assert answer.tokens > len(answer.text)
    return answer.text


async def test_a_question_is_answered_and_the_system_prompt_arrives(
    url: str, behaviour: Behaviour
) -> None:
    assert "磁盘将满" in await ask(url)
    (asked,) = behaviour.seen
    assert [(m.role, m.content) for m in asked.messages] == [
        ("system", "简短回答"),
        ("user", "磁盘 92% 怎么办？"),
    ]


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (429, Transient, "过于频繁"),
        (500, Transient, "HTTP 500"),
        (503, Transient, "HTTP 503"),
        (403, Permanent, "账号权限"),
        (404, Permanent, "模型地址"),
        (400, Permanent, "HTTP 400"),
    ],
)
async def test_each_failure_is_one_of_ours_and_tells_no_key(
    url: str, behaviour: Behaviour, status: int, kind: type[OutsideError], said: str
) -> None:
    """The stand-in repeats the key in its errors, as the real ones do."""
    behaviour.fail = [status]
    with pytest.raises(kind, match=said) as caught:
        await ask(url)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert "磁盘将满" in await ask(url), "the next question is answered again"


async def test_the_far_side_says_when_to_come_back(url: str, behaviour: Behaviour) -> None:
    behaviour.fail, behaviour.retry_after = [429], "7"
    with pytest.raises(Transient) as caught:
        await ask(url)
    assert caught.value.retry_after == 7.0


async def test_a_wrong_key_is_refused_and_not_repeated(url: str) -> None:
    wrong = "sk-" + "another-secret"
    with pytest.raises(Permanent, match="不接受密钥") as caught:
        await ask(url, key=wrong)
    assert wrong not in "".join(traceback.format_exception(caught.value))


async def test_silence_ends_after_the_time_that_was_given(url: str, behaviour: Behaviour) -> None:
    behaviour.hang = asyncio.Event()
    with pytest.raises(Transient, match=r"0\.05 秒"):
        await ask(url, timeout=0.05)
    behaviour.hang.set()


async def test_nobody_at_home_is_a_network_fault(url: str) -> None:
    async with serve() as gone:
        pass
    with pytest.raises(Transient, match="连不上"):
        await ask(gone)
