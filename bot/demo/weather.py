"""A storm at the press of a button: a newcomer sees one card instead of hundreds of messages.

What comes is posted as a monitor would post it, through the intake; nothing else of the bot knows
that it is play.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

from bot.demo.agenda import Agenda
from bot.demo.sample import Said, Sample
from storage.records import Customer

HOSTS, RULES = 20, ("CPU 使用率过高", "内存不足", "磁盘将满", "接口超时", "连接数过多", "丢包")
WAVES = 3
"""The whole storm is sent so often, as monitors repeat themselves."""
PAUSE, CALM = 4.0, 60.0
"""Seconds between two waves, and until all of it is over."""
CRITICALS = (("数据库宕机", "db-01"), ("主从复制中断", "db-02"), ("数据库宕机", "db-03"))

LONELY: Said = ("核心交换机失联", "switch-01", "critical")
LASTS = timedelta(hours=3)
"""How long the alert lasts that nobody sees to."""


class Weather:
    """Makes storms, by way of the agenda: a clock that is put forward does not jump over them."""

    def __init__(self, sample: Sample, agenda: Agenda) -> None:
        self._sample = sample
        self._agenda = agenda

    async def storm(self) -> Customer:
        """Begin a storm for the customer that came last, and return them."""
        customer = await self._sample.latest()
        now = self._sample.kit.clock.now()
        storm = [(rule, f"web-{n:02}", "warning") for rule in RULES for n in range(HOSTS)]
        for wave in range(WAVES):
            begins = now + timedelta(seconds=PAUSE * wave)
            self._post(begins, customer.id, storm)
            critical = (*CRITICALS[wave], "critical")
            self._post(begins + timedelta(seconds=PAUSE), customer.id, [critical])
        over = now + timedelta(seconds=PAUSE * WAVES + CALM)
        ended = [*storm, *((*critical, "critical") for critical in CRITICALS)]
        self._post(over, customer.id, ended, "resolved")
        return customer

    async def lonely(self, customer: Customer) -> None:
        """Have one critical fire for hours: unless somebody acknowledges it, it climbs."""
        now = self._sample.kit.clock.now()
        self._post(now, customer.id, [LONELY])
        self._post(now + LASTS, customer.id, [LONELY], "resolved")

    def _post(
        self, at: datetime, customer: int, said: Sequence[Said], status: str = "firing"
    ) -> None:
        self._agenda.add(at, partial(self._sample.post, customer, said, status))
