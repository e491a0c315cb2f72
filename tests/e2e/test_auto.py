"""`vigilbot demo --auto`: the whole onboarding unattended, as somebody would start it."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from runbooks.onboarding import ONBOARDING

# Worlds that are deployed side by side would plan the same ports of this machine.
pytestmark = pytest.mark.xdist_group("ports")

NOT_WALKED = {"invite"}
"""Lines that do not concern the script's customer: everybody signs in the chat."""


async def told_by(*words: str) -> tuple[int | None, str]:
    """Run the program to its end, or for two minutes; return its exit code and what it told."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout
    lines: list[bytes] = []
    try:
        async with asyncio.timeout(110):
            while line := await process.stdout.readline():
                lines.append(line)
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
    return process.returncode, b"".join(lines).decode()


async def test_the_whole_sop_is_walked_and_every_line_is_proved() -> None:
    """Every line of the table ends well, in front of whoever started it."""
    code, text = await told_by("-m", "bot", "demo", "--auto")
    timeline = text.partition("—— 时间线 ——")[2]
    assert code == 0, text[-3000:]
    for line in ONBOARDING.lines:
        assert (f"✅ {line.title} " in timeline) == (line.key not in NOT_WALKED)
    assert "demo-key" not in text
