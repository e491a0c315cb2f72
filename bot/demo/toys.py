"""The page of the demo's toys: a storm, an alert that nobody answers, the clock, a month of on-call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from html import escape
from typing import Any
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from adapters.card import plain
from adapters.port import UsageError
from adapters.webchat.link import WebChat
from adapters.webchat.wire import Post
from adapters.words import Chat, Person
from bot.demo.clock import DemoClock
from bot.demo.forward import Forward, Played
from bot.demo.month import Month
from bot.demo.sample import NAME, Sample
from bot.demo.weather import CALM, CRITICALS, HOSTS, LASTS, RULES, WAVES, Weather
from bot.web.links import HEADERS, STYLE
from storage.roster import Rung

PATH = "/demo"
STORM, ALERT, CLOCK, MONTH = (f"{PATH}/{name}" for name in ("storm", "alert", "clock", "month"))
FORBIDDEN = 403
SHOWN = 80
"""Lines of what was said while the clock was put forward."""
REST_OF = 60
"""Characters of a card beside its title."""
LATEST = 12
"""Lines of them that are not folded away: a phone shows the whole page without them."""
UPDATED = "（此后更新，这里是最后的样子）"
FAR = timedelta(days=366)
"""The next call is looked for within this time."""
NOTHING_CLIMBS = "现在没有在升级的事件：先发一条没人理的严重告警"

LEAPS: Mapping[str, tuple[str, timedelta]] = {
    "5m": ("+5 分钟", timedelta(minutes=5)),
    "1h": ("+1 小时", timedelta(hours=1)),
    "1d": ("+1 天", timedelta(days=1)),
    "30d": ("+30 天", timedelta(days=30)),
}
RUNG, REST = "rung", "rest"

LOOK = (
    "nav,form{display:inline-block;margin:0 .5em .3em 0}button{cursor:pointer;border-radius:.4em;"
    "border:1px solid #3157d5;background:#3157d5;color:#fff;padding:.4em .9em}"
    "button:disabled{opacity:.45;cursor:default}h2{margin:1.6em 0 .2em;font-size:1.1em}p{margin:.4em 0}"
    "progress{width:100%;height:1.2em}.now{font-size:1.5em;font-weight:600}.quiet{color:#666}"
    "[role=alert]{background:#fff3e0;border-left:.3em solid #e07b00;padding:.5em .8em}"
    "td{vertical-align:top}td:first-child,td:nth-child(2){white-space:nowrap}"
    "@media(max-width:600px){body{margin:1em auto}td:nth-child(2),th:nth-child(2){display:none}}"
)

Begin = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
"""Has something done beside everything else; it must not die unseen."""


@dataclass(frozen=True, slots=True)
class Toys:
    """What may be played with."""

    sample: Sample
    clock: DemoClock
    forward: Forward
    weather: Weather
    month: Month


class ToyShop:
    """The page, and what its buttons do."""

    def __init__(self, toys: Toys, zone: ZoneInfo, viewers: Sequence[Person], begin: Begin) -> None:
        """`viewers` see all chats of the page between them; times are shown in `zone`."""
        self._toys = toys
        self._zone = zone
        self._viewers = viewers
        self._begin = begin
        self._task: asyncio.Task[None] | None = None
        self._said = ""

    def attach(self, app: FastAPI) -> None:
        """Put the page before whatever else the site answers."""
        buttons = {STORM: self._storm, ALERT: self._alert, CLOCK: self._leap, MONTH: self._month}
        routes = [Route(path, _guarded(do), methods=["POST"]) for path, do in buttons.items()]
        app.router.routes[0:0] = [Route(PATH, self._page, methods=["GET"]), *routes]

    def close(self) -> None:
        """End what is being played."""
        if self._task:
            self._task.cancel()

    # -- the buttons --------------------------------------------------------------------------

    async def _storm(self, _: Request) -> Response:
        return _to_chat((await self._toys.weather.storm()).chat, self._viewers[0])

    async def _alert(self, _: Request) -> Response:
        customer = await self._toys.sample.latest()
        await self._toys.month.staffed(customer)
        await self._toys.weather.lonely(customer)
        # Whoever presses for the next call at once shall find one.
        await self._toys.forward.settle()
        self._said = (
            "已发出一条严重告警。没有人确认，它会逐级呼叫：按「到下一次呼叫」看轮到谁、用什么方式"
        )
        return RedirectResponse(PATH, 303)

    async def _month(self, _: Request) -> Response:
        return self._play(self._toys.month.play)

    async def _leap(self, request: Request) -> Response:
        wanted = str((await request.form()).get("to", ""))
        now, last = self._toys.clock.now(), self._toys.forward.played
        if wanted in LEAPS:
            until = now + LEAPS[wanted][1]
        elif wanted == REST and last and last.until > now:
            until = last.until
        elif wanted == RUNG and await self._next_rung():
            return self._play(self._to_call)
        else:
            self._said = NOTHING_CLIMBS
            return RedirectResponse(PATH, 303)
        return self._play(lambda: self._toys.forward.play(until))

    async def _to_call(self) -> Played:
        """Live through everything up to the next call that is made: one whose alert is over before
        is none. Raises UsageError when no call is left."""
        forward, since, stops = self._toys.forward, self._toys.clock.now(), 0
        while rung := await self._next_rung():
            played = await forward.play(rung.due)
            stops += played.stops
            forward.played = played = replace(played, since=since, stops=stops)
            if played.stopped or await self._was_made(rung):
                return played
        raise UsageError(NOTHING_CLIMBS)

    async def _next_rung(self) -> Rung | None:
        now = self._toys.clock.now()
        async with self._toys.sample.kit.store.view() as unit:
            due = await unit.escalations.due(now + FAR)
        return next((rung for rung in due if rung.due > now), None)

    async def _was_made(self, rung: Rung) -> bool:
        async with self._toys.sample.kit.store.view() as unit:
            made = await unit.escalations.done(rung.due)
        return rung.key in {each.key for each in made}

    def _play(self, play: Callable[[], Awaitable[Played]]) -> Response:
        if self._toys.forward.playing or (self._task and not self._task.done()):
            self._said = "时钟正在推进，请等它停下"
            return RedirectResponse(PATH, 303)
        self._said = ""

        async def playing() -> None:
            try:
                self._said = (await play()).stopped
            except UsageError as error:
                self._said = str(error)

        self._task = self._begin(playing())
        return RedirectResponse(PATH, 303)

    # -- the page -----------------------------------------------------------------------------

    async def _page(self, _: Request) -> Response:
        toys, zone = self._toys, self._zone
        busy = bool(self._task and not self._task.done())
        there = await toys.sample.there()
        body = "".join(
            (
                f'<p><a href="/chat">← 回到聊天</a></p><h1>演示工具</h1>{_said(self._said)}',
                _hands(toys.clock, zone),
                _progress(toys.forward.played) if busy else "",
                _shelf(there.name if there else NAME, toys.forward.played, busy),
                self._lived(toys.forward.played),
            )
        )
        refresh = '<meta http-equiv="refresh" content="1">' if busy else ""
        return HTMLResponse(
            '<!doctype html><html lang="zh-CN"><head><meta charset="utf-8"><title>演示工具</title>'
            f'<meta name="viewport" content="width=device-width">{refresh}'
            f"<style>{STYLE}{LOOK}</style></head><body>{body}</body></html>",
            headers=HEADERS,
        )

    def _lived(self, played: Played | None) -> str:
        """Say what was said in the chats during the last play."""
        if played is None:
            return ""
        posts = said_between(self._toys.sample.web, self._viewers, played.since, played.at)
        rows = [
            f"<tr><td>{post.at.astimezone(self._zone):%m-%d %H:%M}</td>"
            f"<td>{escape(post.chat.title)}</td><td>{escape(line_of(post))}</td></tr>"
            for post in posts[-SHOWN:]
        ]
        span = (
            f"{played.since.astimezone(self._zone):%m-%d %H:%M} 至 "
            f"{played.at.astimezone(self._zone):%m-%d %H:%M}"
        )
        head = (
            f"<h2>这段时间里发生了什么</h2><p>{span}，停了 {played.stops} 次，消息 {len(posts)} 条"
        )
        more = f"，下面是最后 {SHOWN} 条，全部在聊天里" if len(posts) > SHOWN else ""
        return f"{head}{more}。</p>{table_of(rows)}"


def said_between(
    web: WebChat, viewers: Sequence[Person], since: datetime, until: datetime
) -> list[Post]:
    """Return what was said between two instants in the chats of these people, the oldest first."""
    chats = dict.fromkeys(chat for person in viewers for chat in web.chats(person))
    posts = [post for chat in chats for post in web.history(chat) if since <= post.at <= until]
    return sorted(posts, key=lambda post: post.at)


def line_of(post: Post) -> str:
    """Return a post in one line: a card's title, and what it begins with. A card that was drawn anew
    stands where it came and shows how it ended: that is said."""
    if post.card:
        body = " ".join(plain(post.card).split("\n")[1:])
        rest = f"{body[: REST_OF - 1]}…" if len(body) > REST_OF else body
        title = f"{post.card.title}{UPDATED if post.edited else ''}"
        return f"{title}：{rest}" if rest else title
    text = post.text.strip().partition("\n")[0] or "、".join(file.name for file in post.files)
    who = post.sender.name if post.sender else "加急呼叫" if post.urgent else ""
    return f"{who}：{text}" if who else text


def own(request: Request) -> bool:
    """Was a form sent by a page of ours? Browsers say so; what is no browser need not."""
    if site := request.headers.get("sec-fetch-site"):
        return site in {"same-origin", "none"}  # the origin is hidden, as our pages ask for it
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host", "")


Answer = Callable[[Request], Awaitable[Response]]


def _guarded(do: Answer) -> Answer:
    async def guarded(request: Request) -> Response:
        if not own(request):
            return Response("请在演示页面上操作", FORBIDDEN)
        return await do(request)

    return guarded


def table_of(rows: Sequence[str]) -> str:
    """Return the lines, those before the latest folded away."""
    if not rows:
        return ""
    table = "<table><tr><th>时间</th><th>会话</th><th>消息</th></tr>{}</table>"
    before, latest = rows[:-LATEST], rows[-LATEST:]
    if not before:
        return table.format("".join(latest))
    head = f"<details><summary>更早的 {len(before)} 条</summary>"
    return f"{head}{table.format(''.join(before))}</details>{table.format(''.join(latest))}"


def _to_chat(chat: Chat | None, who: Person) -> Response:
    place = f"&chat={quote(chat.id, safe='')}" if chat else ""
    return RedirectResponse(f"/chat?who={quote(who.id, safe='')}{place}", 303)


def _said(text: str) -> str:
    return f'<p role="alert">{escape(text)}</p>' if text else ""


def _hands(clock: DemoClock, zone: ZoneInfo) -> str:
    minutes = int(clock.lead.total_seconds()) // 60
    days, rest = divmod(minutes, 24 * 60)
    hours, minutes = divmod(rest, 60)
    parts = ((days, "天"), (hours, "小时"), (minutes, "分钟"))
    ahead = " ".join(f"{count} {unit}" for count, unit in parts if count)
    lead = f"比真实时间快 {ahead}" if ahead else "与真实时间一致"
    now = clock.now().astimezone(zone)
    return f'<p class="now">{now:%Y-%m-%d %H:%M:%S}</p><p class="quiet">{lead}</p>'


def _progress(played: Played | None) -> str:
    if played is None:
        return "<p>正在推进…</p>"
    percent = round(100 * played.share)
    return (
        f"<p>正在推进：{percent}%，边走边看：打开聊天里的群</p>"
        f'<progress max="100" value="{percent}"></progress>'
    )


def _shelf(customer: str, played: Played | None, busy: bool) -> str:
    off = " disabled" if busy else ""
    leaps = [(key, label) for key, (label, _) in LEAPS.items()]
    leaps.insert(3, (RUNG, "到下一次呼叫"))
    if played and played.stopped and not busy:
        leaps.append((REST, "继续播放"))
    clock = "".join(
        f'<form method="post" action="{CLOCK}"><button name="to" value="{key}"{off}>{label}</button></form>'
        for key, label in leaps
    )
    name = escape(customer)
    return (
        f"<h2>一场告警风暴</h2><p>{HOSTS} 台服务器、{HOSTS * len(RULES)} 条告警，重复 {WAVES} 遍，"
        f"中间有 {len(CRITICALS)} 条严重告警，约 {int(CALM)} 秒后恢复；发到「{name}」的群。"
        f"群里只会有一张会变的卡片，严重告警单独提醒。</p>{_button(STORM, '开始一场风暴', off)}"
        f"<h2>一条没人理的严重告警</h2><p>发到「{name}」的群，{LASTS.seconds // 3600} 小时后恢复。"
        "没有人确认，就按升级策略逐级呼叫、再从头重复；在群里按「确认」才会停。</p>"
        f"{_button(ALERT, '发一条严重告警', off)}"
        "<h2>推进时钟</h2><p>不会跳过任何事：到期的升级、核对、提醒、交接都在它们各自的时刻发生。</p>"
        f"{clock}"
        "<h2>一个月值班</h2><p>给「示例客户」排三个人的班（每周轮换，工作日和节假日另有白班），"
        "一个月里出十几次故障：有人应答、有一次没人应答、对调、调班、交接、静默和维护窗口。"
        f"播放半分钟到一分钟，最后是响应统计和值班小结。</p>{_button(MONTH, '演示一个月值班', off)}"
    )


def _button(path: str, label: str, off: str) -> str:
    return f'<form method="post" action="{path}"><button{off}>{label}</button></form>'
