"""Phase 6: what is owed, and when."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbooks.duties import DUTIES, Duty, Rhythm, next_due, owed
from storage.records import Tier

DAYS = st.dates(date(2020, 1, 1), date(2040, 1, 1))


@pytest.mark.parametrize(
    ("rhythm", "begun", "after", "due"),
    [
        (Rhythm.WEEKLY, "2026-11-25", "2026-11-25", "2026-12-02"),
        (Rhythm.WEEKLY, "2026-11-25", "2026-12-02", "2026-12-09"),
        (Rhythm.MONTHLY, "2026-01-31", "2026-02-01", "2026-02-28"),
        (Rhythm.MONTHLY, "2026-01-31", "2026-02-28", "2026-03-31"),
        (Rhythm.MONTHLY, "2026-11-25", "2026-12-24", "2026-12-25"),
        (Rhythm.QUARTERLY, "2026-11-30", "2026-12-31", "2027-02-28"),
    ],
)
def test_a_duty_falls_due_on_its_day(rhythm: Rhythm, begun: str, after: str, due: str) -> None:
    day = next_due(Duty("d", "d", rhythm), date.fromisoformat(begun), date.fromisoformat(after))
    assert day == date.fromisoformat(due)


@given(begun=DAYS, wait=st.integers(0, 2000), duty=st.sampled_from(DUTIES))
def test_no_duty_is_ever_further_away_than_its_rhythm(begun: date, wait: int, duty: Duty) -> None:
    after = begun + timedelta(days=wait)
    due = next_due(duty, begun, after)
    longest = {Rhythm.WEEKLY: 7, Rhythm.MONTHLY: 31, Rhythm.QUARTERLY: 92}
    if due is None:
        assert duty.rhythm is Rhythm.ALWAYS
    else:
        assert 0 < (due - after).days <= longest[duty.rhythm]


def test_the_basic_tier_is_not_owed_remediation() -> None:
    assert {d.key for d in DUTIES} - {d.key for d in owed(Tier.BASIC)} == {"duty-ai"}
