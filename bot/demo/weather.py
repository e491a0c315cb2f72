"""A storm at the press of a button: a newcomer sees one card instead of hundreds of messages.

What comes is posted as a monitor would post it, through the intake; nothing else of the bot knows
that it is play.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from html import escape

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from adapters.webchat.link import WebChat
from adapters.words import Person
from bot.web.links import HEADERS, STYLE
from runbooks.kit import Kit
from storage.intake import Intake
from storage.records import Customer

PATH = "/demo/storm"
SAMPLE = "示例客户"
HOSTS, RULES = 20, ("CPU 使用率过高", "内存不足", "磁盘将满", "接口超时", "连接数过多", "丢包")
WAVES = 3
"""The whole storm is sent so often, as monitors repeat themselves."""
PAUSE, CALM = 4.0, 60.0
"""Seconds between two waves, and until all of it is over."""
CRITICALS = (("数据库宕机", "db-01"), ("主从复制中断", "db-02"), ("数据库宕机", "db-03"))

Said = tuple[str, str, str]


class Weather:
    """Makes storms. `people` join the group of the sample customer, where there is no other."""

    def __init__(self, kit: Kit, intake: Intake, web: WebChat, people: Sequence[Person]) -> None:
        self._kit = kit
        self._intake = intake
        self._web = web
        self._people = people
        self._raging: set[asyncio.Task[None]] = set()

    def attach(self, app: FastAPI) -> None:
        """Put the page with the button before whatever else the site answers."""
        app.router.routes.insert(0, Route(PATH, self._page, methods=["GET", "POST"]))

    async def storm(self) -> Customer:
        """Begin a storm for the customer that came last, and return them."""
        customer = await self._customer()
        task = asyncio.create_task(self._rage(customer.id))
        self._raging.add(task)
        task.add_done_callback(self._raging.discard)
        return customer

    async def aclose(self) -> None:
        """End the storms that are under way."""
        for task in self._raging:
            task.cancel()
        await asyncio.gather(*self._raging, return_exceptions=True)

    async def _page(self, request: Request) -> Response:
        if request.method == "POST":
            await self.storm()
            return RedirectResponse("/chat", 303)
        customer = await self._customer()
        return HTMLResponse(_page_of(customer.name), headers=HEADERS)

    async def _customer(self) -> Customer:
        async with self._kit.store.view() as unit:
            there = [each for each in await unit.customers.all() if each.chat]
        if there:
            return there[-1]
        group = await self._web.found(f"{SAMPLE} 告警群", list(self._people), chat_id="sample")
        async with self._kit.store.unit() as unit:
            now = self._kit.clock.now()
            return await unit.customers.add(Customer(0, SAMPLE, "sample", now, group))

    async def _rage(self, customer: int) -> None:
        storm = [(rule, f"web-{n:02}", "warning") for rule in RULES for n in range(HOSTS)]
        for wave in range(WAVES):
            await self._post(customer, storm)
            await self._kit.clock.sleep(PAUSE)
            await self._post(customer, [(*CRITICALS[wave], "critical")])
        await self._kit.clock.sleep(CALM)
        ended = [*storm, *((*critical, "critical") for critical in CRITICALS)]
        await self._post(customer, ended, status="resolved")

    async def _post(self, customer: int, said: Sequence[Said], status: str = "firing") -> None:
        now = self._kit.clock.now()
        alerts = [
            {
                "status": status,
                "labels": {"alertname": rule, "instance": host, "severity": severity},
                "annotations": {"summary": f"{host} {rule}"},
                "startsAt": now.isoformat(),
                "endsAt": "0001-01-01T00:00:00Z",
                "fingerprint": f"demo:{rule}@{host}",
            }
            for rule, host, severity in said
        ]
        body = json.dumps({"version": "4", "status": status, "alerts": alerts})
        await self._intake.accept(customer, "alertmanager", body.encode(), now)


def _page_of(customer: str) -> str:
    count = HOSTS * len(RULES)
    return (
        '<!doctype html><html lang="zh-CN"><head><meta charset="utf-8"><title>告警风暴</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f"<h1>告警风暴</h1><p>{HOSTS} 台服务器、{count} 条告警，重复 {WAVES} 遍，"
        f"中间有 {len(CRITICALS)} 条严重告警，约 {int(CALM)} 秒后恢复；"
        f"发到「{escape(customer)}」的群。群里只会有一张会变的卡片，严重告警单独提醒。</p>"
        f'<form method="post" action="{PATH}"><p><button>开始一场风暴</button></p></form>'
        "</body></html>"
    )
