"""Whoever looks at the console leaves readers of the database to those who tell of alarms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI

from bot.web import console
from runbooks.kit import Kit
from storage.store import READERS, Store, Unit
from storage.vault import Seal

MANY = 2 * READERS


class Slow(Store):
    """A store in which a look takes until somebody says that it may end."""

    def __init__(self, url: str) -> None:
        super().__init__(url, Seal(Seal.new_key()))
        self.looking = asyncio.Semaphore(0)
        self.enough = asyncio.Event()
        self.inside = self.most = 0

    @asynccontextmanager
    async def view(self) -> AsyncIterator[Unit]:
        async with super().view() as unit:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.looking.release()
            await self.enough.wait()
            yield unit
            self.inside -= 1

    async def alarm(self) -> bool:
        """Look as a fold does."""
        async with super().view() as unit:
            return await unit.customers.all() == []


@pytest.mark.usefixtures("own_pages")
async def test_a_crowd_at_the_console_does_not_keep_an_alarm_waiting(
    tmp_path: Path, clock: Any
) -> None:
    nobody, app = cast("Any", None), FastAPI()
    async with Slow(f"sqlite+aiosqlite:///{tmp_path / 'bot.sqlite'}") as store:
        await store.create()
        console.mount(Kit(clock, store, {}, nobody, nobody, nobody), {}, lambda _: True)
        console.attach(app)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://bot") as web,
            asyncio.TaskGroup() as group,
        ):
            pages = [group.create_task(web.get("/console")) for _ in range(MANY)]
            for _ in range(console.AT_ONCE):
                await store.looking.acquire()
            async with asyncio.timeout(5):
                assert await store.alarm()
            store.enough.set()
        assert store.most == console.AT_ONCE
        assert {page.result().status_code for page in pages} == {200}
