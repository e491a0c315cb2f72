"""Passwords by one-time link: who is asked, for what, and under which names the vault has them.

Nothing of it is ever in a group: the address and the code go to the person who asked, by two
direct messages, and the page takes what is typed straight into the vault.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from adapters.card import Block, Button, Buttons, Card, Style, Text, Tone, dumps
from adapters.port import Keys, UsageError
from adapters.words import Chat, Person, Secret
from runbooks import walk as walking
from runbooks.book import Phase, Runbook, Step
from runbooks.kit import Errand
from runbooks.press import action
from runbooks.steps import tickets
from runbooks.steps.monitor import password_name
from runbooks.steps.servers import bastion_of, bastion_password
from storage.records import Customer, Delivery, DeliveryState, Lane, Run, RunStatus, Server
from storage.runs import OPEN
from storage.store import Unit

SERVERS, MONITOR = "server-passwords", "monitor-password"
"""What a link may be for, beside a signature and an account."""

KEEPER = "密码保管人"
"""Whoever knows the passwords: we need not know who that is."""

LONGEST = 256

EVERY = "all"
"""Name of the row whose passwords are those of every server left empty."""


@dataclass(frozen=True, slots=True)
class Asking:
    """A link that somebody asked for. `servers` are ids; empty for the monitor's password."""

    customer: int
    purpose: str
    servers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Field:
    """One password that a page asks for: what it is called there, and in the vault."""

    name: str
    label: str
    keeps: tuple[str, ...]
    """The vault's names that it is kept under."""
    instead: bool = False
    """Is it only for those whose own field is left empty?"""


async def send(case: Asking, errand: Errand) -> tuple[Asking, str]:
    """Tell the link's address and its code to whoever asked for it."""
    async with errand.kit.store.view() as unit:
        run = await unit.runs.get(errand.run)
    assert run is not None
    subject = json.dumps({"customer": case.customer, "servers": list(case.servers)})
    told = await tickets.tell(errand, "link", case.purpose, subject, run.started_by, KEEPER)
    return case, told


PASSWORDS: Runbook[Asking] = Runbook(
    "passwords",
    "登记密码",
    Asking,
    (Phase("登记密码"), Step("link", "发送一次性链接", send)),
)


async def ask_servers(
    customer: Customer, names: Sequence[str], by: Person, now: datetime, unit: Unit
) -> Run:
    """Begin to ask for the passwords of these servers, or of all; UsageError for a strange name."""
    there = await unit.servers.of(customer.id)
    known = {server.name for server in there}
    if strange := [name for name in names if name not in known]:
        raise UsageError(f"没有登记服务器「{'、'.join(strange)}」：请用 /server list 查看名称")
    chosen = tuple(server.id for server in there if not names or server.name in names)
    if not chosen:
        raise UsageError("还没有登记服务器：请先用 /server add 名称 地址")
    return await _begin(Asking(customer.id, SERVERS, chosen), by, now, unit)


async def ask_monitor(customer: Customer, by: Person, now: datetime, unit: Unit) -> Run:
    """Begin to ask for the password of the bot's own account on the customer's monitor."""
    return await _begin(Asking(customer.id, MONITOR), by, now, unit)


async def fields_of(purpose: str, subject: Mapping[str, object], unit: Unit) -> tuple[Field, ...]:
    """Return what the page of a link asks for, as its customer's servers now are."""
    customer = int(str(subject["customer"]))
    if purpose == MONITOR:
        return (Field("monitor", "机器人账号的密码", (password_name(customer),)),)
    wanted = subject["servers"]
    assert isinstance(wanted, list)
    return server_fields([s for s in await unit.servers.of(customer) if s.id in wanted])


def server_fields(servers: Sequence[Server]) -> tuple[Field, ...]:
    """Return the fields of servers: one for all of them, one for each, one for each bastion."""
    logins = tuple(f"server:{server.id}:password" for server in servers)
    sudos = tuple(f"server:{server.id}:sudo" for server in servers)
    found = [
        Field(f"{EVERY}-password", "所有服务器：登录密码", logins, instead=True),
        Field(f"{EVERY}-sudo", "所有服务器：sudo 密码", sudos, instead=True),
    ]
    for server, login, sudo in zip(servers, logins, sudos, strict=True):
        found.append(Field(f"{server.id}-password", f"{server.name}：登录密码", (login,)))
        found.append(Field(f"{server.id}-sudo", f"{server.name}：sudo 密码", (sudo,)))
    bastions = {
        jump.host: bastion_password(server.customer, jump.host)
        for server in servers
        if (jump := bastion_of(server))
    }
    found += [
        Field(f"bastion-{number}", f"跳板机 {host}：密码", (name,))
        for number, (host, name) in enumerate(bastions.items())
    ]
    return tuple(found)


def read(fields: Sequence[Field], typed: Mapping[str, str]) -> dict[str, Secret]:
    """Return each password under its vault's name; UsageError when none was typed, or one is no
    password. A field of one's own goes before the one for all."""
    given: dict[str, Secret] = {}
    for field in sorted(fields, key=lambda field: not field.instead):
        text = typed.get(field.name, "")
        if not text:
            continue
        if len(text) > LONGEST or any(unicodedata.category(c) in {"Cc", "Cs"} for c in text):
            raise UsageError(
                f"「{field.label}」不像密码：最多 {LONGEST} 个字符，不能有换行和控制字符"
            )
        given |= dict.fromkeys(field.keeps, Secret(text))
    if not given:
        raise UsageError("没有填写任何密码：请至少填一项再提交")
    return given


async def keep(
    purpose: str,
    subject: Mapping[str, object],
    typed: Mapping[str, str],
    now: datetime,
    unit: Unit,
) -> int:
    """Keep what a page was told, say so in the group without a secret, and return how many."""
    given = read(await fields_of(purpose, subject, unit), typed)
    for name, secret in given.items():
        await unit.vault.put(name, secret)
    number = int(str(subject["customer"]))
    customer = await unit.customers.get(number)
    detail = {"customer": str(number), "names": "、".join(given)}
    await unit.audit.add(now, "one-time link", purpose, detail)
    if customer and customer.chat:
        runs = await unit.runs.of(number)
        stuck = next((run for run in runs if run.status is RunStatus.STUCK), None)
        key = f"{purpose}:{number}:{uuid4().hex[:12]}"
        card = dumps(kept_card(len(given), stuck))
        waiting = DeliveryState.WAITING
        said = Delivery(0, key, customer.chat, Lane.NORMAL, waiting, now, card=card)
        await unit.outbox.put(said)
    return len(given)


def kept_card(count: int, stuck: Run | None) -> Card:
    """Return what the group is told: how many, and that the stuck line may be tried again."""
    blocks: list[Block] = [Text(f"已通过一次性链接登记 {count} 项密码（加密保存，不在群里显示）")]
    if stuck:
        blocks.append(Text("可以重试停下的步骤了"))
        again = Button("重试", action("retry", stuck), Style.PRIMARY)
        blocks.append(Buttons((again,)))
    return Card("密码已登记", Tone.GOOD, tuple(blocks))


async def key_line(customer: Customer, keys: Keys, unit: Unit) -> str:
    """Return the public line of the customer's own key pair, which is made the first time."""
    name = key_name(customer.id)
    line = await unit.vault.get(f"{name}:public")
    if line is None:
        private, made = keys.make(f"vigilbot-{customer.slug}")
        line = Secret(made)
        await unit.vault.put(name, private)
        await unit.vault.put(f"{name}:public", line)
    return line.reveal()


def key_name(customer: int) -> str:
    """Return the vault's name of a customer's private key."""
    return f"customer:{customer}:ssh_key"


async def bare(customer: int, unit: Unit) -> tuple[str, ...]:
    """Return the names of the servers of which no password is known."""
    servers = await unit.servers.of(customer)
    return tuple(
        [s.name for s in servers if await unit.vault.get(f"server:{s.id}:password") is None]
    )


def key_card(company: str, line: str, without: Sequence[str]) -> Card:
    """Return what is told after the intake: the one line to paste, and what it is for."""
    blocks: list[Block] = [
        Text(f"「{company}」的 SSH 公钥，请客户加到各服务器登录用户的 ~/.ssh/authorized_keys："),
        Text(line, Style.CODE),
    ]
    if without:
        names = "、".join(without)[:500]
        blocks.append(
            Text(
                f"{len(without)} 台没有登记密码：{names}。"
                "粘贴公钥即可免密码，或在客户群里输入 /server password 用一次性链接登记密码"
            )
        )
    return Card("SSH 公钥", Tone.NEUTRAL, tuple(blocks))


async def offer(customer: Customer, chat: Chat, now: datetime, unit: Unit) -> bool:
    """Tell a customer's group the line to paste, once, when a server has no password; False when
    there is nothing to tell."""
    line = await unit.vault.get(f"{key_name(customer.id)}:public")
    without = await bare(customer.id, unit)
    if line is None or not without:
        return False
    card = dumps(key_card(customer.name, line.reveal(), without))
    key, waiting = f"key-line:{customer.id}", DeliveryState.WAITING
    return await unit.outbox.put(Delivery(0, key, chat, Lane.NORMAL, waiting, now, card=card))


async def _begin(case: Asking, by: Person, now: datetime, unit: Unit) -> Run:
    runs = await unit.runs.of(case.customer, PASSWORDS.name)
    for old in runs:
        if old.status in OPEN and old.status is not RunStatus.WALKING:
            # A link that could not be told must not stand before the onboarding for ever.
            await walking.cancel(old, "重新申请了链接", now, unit)
    run = walking.fresh(PASSWORDS, case.customer, walking.dump(case), by, now)
    placed = await walking.start(PASSWORDS, run, unit)
    detail = {"run": placed.id, "customer": str(case.customer)}
    await unit.audit.add(now, by.name, f"ask-{case.purpose}", detail)
    return placed
