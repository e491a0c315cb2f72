"""From settings to the channels that only speak: what a customer may want beside their group."""

from __future__ import annotations

from collections.abc import Iterator

from adapters.mail import Mail
from adapters.port import ChatPlatform, Clock
from adapters.webhook import Find, Target, Webhook
from adapters.words import Secret
from bot.config import Settings
from runbooks.reach import GATEWAY, key_name
from storage.store import Store

EVERYWHERE = ("0.0.0.0/0", "::/0")


def one_way(settings: Settings, clock: Clock, store: Store) -> Iterator[ChatPlatform]:
    """Yield the one-way channels of these settings, not yet entered."""
    channels = settings.channels
    if channels.mail.enabled:
        yield mail_of(settings, clock)
    if channels.webhook.enabled:
        webhook = channels.webhook
        yield Webhook(
            targets(store),
            clock=clock,
            allow=webhook.allow,
            ca_file=webhook.ca_file,
            timeout=webhook.timeout_seconds,
        )

    if settings.escalation.gateway_url:
        yield gateway_of(settings, clock)


def gateway_of(settings: Settings, clock: Clock) -> Webhook:
    """Return the gateway for telephone and SMS of these settings. Its one address was typed by the
    operator, so it may stand in our own network; a chat's id is the number to call."""
    ours, webhook = settings.escalation, settings.channels.webhook
    target = Target(Secret(ours.gateway_url), ours.gateway_key)

    async def find(_: str) -> Target:
        return target

    return Webhook(
        find,
        clock=clock,
        allow=EVERYWHERE,
        ca_file=webhook.ca_file,
        timeout=webhook.timeout_seconds,
        name=GATEWAY,
    )


def mail_of(settings: Settings, clock: Clock) -> Mail:
    """Return the mail channel of these settings."""
    mail = settings.channels.mail
    return Mail(
        mail.host,
        mail.port,
        mail.sender,
        clock=clock,
        security=mail.security,
        username=mail.username,
        password=mail.password,
        display=settings.bot.company,
        ca_file=mail.ca_file,
        timeout=mail.timeout_seconds,
    )


def targets(store: Store) -> Find:
    """Return the way from a webhook chat's id, which is a name in the vault, to what is kept there."""

    async def find(name: str) -> Target | None:
        async with store.view() as unit:
            url, key = await unit.vault.get(name), await unit.vault.get(key_name(name))
        return Target(url, key) if url and key else None

    return find
