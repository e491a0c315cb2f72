"""Killed with SIGKILL under load: every alert that was answered 200 is there, in order, once.

`make test` kills a few times after numbers of answers drawn from a seed (`VIGILBOT_SEED` gives the
same again); `make chaos` does it often.
"""

from __future__ import annotations

import json
import os
import random
import signal

import pytest

from storage.intake import Intake
from tests.chaos.mother import KILLED, Mother, mother
from tests.chaos.test_kill import SEED, both, database

__all__ = ["database"]  # the fixture

KILLS = 3
OFTEN = 40
MOST = 400
"""Answers after which it is killed, at the latest."""

pytestmark = pytest.mark.timeout(300)


async def life(born: Mother, url: str, first: int, answers: int) -> list[int]:
    """Run the program until it has answered so often, kill it, and return what it answered."""
    pid = await born.begin(url, str(first))
    lines = [await born.line() for _ in range(answers)]
    os.kill(pid, signal.SIGKILL)
    code, rest = await born.end()
    assert code == KILLED
    return [int(line) for line in lines + rest]


async def story(url: str, kills: int) -> None:
    dice = random.Random(SEED)
    answered: list[int] = []
    async with mother("tests.chaos.intake_child") as born:
        for _ in range(kills):
            first = max(answered, default=0) + 1000
            answered += await life(born, url, first, dice.randint(1, MOST))
    async with Intake(url) as intake:
        posts = await intake.after(0, 1_000_000)
    kept = [int(json.loads(post.body)["alerts"][0]["fingerprint"]) for post in posts]
    assert set(answered) <= set(kept), "what was answered 200 is there"
    assert len(kept) == len(set(kept)), "and once"
    assert [post.id for post in posts] == list(range(1, len(posts) + 1))
    assert len(kept) - len(answered) <= kills * 16, "only what was on its way is there unanswered"


@both
async def test_what_was_answered_survives_a_few_kills(database: str) -> None:
    print(f"VIGILBOT_SEED={SEED}")  # noqa: T201 - pytest shows it when the test fails
    await story(database, KILLS)


@pytest.mark.chaos_long
@pytest.mark.timeout(3600)
@both
async def test_what_was_answered_survives_many_kills(database: str) -> None:
    await story(database, OFTEN)
