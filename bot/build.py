"""From settings to a running bot: the files, the database, the adapters, the house, the site."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from secrets import token_hex
from socket import gethostname
from typing import Any
from urllib.parse import quote

from adapters.documents import OfficeDocuments
from adapters.documents.terms import Promise
from adapters.port import ChatPlatform, Model
from adapters.smn import Subscriptions
from adapters.ssh import SshServers
from adapters.vigilops import VigilOpsMonitors
from adapters.webchat.link import WebChat
from adapters.words import Person, Secret
from bot import pairing
from bot.app import BOOKS, SystemClock, working
from bot.channels import one_way
from bot.config import Settings
from bot.late import LateModel
from bot.platforms import enabled
from bot.schedule import QUESTIONS, Look
from bot.web.session import Access, session_key
from bot.web.site import create_site, listening, serving
from runbooks.alerting import subscribing
from runbooks.book import Runbook
from runbooks.compose import Backup
from runbooks.kit import RETENTION, House, Kit
from storage.intake import Intake
from storage.journal import journal_at
from storage.records import PortPlan
from storage.replicas import Turns
from storage.roster import Way
from storage.store import Store
from storage.vault import Seal

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Running:
    """The bot at work, for those who take part in it from within this process."""

    address: str
    store: Store
    web: WebChat | None
    books: Mapping[str, Runbook[Any]]


@asynccontextmanager
async def running(settings: Settings, say: Say) -> AsyncIterator[str]:
    """Run the bot of these settings until left, and give its address; see `assembled`."""
    async with assembled(settings, say) as bot:
        yield bot.address


@asynccontextmanager
async def assembled(settings: Settings, say: Say) -> AsyncIterator[Running]:
    """Run the bot of these settings until left, and give what it is made of.

    `say` shows a line to whoever started the program. Raises UsageError with
    what to mend.
    """
    folder = settings.bot.data_dir
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        taken = stack.enter_context(listening(settings.web.host, settings.web.port))
        seal = Seal(settings.vault.key)
        url = with_password(settings.database_url, settings.database.password)
        store = await stack.enter_async_context(Store(url, seal))
        await store.create()
        chats: dict[str, ChatPlatform] = {}
        web: WebChat | None = None
        if settings.platforms.webchat.enabled:
            web = await stack.enter_async_context(WebChat(folder / "webchat.sqlite"))
            # Whoever signs in has at least the direct chat, where the pairing code is typed.
            await web.direct(Person(web.name, settings.web.username, settings.web.username))
            chats[web.name] = web
        clock = SystemClock()
        me = replica(folder)
        for platform in (*enabled(settings, clock, store, me), *one_way(settings, clock, store)):
            chats[platform.name] = await stack.enter_async_context(platform)
        monitors = await stack.enter_async_context(
            VigilOpsMonitors(
                timeout=settings.vigilops.timeout_seconds, verify=settings.vigilops.verify_tls
            )
        )
        kit = Kit(
            clock,
            store,
            chats,
            SshServers(),
            monitors,
            OfficeDocuments(promises(settings)),
            house_of(settings),
            await _model(settings, stack),
        )
        journal = journal_at(with_password(settings.engine_url, settings.database.password))
        stack.callback(journal.dispose)
        # The intake is opened before who folds it, and closed after.
        intake = await stack.enter_async_context(Intake(url))
        smn = await stack.enter_async_context(Subscriptions())
        asked = Look("questions", QUESTIONS, partial(subscribing.answer, kit, smn.confirm))
        turns = await stack.enter_async_context(Turns(store, me, clock)) if store.shared else None
        bot = await stack.enter_async_context(
            working(
                kit,
                journal,
                posts=intake,
                sources=settings.known_sources,
                more=(asked,),
                turns=turns,
            )
        )
        key = await session_key(store)
        access = Access(
            settings.web.username, settings.web.password, settings.web.session_hours, key
        )
        site = create_site(kit, bot, web, access)
        await stack.enter_async_context(serving(site, taken))
        if code := await pairing.first_code(store, kit.clock.now()):
            say(pairing.told(code, chats))
        yield Running(settings.web.url, store, web, BOOKS)


def replica(folder: Path) -> str:
    """Return our name among the replicas, which is kept in our own data folder: who was killed and
    comes back is the same one, and need not wait for the end of its own leases."""
    file = folder / "replica"
    try:
        return file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        name = f"{gethostname()}-{token_hex(4)}"
        file.write_text(f"{name}\n", encoding="utf-8")
        return name


def promises(settings: Settings) -> Mapping[str, Promise]:
    """Return what these settings have the contract promise, by tier."""
    tiers = {"basic": settings.sla.basic, "pro": settings.sla.pro}
    return {
        name: Promise(said.critical_minutes, said.warning_minutes, said.availability_percent)
        for name, said in tiers.items()
    }


def house_of(settings: Settings) -> House:
    """Return the provider as these settings describe it."""
    deploy, artifacts = settings.deploy, settings.artifacts
    return House(
        provider=settings.bot.company,
        phone=settings.bot.hotline or House().phone,
        zone=settings.bot.zone,
        public_url=settings.web.url,
        account=settings.vigilops.account_email,
        managed=deploy.managed if deploy.managed_host else None,
        managed_root=deploy.root_dir,
        addresses=settings.vigilops.base_url.addresses,
        ports=PortPlan(
            deploy.backend_port_start,
            deploy.frontend_port_start,
            deploy.postgres_port_start,
            deploy.redis_port_start,
            deploy.port_stride,
        ),
        retention={**RETENTION, "host_metrics": deploy.retention_days},
        ai_url=settings.model.base_url,
        ai_model=settings.model.model,
        ai_key=settings.model.api_key,
        bundle=artifacts.agent_bundle,
        compose=artifacts.compose_template,
        images=deploy.images,
        backup=Backup(deploy.backup_at, deploy.backup_keep_days),
        deploy_script=artifacts.deploy_script,
        at_once=settings.runs.at_once,
        stop_after=settings.runs.stop_after_failures,
        escalate_after=settings.escalation.after_minutes,
        alerting=settings.alerts.policy,
        handbooks=settings.alerts.runbooks,
        muting=settings.alerts.rules(settings.bot.time_zone),
        escalate_ways=ways(settings),
        escalate_repeat=settings.escalation.repeat_minutes,
        escalate_together=timedelta(seconds=settings.escalation.together_seconds),
        hook_grace=timedelta(hours=settings.alerts.hook_grace_hours),
        sources={name: source.title for name, source in settings.known_sources.items()},
    )


def ways(settings: Settings) -> tuple[Way, ...]:
    """Return how a customer's first policy calls: also by what is set up beside the chat platform,
    which may be down."""
    found = [*House().escalate_ways]
    if settings.escalation.gateway_url:
        found.append(Way.WEBHOOK)
    if settings.channels.mail.enabled:
        found.append(Way.EMAIL)
    return tuple(found)


def with_password(url: str, password: Secret) -> str:
    """Return a database's address with the password in its place."""
    scheme, separator, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    user, at, host = place.rpartition("@")
    if not password or not at:
        return url
    word = quote(password.reveal(), safe="")
    return f"{scheme}{separator}{user}:{word}@{host}{slash}{path}"


async def _model(settings: Settings, stack: AsyncExitStack) -> Model | None:
    model = settings.model
    if not model.api_key:
        return None
    late = LateModel(model.base_url, model.model, model.api_key, timeout=model.timeout_seconds)
    return await stack.enter_async_context(late)
