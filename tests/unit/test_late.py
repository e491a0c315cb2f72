"""A model that is opened when it is first asked."""

from __future__ import annotations

from adapters.words import Secret
from bot.demo.model import Behaviour, answer_to, serve
from bot.late import LateModel


async def test_the_first_question_opens_it() -> None:
    how = Behaviour()
    async with (
        serve(how) as url,
        LateModel(url, "demo", Secret("demo-key")) as model,
    ):
        assert how.seen == []
        for _ in range(2):
            answer = await model.ask("你是运维专家", "磁盘快满了")
            assert answer.text == answer_to("磁盘快满了")
    assert len(how.seen) == 2
