"""What the stand-in remembers: tables of plain rows, kept in one JSON file."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

from bot.demo.vigilops.facts import BUILT_IN, FIGURES, HOST, RETENTION
from bot.demo.vigilops.traps import Limits, Traps

Row = dict[str, Any]
TABLES: Final = ("users", "agent_tokens", "hosts", "rules", "channels", "logs", "alerts")
HISTORY: Final = 20
METRICS_TTL: Final = timedelta(seconds=600)
LIFE: Final = {"access": timedelta(minutes=120), "refresh": timedelta(days=7)}


def utc_now() -> datetime:
    return datetime.now(UTC)


def z(stamp: str | None) -> str | None:
    """Write an instant the way most answers do."""
    return None if stamp is None else stamp.replace("+00:00", "Z")


def hashed(password: str, salt: str) -> str:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), 1000).hex()


class State:
    """Tables, sessions and files; `World` adds the engine."""

    def __init__(
        self,
        *,
        now: Callable[[], datetime] = utc_now,
        path: Path | None = None,
        traps: Traps | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.now = now
        self.path = path
        self.traps = traps or Traps()
        self.limits = limits or Limits()
        self.tables: dict[str, dict[int, Row]] = {name: {} for name in TABLES}
        self.seq: dict[str, int] = dict.fromkeys(TABLES, 0)
        self.points: dict[int, list[Row]] = {}
        self.dedup: dict[str, str] = {}
        self.ai_configs: list[Row] = []
        self.retention: dict[str, int] = dict(RETENTION)
        self.settings: dict[str, str] = {}
        self.secret: str = secrets.token_hex(32)
        self.hits: dict[str, set[int]] = {}
        for values in BUILT_IN:
            self.add_rule(
                dict(
                    zip(
                        (
                            "name",
                            "name_en",
                            "description",
                            "severity",
                            "metric",
                            "operator",
                            "threshold",
                            "duration_seconds",
                            "target_type",
                        ),
                        values,
                        strict=True,
                    ),
                    is_builtin=True,
                )
            )

    # -- rows ---------------------------------------------------------------------------------

    def stamp(self) -> str:
        return self.now().astimezone(UTC).isoformat()

    def rows(self, table: str) -> list[Row]:
        return list(self.tables[table].values())

    def add(self, table: str, row: Row) -> Row:
        self.seq[table] += 1
        made = {"id": self.seq[table], **row}
        self.tables[table][made["id"]] = made
        return made

    def add_rule(self, values: Row) -> Row:
        stamp = self.stamp()
        row: Row = {
            "name": "",
            "name_en": None,
            "description": None,
            "severity": "warning",
            "metric": "",
            "operator": ">",
            "threshold": 0.0,
            "duration_seconds": 300,
            "is_builtin": False,
            "is_enabled": True,
            "target_type": "host",
            "target_filter": None,
            "rule_type": "metric",
            "log_keyword": None,
            "log_level": None,
            "log_service": None,
            "db_metric_name": None,
            "db_id": None,
            "cooldown_seconds": 300,
            "continuous_alert": True,
            "silence_start": None,
            "silence_end": None,
            "notification_channel_ids": None,
        }
        return self.add("rules", {**row, **values, "created_at": stamp, "updated_at": stamp})

    # -- people -------------------------------------------------------------------------------

    def insert_user(self, email: str, name: str, password: str, role: str) -> Row:
        """Make a user past the API, as an SQL insert would."""
        stamp = self.stamp()
        salt = secrets.token_hex(8)
        row = {"email": email, "name": name, "role": role, "is_active": True}
        hidden = {"salt": salt, "hash": hashed(password, salt), "sid": ""}
        return self.add("users", {**row, "created_at": stamp, "updated_at": stamp, **hidden})

    def user_by_email(self, email: str) -> Row | None:
        return next((u for u in self.rows("users") if u["email"] == email), None)

    def knows_password(self, user: Row, password: str) -> bool:
        return hmac.compare_digest(user["hash"], hashed(password, user["salt"]))

    def sign_in(self, user: Row, *, sid: str = "") -> Row:
        """Give tokens; a new session ends the older one."""
        user["sid"] = sid or secrets.token_hex(8)
        pair = {f"{kind}_token": self._token(user, kind) for kind in LIFE}
        return {**pair, "token_type": "bearer"}

    def _token(self, user: Row, kind: str) -> str:
        until = (self.now() + LIFE[kind]).timestamp()
        told = {"sub": str(user["id"]), "sid": user["sid"], "type": kind, "exp": until}
        told["jti"] = secrets.token_hex(4)
        body = base64.urlsafe_b64encode(json.dumps(told).encode()).decode().rstrip("=")
        return f"eyJhbGciOiJIUzI1NiJ9.{body}.{self._sign(body)}"

    def _sign(self, body: str) -> str:
        return hmac.new(self.secret.encode(), body.encode(), hashlib.sha256).hexdigest()

    def read_token(self, token: str, kind: str) -> tuple[Row, bool] | None:
        """Return the user and whether the session still is theirs; None: not a token."""
        _, _, rest = token.partition(".")
        body, _, signature = rest.partition(".")
        if not hmac.compare_digest(self._sign(body).encode(), signature.encode()):
            return None
        try:
            told = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        except (binascii.Error, ValueError):
            return None
        user = self.tables["users"].get(int(told["sub"]))
        if user is None or told["type"] != kind or told["exp"] <= self.now().timestamp():
            return None
        return user, told["sid"] == user["sid"]

    def kick(self, email: str) -> None:
        """Log somebody in elsewhere."""
        user = self.user_by_email(email)
        if user is not None:
            user["sid"] = secrets.token_hex(8)

    def too_many(self, what: str, ip: str, limit: int, window: int) -> bool:
        """Count as the Redis window does: one a second, refused requests too."""
        if not limit:
            return False
        second = int(self.now().timestamp())
        hits = {s for s in self.hits.get(f"{what}:{ip}", set()) if s > second - window}
        full = len(hits) >= limit
        self.hits[f"{what}:{ip}"] = hits | {second}
        return full

    # -- agents -------------------------------------------------------------------------------

    def make_agent_token(self, name: str, by: int) -> Row:
        """Make a token; `token` is in this answer and nowhere else."""
        token = "vop_" + secrets.token_hex(24)
        row = {"name": name, "token_prefix": token[:8], "is_active": True, "created_by": by}
        row |= {"created_at": self.stamp(), "last_used_at": None}
        made = self.add("agent_tokens", row)
        made["hash"] = hashlib.sha256(token.encode()).hexdigest()
        return {**made, "token": token}

    def agent_token(self, token: str) -> Row | None:
        digest = hashlib.sha256(token.encode()).hexdigest()
        for row in self.rows("agent_tokens"):
            if row["hash"] == digest and row["is_active"]:
                row["last_used_at"] = self.stamp()
                return row
        return None

    def register_host(self, token_id: int, told: Row) -> tuple[Row, bool]:
        """Make or renew the host of this name and token; say whether it is new."""
        stamp = self.stamp()
        known = (
            h
            for h in self.rows("hosts")
            if h["hostname"] == told["hostname"] and h["token_id"] == token_id
        )
        row = next(known, None)
        alive = {"status": "online", "last_heartbeat": stamp, "updated_at": stamp}
        told = {k: v for k, v in told.items() if v is not None}
        values = {**told, "display_name": told.get("display_name") or told["hostname"], **alive}
        if row is not None:
            row.update(values)
            return row, False
        blank = dict.fromkeys(HOST)
        return self.add(
            "hosts", {**blank, **values, "created_at": stamp, "token_id": token_id}
        ), True

    def beat(self, host: Row) -> None:
        host.update(status="online", last_heartbeat=self.stamp(), updated_at=self.stamp())

    def record(self, host_id: int, figures: Row) -> None:
        """Take in one point of figures."""
        stamp = self.stamp()
        point: Row = {name: figures.get(name) for name in FIGURES}
        point |= {"recorded_at": figures.get("timestamp") or stamp, "received_at": stamp}
        self.points[host_id] = [*self.points.get(host_id, []), point][-HISTORY:]

    def latest(self, host_id: int, now: datetime | None = None) -> Row | None:
        """Return the newest figures, unless they are older than the cache keeps them."""
        points = self.points.get(host_id)
        moment = now or self.now()
        if not points or moment - self.received(points[-1]) >= METRICS_TTL:
            return None
        return {k: v for k, v in points[-1].items() if k != "received_at"}

    def outlast(self, leap: timedelta) -> None:
        """Be where the clock has just leapt to: agents that had been reporting went on with it."""

        def later(stamp: str) -> str:
            return (datetime.fromisoformat(stamp) + leap).isoformat()

        for host in self.rows("hosts"):
            if host["status"] == "online":
                host["last_heartbeat"] = later(host["last_heartbeat"])
                for point in self.points.get(host["id"], []):
                    point.update({at: later(point[at]) for at in ("recorded_at", "received_at")})

    @staticmethod
    def received(point: Row) -> datetime:
        return datetime.fromisoformat(point["received_at"])

    # -- the file -----------------------------------------------------------------------------

    def save(self, path: Path | None = None) -> None:
        """Write everything to one file, whole or not at all."""
        target = path or self.path
        if target is None:
            return
        told = {
            "tables": {name: self.rows(name) for name in TABLES},
            "points": {str(host): points for host, points in self.points.items()},
            **{name: getattr(self, name) for name in self._PLAIN},
        }
        fresh = target.with_name(target.name + ".new")
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(told, ensure_ascii=False))  # in C, where `dump` is in Python
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(target)

    _PLAIN = ("seq", "dedup", "ai_configs", "retention", "settings", "secret")

    def restore(self, path: Path) -> Self:
        """Take everything from a file that `save` wrote."""
        told = json.loads(path.read_text(encoding="utf-8"))
        for name in TABLES:
            self.tables[name] = {row["id"]: row for row in told["tables"][name]}
        self.points = {int(host): points for host, points in told["points"].items()}
        for name in self._PLAIN:
            setattr(self, name, told[name])
        return self
