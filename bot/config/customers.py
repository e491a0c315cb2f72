"""What a customer gets: an instance, where it runs, and what the contract promises."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from adapters.port import Login
from adapters.words import NOTHING
from bot.config.values import (
    Count,
    Days,
    OptionalSecretRef,
    Percent,
    Port,
    Seconds,
    Section,
    Text,
    TimeOfDay,
    UrlTemplate,
)
from runbooks.compose import ADDRESSES, IMAGES, Addresses, Images

Image = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w./:@{}-]*$")]
"""The name of a container image; `{generation}` stands for vigilops or nightmend."""


class BaseUrls(Section):
    """Where a customer's instance answers: way A theirs, B ours, C given by them (no default)."""

    a: UrlTemplate = ADDRESSES.a
    b: UrlTemplate = ADDRESSES.b

    @property
    def addresses(self) -> Addresses:
        return Addresses(self.a, self.b)


class VigilOps(Section):
    base_url: BaseUrls = BaseUrls()
    account_email: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")] = (
        "vigilbot@example.com"
    )
    timeout_seconds: Seconds = 30
    verify_tls: bool = True


class Deploy(Section):
    """`managed_*` is the login of our own host for way B; the starts are the first customer's."""

    managed_host: str = ""
    managed_port: Port = 22
    managed_user: Text = "root"
    managed_key: OptionalSecretRef = NOTHING
    managed_password: OptionalSecretRef = NOTHING
    managed_sudo_password: OptionalSecretRef = NOTHING
    root_dir: Annotated[str, Field(pattern=r"^/")] = "/opt"
    backend_port_start: Port = 8101
    frontend_port_start: Port = 3101
    postgres_port_start: Port = 5533
    redis_port_start: Port = 6480
    port_stride: Count = 100
    backend_image: Image = IMAGES.backend
    frontend_image: Image = IMAGES.frontend
    postgres_image: Image = IMAGES.postgres
    redis_image: Image = IMAGES.redis
    retention_days: Days = 90
    backup_at: TimeOfDay = "03:20"
    backup_keep_days: Days = 14

    @property
    def images(self) -> Images:
        """What an instance of ours runs."""
        return Images(
            self.backend_image, self.frontend_image, self.postgres_image, self.redis_image
        )

    @property
    def managed(self) -> Login:
        """Our own host for way B; its host is empty when there is none."""
        return Login(
            self.managed_host,
            self.managed_port,
            self.managed_user,
            self.managed_password,
            self.managed_key,
            self.managed_sudo_password,
        )


class Promise(Section):
    """What a tier promises: minutes until a person answers, per cent of the month available."""

    critical_minutes: Count = 30
    warning_minutes: Count = 120
    availability_percent: Percent = 99.5


class ProPromise(Promise):
    critical_minutes: Count = 15
    warning_minutes: Count = 60
    availability_percent: Percent = 99.9


class Sla(Section):
    """What the contract promises, by tier."""

    basic: Promise = Promise()
    pro: ProPromise = ProPromise()
