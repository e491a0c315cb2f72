"""A model that is opened when it is first asked."""

from __future__ import annotations

from adapters.words import Secret, Severity
from bot.demo.model import Behaviour, answer_to, serve
from bot.late import LateModel
from runbooks.alerting.triage.masking import Mask
from runbooks.alerting.triage.verdict import SYSTEM, Advice, Line, question, read


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


async def test_the_demos_model_answers_the_triage_as_it_asks() -> None:
    """So a newcomer sees advice with what it leans on, and not an answer that is unusable."""
    said = "触发 | critical | 磁盘将满 | [N1]"
    lines = [
        Line("A1", said, said),
        Line("M1", "磁盘 97%", "磁盘 97%"),
        Line("R1", "看 df", "看 df"),
    ]
    async with serve() as url, LateModel(url, "demo", Secret("demo-key")) as model:
        answer = await model.ask(SYSTEM, question(lines))
    advice = read(answer.text, lines, Mask([]))
    assert isinstance(advice, Advice)
    assert advice.severity is Severity.CRITICAL
    assert [line.name for line in advice.citations] == ["A1", "M1", "R1"]
    assert "磁盘" in advice.summary
