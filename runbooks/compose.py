"""What is laid on a host for one instance, as files: rendered and packed, nothing is touched."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from adapters.words import Secret

TEMPLATES = Path(__file__).with_name("templates")

SECRETS = ("JWT_SECRET_KEY", "AGENT_TOKEN_HMAC_KEY", "POSTGRES_PASSWORD")
"""Made once per customer: with another key all tokens are dead, with another password all data."""


@dataclass(frozen=True, slots=True)
class Backup:
    """When an instance of ours is saved every day, and for how many days that is kept."""

    at: str = "03:20"
    """HH:MM by the host's clock."""
    keep: int = 14


BACKUP = Backup()

PRIVATE, PUBLIC, PROGRAM = 0o600, 0o644, 0o700


_ASKED = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Images:
    """What an instance runs; `{generation}` in a name is the generation's. Upstream publishes no
    versioned tag of its own two, so they are pinned here by whoever mirrors them."""

    backend: str = "ghcr.io/linchuang2008/{generation}-backend:latest"
    frontend: str = "ghcr.io/linchuang2008/{generation}-frontend:latest"
    postgres: str = "postgres:16.4-alpine"
    redis: str = "redis:7.4.1-alpine"


IMAGES = Images()


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where an instance of ours answers, by the way it is deployed: a template with `{host}`, `{port}`
    (of its backend) and `{slug}` (of the customer)."""

    a: str = "http://{host}:{port}"
    b: str = "http://{host}:{port}"

    def of(self, way: str, *, host: str, port: int, slug: str) -> str:
        """Return the address of the instance of `slug`, whose backend is published on `port`."""
        template = {"a": self.a, "b": self.b}[way]
        return template.format(host=f"[{host}]" if ":" in host else host, port=port, slug=slug)


ADDRESSES = Addresses()


@dataclass(frozen=True, slots=True)
class Instance:
    """One customer's VigilOps on a host: its names and its host ports."""

    project: str
    directory: str
    generation: str
    backend: int
    frontend: int
    postgres: int
    redis: int

    @property
    def compose(self) -> str:
        """The command line with which docker speaks of this instance."""
        return f"docker compose -p {self.project} -f {self.directory}/compose.yml"


@dataclass(frozen=True, slots=True)
class Laid:
    """A file to be laid into the instance's directory."""

    name: str
    text: str
    mode: int


def files(
    instance: Instance,
    secrets: Mapping[str, Secret],
    template: Path | None = None,
    images: Images = IMAGES,
    backup: Backup = BACKUP,
) -> tuple[Laid, ...]:
    """Return the compose file, its .env and the backup script; `template` replaces the first."""
    compose = template or TEMPLATES / "compose.yml"
    return (
        Laid("compose.yml", compose.read_text("utf-8"), PUBLIC),
        Laid(".env", _env(instance, secrets, images), PRIVATE),
        Laid("backup.sh", _backup(instance, backup), PROGRAM),
    )


def packed(laid: tuple[Laid, ...]) -> bytes:
    """Return the files as a .tar.gz, each with its mode, owned by root."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for file in laid:
            data = file.text.encode()
            info = tarfile.TarInfo(file.name)
            info.size, info.mode = len(data), file.mode
            tar.addfile(info, io.BytesIO(data))
    return archive.getvalue()


def unset(laid: tuple[Laid, ...]) -> tuple[str, ...]:
    """Return the variables that the compose file asks for and the .env does not have."""
    text = {file.name: file.text for file in laid}
    known = {line.partition("=")[0] for line in text[".env"].splitlines()}
    return tuple(sorted(set(_ASKED.findall(text["compose.yml"])) - known))


def _env(instance: Instance, secrets: Mapping[str, Secret], images: Images) -> str:
    text = (TEMPLATES / "env.template").read_text("utf-8")
    named = {
        f"{part}_image": getattr(images, part).replace("{generation}", instance.generation)
        for part in ("backend", "frontend", "postgres", "redis")
    }
    return text.format(
        **named,
        generation=instance.generation,
        backend=instance.backend,
        frontend=instance.frontend,
        postgres=instance.postgres,
        redis=instance.redis,
        **{name: secrets[name].reveal() for name in SECRETS},
    )


def _backup(instance: Instance, backup: Backup) -> str:
    text = (TEMPLATES / "backup.sh").read_text("utf-8")
    for name, value in (
        ("project", instance.project),
        ("generation", instance.generation),
        ("keep", str(backup.keep)),
    ):
        text = text.replace(f"{{{name}}}", value)
    return text
