"""The web as one application: health, metrics, hooks, one-time links, sign-in, console and chat."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from html import escape
from typing import Annotated

import structlog
import uvicorn
from fastapi import FastAPI, Form, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from adapters.port import Metered, UsageError, speaks_here, stopped
from adapters.webchat.link import WebChat
from adapters.webchat.pages import mount as mount_chat
from adapters.words import Person
from bot.app import BOOKS, Bot
from bot.web import alert_list, callbacks, console, forms, hooks, links, sealed
from bot.web.health import reasons
from bot.web.links import HEADERS, STYLE
from bot.web.session import COOKIE, Access, Door
from runbooks.kit import Kit
from storage.store import DatabaseError

log = structlog.get_logger()

UNAUTHORIZED = 401
TOO_MANY = 429
UNAVAILABLE = 503
LOOK = 2.0
"""Seconds that the database may take to answer before we call it sick."""


def create_site(
    kit: Kit,
    bot: Bot,
    webchat: WebChat | None,
    access: Access | None = None,
    people: Sequence[Person] = (),
) -> FastAPI:
    """Return the site. With `people` (the demo) whoever opens it may be any of them and needs no
    password; otherwise `access` says who is let in, and without it nobody is."""
    app = create_api(kit, bot, access)

    def admits(request: Request) -> bool:
        if people:
            return True
        ticket = request.cookies.get(COOKIE, "")
        return access is not None and access.admits(ticket, kit.clock.now())

    def viewer(request: Request) -> Person | None:
        if access is None or webchat is None or not admits(request):
            return None
        return Person(webchat.name, access.username, access.username)

    @app.get("/")
    async def landing() -> Response:
        return RedirectResponse("/chat" if webchat else "/console")

    console.mount(kit, BOOKS, admits)
    app.include_router(alert_list.router(kit, admits))
    if webchat:
        mount_chat(app, webchat, people=people, viewer=viewer, zone=kit.house.zone)
    else:
        console.attach(app)
    return app


def create_api(kit: Kit, bot: Bot, access: Access | None) -> FastAPI:
    """Return what needs no pages: health, metrics, sign-in, hooks and one-time links."""
    hook = hooks.Hook(kit, bot.intake, bot.sources)
    app = hooks.Site(hook, title="Vigilbot", docs_url=None, redoc_url=None, openapi_url=None)
    _add_health(app, kit, bot)
    if access:
        _add_login(app, kit, access)
    app.include_router(hooks.router(hook))
    app.include_router(callbacks.router(kit))
    app.include_router(sealed.router(kit))
    app.include_router(forms.router(kit))
    app.include_router(links.router(kit, BOOKS, bot.engine.go))
    return app


def _add_health(app: FastAPI, kit: Kit, bot: Bot) -> None:
    @app.get("/healthz")
    async def health() -> JSONResponse:
        database = await kit.store.answers(LOOK)
        over = {name for name, chat in kit.chats.items() if stopped(chat)}
        late = await _late(kit, bot) if database else []
        told = {
            "ok": database and bot.engine.running and not late,
            # Not answered, or not in time: somebody may not be called who should be.
            "late": late,
            "database": "ok" if database else "no answer",
            "engine": "ok" if bot.engine.running else "stopped",
            # A platform whose listener dies takes the process down; one that gave up does not.
            "platforms": sorted(kit.chats.keys() - over),
            # No reason for a 503: who restarts us for it would only throw the other program out
            # again, and the other platforms would go down each time.
            "stopped": sorted(over),
            # Where another replica holds the one connection, and speaks.
            "standby": sorted(name for name, chat in kit.chats.items() if not speaks_here(chat)),
        }
        return JSONResponse(told, 200 if told["ok"] else UNAVAILABLE)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(await _measured(kit), media_type=CONTENT_TYPE_LATEST)


async def _late(kit: Kit, bot: Bot) -> list[str]:
    try:
        async with asyncio.timeout(LOOK):
            return await reasons(kit, bot.intake)
    except (TimeoutError, *DatabaseError) as error:
        log.warning("health not known", reason=type(error).__name__)
        return [f"数据库没有答复：{type(error).__name__}"]


async def _measured(kit: Kit) -> bytes:
    async with kit.store.view() as unit:
        runs, deliveries = await unit.runs.tally(), await unit.outbox.tally()
        kept = await unit.aside.count()
    registry = CollectorRegistry()
    aside = Gauge("vigilbot_posts_set_aside", "Posts that wait for refold", registry=registry)
    aside.set(kept)
    for name, meaning, counts in (
        ("vigilbot_runs", "Runs by status", runs),
        ("vigilbot_deliveries", "Outbox entries by state", deliveries),
    ):
        gauge = Gauge(name, meaning, ["state"], registry=registry)
        for state, count in counts.items():
            gauge.labels(str(state)).set(count)
    calls = Gauge("vigilbot_platform_calls", "Calls this month", ["platform"], registry=registry)
    most = Gauge("vigilbot_platform_calls_limit", "Of so many", ["platform"], registry=registry)
    speaks = Gauge(
        "vigilbot_platform_speaks", "1 here, 0 elsewhere", ["platform"], registry=registry
    )
    over = Gauge(
        "vigilbot_platform_stopped", "1 until a person mends it", ["platform"], registry=registry
    )
    for name, platform in kit.chats.items():
        is_over = stopped(platform) is not None
        speaks.labels(name).set(speaks_here(platform) and not is_over)
        over.labels(name).set(is_over)
        if isinstance(platform, Metered):
            calls.labels(name).set(platform.meter.used)
            most.labels(name).set(platform.meter.limit)
    return generate_latest(registry)


def _add_login(app: FastAPI, kit: Kit, access: Access) -> None:
    door = Door()

    @app.get("/login")
    async def ask() -> HTMLResponse:
        return _login_page()

    @app.post("/login")
    async def enter(
        request: Request,
        username: Annotated[str, Form()] = "",
        password: Annotated[str, Form()] = "",
    ) -> Response:
        now = kit.clock.now()
        address = request.client.host if request.client else ""
        if door.shut(address, now):
            return _login_page("密码错误次数太多：请 5 分钟后再试", TOO_MANY)
        if not access.knows(username, password):
            door.refuse(address, now)
            return _login_page("用户名或密码不对", UNAUTHORIZED)
        door.welcome(address)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            COOKIE,
            access.ticket(now),
            max_age=access.hours * 3600,
            httponly=True,
            samesite="lax",
            secure=kit.house.public_url.startswith("https://"),
        )
        return answer

    @app.post("/logout")
    async def leave() -> Response:
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(COOKIE)
        return answer


def _login_page(wrong: str = "", status: int = 200) -> HTMLResponse:
    told = f'<p role="alert">{escape(wrong)}</p>' if wrong else ""
    html = (
        '<!doctype html><html lang="zh-CN"><head><meta charset="utf-8"><title>登录 Vigilbot</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f'<h1>登录 Vigilbot</h1>{told}<form method="post" action="/login">'
        '<p><label>用户名<br><input name="username" autocomplete="username" required></label></p>'
        '<p><label>密码<br><input name="password" type="password" '
        'autocomplete="current-password" required></label></p>'
        "<p><button>登录</button></p></form></body></html>"
    )
    return HTMLResponse(html, status, HEADERS)


def listening(host: str, port: int) -> socket.socket:
    """Take an address, so that it is known before anything is built upon it; port 0 is a free one.

    Raises UsageError when somebody else has it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((host, port))
    except OSError as problem:
        taken.close()
        text = f"不能监听 {host}:{port}（{problem.strerror}）：请换一个端口"
        raise UsageError(text) from None
    return taken


@contextlib.asynccontextmanager
async def serving(app: FastAPI, taken: socket.socket) -> AsyncIterator[None]:
    """Serve until left. Signals are left alone: whoever runs us decides what they mean."""
    config = uvicorn.Config(
        app,
        lifespan="on",
        log_config=None,
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[taken])
    ticking = asyncio.create_task(server.main_loop())
    try:
        yield
    finally:
        server.should_exit = True
        await ticking
        await server.shutdown(sockets=[taken])
