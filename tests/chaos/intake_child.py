"""The program that is killed: the hooks over a real intake, under load from within.

A life of it begins with DATABASE_URL and FIRST (`tests/chaos/mother.py`). Each post has a number, from FIRST on. A number is written to standard output when, and only when,
its post was answered 200; the writing is one system call, so a kill cannot take it back.
"""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime
from typing import Any, cast

import httpx
from fastapi import FastAPI

from adapters.words import Secret
from bot.app import SystemClock
from bot.web.hooks import Hook, router
from runbooks.kit import Kit
from storage.intake import Intake
from storage.records import Customer
from storage.store import Store
from storage.vault import Seal
from tests.chaos.mother import say

TOKEN = Secret("t" * 43)
SENDERS = 16
OK = 200
BODY = (
    '{"version":"4","alerts":[{"status":"firing","labels":{"alertname":"A","n":"%d"},'
    '"annotations":{},"startsAt":"2026-11-25T03:00:00Z","fingerprint":"%d"}]}'
)


async def main(url: str, first: str) -> None:
    nobody = cast("Any", None)
    async with Store(url, Seal(Seal.new_key())) as store, Intake(url) as intake:
        await store.create()
        async with store.unit() as unit:
            if await unit.customers.get(1) is None:
                now = datetime.now(tz=UTC)
                made = await unit.customers.add(Customer(0, "海蓝", "hailan", now))
                await unit.hooks.add(made.id, "alertmanager", TOKEN, now)
        app = FastAPI()
        kit = Kit(SystemClock(), store, {}, nobody, nobody, nobody)
        app.include_router(router(Hook(kit, intake)))
        transport = httpx.ASGITransport(app)
        numbers = itertools.count(int(first))
        async with httpx.AsyncClient(transport=transport, base_url="http://bot") as web:

            async def send() -> None:
                for number in numbers:
                    body = BODY % (number, number)
                    answer = await web.post(f"/hooks/alertmanager/{TOKEN.reveal()}", content=body)
                    if answer.status_code == OK:
                        say(str(number))

            await asyncio.gather(*(send() for _ in range(SENDERS)))
