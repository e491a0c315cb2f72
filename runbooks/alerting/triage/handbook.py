"""The house's handbooks: Markdown files that say what to do about an alert.

`<folder>/磁盘将满.md` is about the rule of that name, `web-01.md` about that host. A first line
`match: rule=~"磁盘.*", host!=db-01` says it by matchers instead. What is in a folder with a customer's
slug for a name is theirs alone, and comes first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog

from adapters.port import UsageError
from runbooks.alerting.grouping import alert_of
from runbooks.alerting.muting.matchers import labels_of, matches, parse
from storage.records import KnownAlert

MATCH = "match:"
LARGEST = 64 * 1024
"""Bytes of a file that are read."""
MOST = 500
"""Files of a folder that are looked at."""
FILES = 3
"""Handbooks that are given for one incident."""

log = structlog.get_logger()


def lines(folder: Path, slug: str, alerts: Sequence[KnownAlert]) -> tuple[str, ...]:
    """Return the lines of the handbooks about these alerts, each with its file's name before it.

    Blocking. A file that cannot be read, or whose matchers are wrong, is left out and logged.
    """
    found: list[str] = []
    files = 0
    for path in _files(folder, slug):
        said = _read(path, alerts)
        if said:
            found += [f"《{path.stem}》{line}" for line in said]
            files += 1
        if files == FILES:
            break
    return tuple(found)


def _files(folder: Path, slug: str) -> Iterator[Path]:
    for place in (folder / slug, folder):
        yield from sorted(place.glob("*.md"))[:MOST]


def _read(path: Path, alerts: Sequence[KnownAlert]) -> tuple[str, ...]:
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST).decode("utf-8", "replace")
    except OSError as error:
        log.warning("handbook not readable", path=str(path), reason=str(error))
        return ()
    said = [line.strip() for line in text.lstrip("\ufeff").splitlines()]
    said = [line for line in said if line]
    head = said[0] if said else ""
    if not head.lower().startswith(MATCH):
        return tuple(said) if _named(path.stem, alerts) else ()
    try:
        wanted = parse(head[len(MATCH) :])
    except UsageError as error:
        log.warning("handbook with wrong matchers", path=str(path), reason=str(error))
        return ()
    fits = any(matches(wanted, labels_of(alert_of(alert))) for alert in alerts)
    return tuple(said[1:]) if fits else ()


def _named(stem: str, alerts: Sequence[KnownAlert]) -> bool:
    # A rule's name may hold what no file's may.
    names = {name.replace("/", "_").casefold() for a in alerts for name in (a.rule, a.host)}
    return stem.casefold() in names
