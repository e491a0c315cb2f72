"""What a sender says that it left out of a post: Alertmanager and Grafana cut long ones, and say by how much.

The end of what was left out is not sent either. A post is all of its group (`groupKey`), so a later
one that is whole says what the cut ones could not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
from msgspec import Struct

from adapters.sources import reading
from adapters.sources.reading import Labels, Text, Wrong

MOST = 10**9
"""Nobody leaves out more, and a number has an end."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What one post left out; nothing, when it is whole."""

    group: str
    """The sender, and its name for the group of alerts that the post is: two of one kind may have
    groups of one name."""
    left: int
    """How many alerts of it are not in the post."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """What all alerts of the group have."""


class _Post(Struct):
    left: int = msgspec.field(name="truncatedAlerts", default=0)
    sender: Text = msgspec.field(name="externalURL", default="")
    group: Text = msgspec.field(name="groupKey", default="")
    labels: Labels = msgspec.field(name="groupLabels", default={})


_POST = msgspec.json.Decoder(_Post)


def read(body: bytes, wrong: Wrong) -> Cut:
    """Return what a post left out; raise UsageError when it cannot be read."""
    try:
        # Asked of every post that there is, so it is not tidied first: none of it is shown.
        found = _POST.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        found = reading.read(_POST, body, wrong)
    group = f"{found.sender} {found.group}"
    return Cut(group, min(MOST, max(0, found.left)), found.labels)
