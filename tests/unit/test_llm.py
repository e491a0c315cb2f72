"""The model's client against a stand-in that speaks OpenAI's interface over real HTTP."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import AsyncIterator

import pytest

from adapters.llm import LARGEST, OpenAiModel
from adapters.port import Answer, OutsideError, Permanent, Transient
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


def completion(**of: object) -> bytes:
    """Return a body that is a completion but for what is given."""
    message = {"role": "assistant", "content": "看 du"}
    whole = {"model": "deepseek-chat", "choices": [{"message": message}], "usage": None}
    return json.dumps(whole | of).encode()


def said(content: object) -> bytes:
    return completion(choices=[{"message": {"content": content}}])


HTML = b"<html><title>502 upstream</title></html>"


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (HTML, "text/html"), (HTML, "application/json"), (b"ok", "text/plain"), (b"", "application/json"),
        (b"[]", "application/json"), (b"[{}]", "application/json"), (b"null", "application/json"),
        (b'"x"', "application/json"), (b"5", "application/json"), (b"{}", "application/json"),
        (b"{", "application/json"), (b"\xff\xfe{", "application/json"), (b"\xff\xfe{", "text/html"),
        (b'{"choices":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "application/json"),
        (completion(choices=None), "application/json"), (completion(choices="abc"), "application/json"),
        (completion(choices={"0": {}}), "application/json"), (completion(choices=[]), "application/json"),
        (completion(choices=[5]), "application/json"), (completion(choices=[{}]), "application/json"),
        (completion(choices=[{"message": None}]), "application/json"),
        (completion(choices=[{"message": "x"}]), "application/json"),
        (said(5), "application/json"), (said([{"type": "text", "text": "x"}]), "application/json"),
        (said({"a": 1}), "application/json"), (said(True), "application/json"),
    ],
    ids=lambda of: str(of)[:40],
)  # fmt: skip
async def test_what_is_no_completion_is_a_failure_of_ours(
    url: str, behaviour: Behaviour, body: bytes, media_type: str
) -> None:
    """The page of a gateway, a broken body, a field of another type: none of it is repeated."""
    behaviour.body, behaviour.media_type = body, media_type
    with pytest.raises(Permanent, match="请检查模型地址") as caught:
        await ask(url)
    assert "upstream" not in "".join(traceback.format_exception(caught.value))


async def test_an_answer_without_an_end_is_not_read_to_it(url: str, behaviour: Behaviour) -> None:
    """It would take the memory of all else."""
    behaviour.body = said("长" * LARGEST)
    with pytest.raises(Permanent, match="应答过长"):
        await ask(url)


@pytest.mark.parametrize("usage", [None, "n", 5, [], {}, {"total_tokens": "q"}])
async def test_an_answer_counts_without_its_usage(
    url: str, behaviour: Behaviour, usage: object
) -> None:
    behaviour.body = completion(usage=usage)
    async with OpenAiModel(url, "deepseek-chat", Secret(KEY)) as model:
        assert await model.ask("", "") == Answer("看 du", "deepseek-chat", 0)


@pytest.mark.parametrize(
    ("named", "shown"),
    [
        ("deepseek-ai/DeepSeek-V3.1", "deepseek-ai/DeepSeek-V3.1"),
        ("qwen3:8b", "qwen3:8b"),
        (7, "deepseek-chat"),
        (None, "deepseek-chat"),
        ("https://evil.example", "deepseek-chat"),
        ("@所有人 立刻重启", "deepseek-chat"),
        ("m" * 500, "deepseek-chat"),
    ],
)
async def test_what_calls_itself_a_model_is_called_so_only_by_a_name(
    url: str, behaviour: Behaviour, named: object, shown: str
) -> None:
    """It stands on a card: whoever answers cannot put a link or a mention there."""
    behaviour.body = completion(model=named)
    async with OpenAiModel(url, "deepseek-chat", Secret(KEY)) as model:
        assert (await model.ask("", "")).model == shown


async def test_an_answer_without_words_is_an_empty_one(url: str, behaviour: Behaviour) -> None:
    behaviour.body = said(None)
    async with OpenAiModel(url, "deepseek-chat", Secret(KEY)) as model:
        assert (await model.ask("", "")).text == ""
