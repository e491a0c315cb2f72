"""`vigilbot demo --auto`: the whole onboarding unattended, as somebody would start it."""

from __future__ import annotations

import asyncio
import os
import sys

from runbooks.onboarding import ONBOARDING


async def test_the_whole_sop_is_walked_and_every_line_is_proved() -> None:
    """It takes the ports of the first customer, so it runs in one process of the tests alone."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bot",
        "demo",
        "--auto",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    async with asyncio.timeout(110):
        told, _ = await process.communicate()
    text = told.decode()
    timeline = text.partition("—— 时间线 ——")[2]
    assert process.returncode == 0, text[-3000:]
    for line in ONBOARDING.lines:
        assert f"✅ {line.title} " in timeline
    assert "demo-key" not in text
