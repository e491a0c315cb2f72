"""What an installed Slack app may do, and what each method of the Web API needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

MANIFEST = Path(__file__).parents[2] / "docs" / "slack-manifest.yaml"
_NEEDED = {
    "apps.connections.open": "connections:write",
    "chat.postEphemeral": "chat:write",
    "chat.postMessage": "chat:write",
    "chat.update": "chat:write",
    "conversations.create": "groups:write",
    "conversations.invite": "groups:write",
    "conversations.inviteShared": "conversations.connect:write",
    "conversations.open": "im:write",
    "conversations.setPurpose": "groups:write",
    "files.completeUploadExternal": "files:write",
    "files.getUploadURLExternal": "files:write",
    "files.info": "files:read",
    "users.conversations": "groups:read",
    "users.info": "users:read",
}
"""By the pages under docs.slack.dev/reference/methods, for private channels."""


def manifest() -> set[str]:
    """Return what an app may do that was made from our manifest."""
    return set(_manifest()["oauth_config"]["scopes"]["bot"])


def registered() -> set[str]:
    """Return the slash commands of such an app."""
    return {one["command"] for one in _manifest()["features"]["slash_commands"]}


def _manifest() -> Any:
    return yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))


def needed(method: str, sort: str) -> str:
    """Return the scope that a method needs in a channel of this sort (im, groups, channels)."""
    if method in {"conversations.history", "conversations.replies"}:
        return f"{sort}:history" if sort else ""
    return _NEEDED.get(method, "")
