"""Begins lives of a program that is to be killed: what it needs is imported once, a life is a fork.

    python tests/chaos/mother.py MODULE

For each line of its input, a JSON list of words, it forks a life that runs `MODULE.main(*words)`,
says `lives PID`, waits, and says `ended CODE`; what the life says itself stands in between.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
KILLED = -signal.SIGKILL


class Mother:
    """Where lives of one program begin, one after the other."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def begin(self, *words: str) -> int:
        """Begin a life with these words, and return its number of process."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps(words)}\n".encode())
        await self._process.stdin.drain()
        lives, _, pid = (await self.line()).partition(" ")
        assert lives == "lives", lives
        return int(pid)

    async def line(self) -> str:
        """Return the next line that was said; empty after the mother's own end."""
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).decode().rstrip("\n")

    async def end(self) -> tuple[int, list[str]]:
        """Wait for the life's end; return its code, negative for a signal, and what it said yet."""
        said: list[str] = []
        while line := await self.line():
            if line.startswith("ended "):
                return int(line.removeprefix("ended ")), said
            said.append(line)
        raise AssertionError(f"the mother is dead; said last: {said}")

    async def life(self, *words: str) -> tuple[int, list[str]]:
        """Let a life be lived to its end; return its code and what it said."""
        await self.begin(*words)
        return await self.end()


@asynccontextmanager
async def mother(module: str) -> AsyncIterator[Mother]:
    """Have somebody who begins lives, and the last of them ended when this is left."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", __file__, module),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield Mother(process)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def say(words: str) -> None:
    """Write a line by one system call: a kill cannot take half of it back."""
    os.write(1, f"{words}\n".encode())


def main(name: str) -> None:
    program = importlib.import_module(name)
    gc.freeze()
    for line in sys.stdin:
        life = os.fork()
        if not life:
            asyncio.run(program.main(*json.loads(line)))
            os._exit(0)
        say(f"lives {life}")
        _, status = os.waitpid(life, 0)
        say(f"ended {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
