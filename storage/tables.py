"""Every table on one page. Only this package knows that there is a database.

Instants are kept as whole microseconds since 1970 (UTC), so that SQLite and PostgreSQL sort,
compare and return them alike.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Instant(sa.types.TypeDecorator[datetime]):
    """An aware datetime as a whole number of microseconds."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> int | None:
        return None if value is None else (value - EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: int | None, dialect: Any) -> datetime | None:
        return None if value is None else EPOCH + timedelta(microseconds=value)


metadata = sa.MetaData()

# SQLite numbers its rows by itself only when the type is exactly INTEGER.
_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _id() -> sa.Column[int]:
    return sa.Column("id", _ID, primary_key=True, autoincrement=True)


def _text(name: str, *, key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=key, nullable=False, server_default="")


customers = sa.Table(
    "customers",
    metadata,
    _id(),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("slug", sa.Text, nullable=False, unique=True),
    sa.Column("created_at", Instant, nullable=False),
    _text("chat_platform"),
    _text("chat_id"),
    _text("chat_title"),
    sa.Column("tier", sa.Text, nullable=False),
    sa.Column("in_service_since", Instant),
    sa.Index(
        "one_customer_per_chat",
        "chat_platform",
        "chat_id",
        unique=True,
        sqlite_where=sa.text("chat_id <> ''"),
        postgresql_where=sa.text("chat_id <> ''"),
    ),
)

servers = sa.Table(
    "servers",
    metadata,
    _id(),
    sa.Column("customer", sa.ForeignKey("customers.id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("port", sa.Integer, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    _text("bastion"),
    _text("os"),
    sa.Column("cpu", sa.Integer, nullable=False),
    sa.Column("memory_gb", sa.Float, nullable=False),
    sa.Column("disk_gb", sa.Float, nullable=False),
    _text("location"),
    _text("host_key"),
    _text("hostname"),
    _text("sudo"),
    sa.Column("agent_token", _ID, nullable=False),
    sa.UniqueConstraint("customer", "name"),
    sa.UniqueConstraint("customer", "host", "port"),
)

members = sa.Table(
    "members",
    metadata,
    _text("platform", key=True),
    _text("person", key=True),
    _text("name"),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("customer", sa.ForeignKey("customers.id")),
    _text("title"),
)

seen_events = sa.Table(
    "seen_events",
    metadata,
    _text("platform", key=True),
    _text("event", key=True),
    sa.Column("at", Instant, nullable=False, index=True),
)

runs = sa.Table(
    "runs",
    metadata,
    _text("id", key=True),
    sa.Column("book", sa.Text, nullable=False),
    sa.Column("customer", sa.ForeignKey("customers.id"), nullable=False, index=True),
    _text("line"),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("case", sa.Text, nullable=False),
    sa.Column("by_platform", sa.Text, nullable=False),
    sa.Column("by_id", sa.Text, nullable=False),
    _text("by_name"),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    _text("note"),
    _text("fault"),
    sa.Column("deadline", Instant),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Index("runs_by_status", "status", "deadline"),
)

lines = sa.Table(
    "lines",
    metadata,
    sa.Column("run", sa.ForeignKey("runs.id"), primary_key=True),
    _text("key", key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("ended_at", Instant),
    _text("note"),
    _text("proof"),
    sa.Column("by_platform", sa.Text),
    sa.Column("by_id", sa.Text),
    sa.Column("by_name", sa.Text),
)

host_lines = sa.Table(
    "host_lines",
    metadata,
    sa.Column("run", sa.ForeignKey("runs.id"), primary_key=True),
    _text("key", key=True),
    _text("subject", key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("at", Instant, nullable=False),
    _text("note"),
    _text("fault"),
)

effects = sa.Table(
    "effects",
    metadata,
    _text("key", key=True),
    sa.Column("run", sa.Text, nullable=False, index=True),
    _text("line"),
    sa.Column("state", sa.Text, nullable=False),
    _text("result"),
    sa.Column("at", Instant, nullable=False),
    sa.Column("asked", sa.Boolean, nullable=False),
)

outbox = sa.Table(
    "outbox",
    metadata,
    _id(),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("chat_platform", sa.Text, nullable=False),
    sa.Column("chat_id", sa.Text, nullable=False),
    _text("chat_title"),
    sa.Column("lane", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("at", Instant, nullable=False),
    _text("card"),
    _text("file_name"),
    sa.Column("file", sa.LargeBinary, nullable=False),
    _text("living"),
    sa.Column("ring_platform", sa.Text),
    sa.Column("ring_id", sa.Text),
    sa.Column("ring_name", sa.Text),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("due", Instant),
    _text("reason"),
    _text("receipt"),
    sa.Column("sent_at", Instant),
    _text("paper"),
    sa.Index("outbox_waiting", "state", "chat_platform", "chat_id", "id"),
)

living_cards = sa.Table(
    "living_cards",
    metadata,
    _text("key", key=True),
    sa.Column("chat_platform", sa.Text, nullable=False),
    sa.Column("chat_id", sa.Text, nullable=False),
    _text("chat_title"),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("drawn", sa.Integer, nullable=False),
    _text("receipt"),
    sa.Index("living_cards_receipt", "receipt"),
)

vault = sa.Table(
    "vault",
    metadata,
    _text("name", key=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", _ID, primary_key=True, autoincrement=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("deed", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)

port_blocks = sa.Table(
    "port_blocks",
    metadata,
    _text("host", key=True),
    sa.Column("customer", sa.ForeignKey("customers.id"), primary_key=True),
    sa.Column("backend", sa.Integer, nullable=False),
    sa.Column("frontend", sa.Integer, nullable=False),
    sa.Column("postgres", sa.Integer, nullable=False),
    sa.Column("redis", sa.Integer, nullable=False),
    sa.UniqueConstraint("host", "backend"),
    sa.UniqueConstraint("host", "frontend"),
    sa.UniqueConstraint("host", "postgres"),
    sa.UniqueConstraint("host", "redis"),
)

hooks = sa.Table(
    "hooks",
    metadata,
    _text("token_hash", key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("customer", sa.ForeignKey("customers.id"), nullable=False),
    sa.Column("at", Instant, nullable=False),
    _text("successor"),
    sa.Column("ends_at", Instant),
    sa.Column("used_at", Instant),
    sa.Index("hooks_of_customer", "customer", "source"),
)

questions = sa.Table(
    "questions",
    metadata,
    _text("key", key=True),
    sa.Column("customer", sa.ForeignKey("customers.id"), nullable=False, index=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("due", Instant, nullable=False, index=True),
    sa.Column("tries", sa.Integer, nullable=False),
)

alerts_seen = sa.Table(
    "alerts_seen",
    metadata,
    sa.Column("customer", sa.ForeignKey("customers.id"), primary_key=True),
    _text("source", key=True),
    _text("key", key=True),
    sa.Column("at", Instant, nullable=False),
    sa.Column("last_at", Instant, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    _text("message"),
    _text("host"),
    _text("severity"),
    _text("status"),
    sa.Column("figure", sa.Float),
    sa.Column("threshold", sa.Float),
    sa.Column("fired_at", Instant),
    sa.Index("alerts_seen_title", "customer", "title"),
)

# On SQLite it is used in a file of its own, where there are no customers to refer to.
alerts_accepted = sa.Table(
    "alerts_accepted",
    metadata,
    sa.Column("id", _ID, primary_key=True, autoincrement=False),
    sa.Column("customer", _ID, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)

heartbeats = sa.Table(
    "heartbeats",
    metadata,
    sa.Column("customer", sa.ForeignKey("customers.id"), primary_key=True),
    _text("name", key=True),
    sa.Column("token_hash", sa.Text, nullable=False, unique=True),
    sa.Column("every", sa.Integer, nullable=False),
    sa.Column("due", Instant, nullable=False, index=True),
    sa.Column("last_at", Instant),
    sa.Column("missed", sa.Boolean, nullable=False),
    sa.Column("spared", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("retired", sa.Boolean, nullable=False, server_default=sa.false()),
)

# When somebody last looked, by what for: who starts knows from it how long nobody did.
looks = sa.Table(
    "looks",
    metadata,
    _text("name", key=True),
    sa.Column("at", Instant, nullable=False),
)

alerts_held = sa.Table(
    "alerts_held",
    metadata,
    sa.Column("customer", sa.ForeignKey("customers.id"), primary_key=True),
    _text("rule", key=True),
    _text("host", key=True),
    sa.Column("firing", sa.Text, nullable=False),
    sa.Column("ended", sa.Text, nullable=False),
    sa.Column("due", Instant, index=True),
    sa.Column("announced_at", Instant),
    _text("title"),
    _text("message"),
    _text("severity"),
    _text("found"),
    _text("note"),
    sa.Column("dropped_at", Instant),
)

heard = sa.Table(
    "heard",
    metadata,
    sa.Column("customer", sa.ForeignKey("customers.id"), primary_key=True),
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("at", Instant, nullable=False),
)

signatures = sa.Table(
    "signatures",
    metadata,
    _id(),
    sa.Column("run", sa.ForeignKey("runs.id"), nullable=False, index=True),
    sa.Column("signer", sa.Text, nullable=False),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("accepted", sa.Boolean, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("person_platform", sa.Text),
    sa.Column("person_id", sa.Text),
    sa.Column("person_name", sa.Text),
    _text("reason"),
    sa.Column("way", sa.Text, nullable=False),
    _text("deputy_for"),
)

duties_done = sa.Table(
    "duties_done",
    metadata,
    sa.Column("customer", sa.ForeignKey("customers.id"), primary_key=True),
    _text("duty", key=True),
    _text("due", key=True),
    sa.Column("at", Instant, nullable=False),
    sa.Column("by_platform", sa.Text, nullable=False),
    sa.Column("by_id", sa.Text, nullable=False),
    _text("by_name"),
)

one_time_links = sa.Table(
    "one_time_links",
    metadata,
    _text("token_hash", key=True),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("code_hash", sa.Text, nullable=False),
    sa.Column("expires_at", Instant, nullable=False),
    sa.Column("used_at", Instant),
    sa.Column("tries", sa.Integer, nullable=False),
)

incidents = sa.Table(
    "incidents",
    metadata,
    _id(),
    sa.Column("customer", sa.ForeignKey("customers.id"), nullable=False),
    sa.Column("group", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("severity", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("opened_at", Instant, nullable=False),
    sa.Column("changed_at", Instant, nullable=False),
    sa.Column("critical_at", Instant),
    sa.Column("acked_at", Instant),
    sa.Column("acked_by_platform", sa.Text),
    sa.Column("acked_by_id", sa.Text),
    sa.Column("acked_by_name", sa.Text),
    sa.Column("resolved_at", Instant),
    sa.Column("resolved_by_platform", sa.Text),
    sa.Column("resolved_by_id", sa.Text),
    sa.Column("resolved_by_name", sa.Text),
    sa.Column("began_at", Instant),
    sa.Index("incidents_of_customer", "customer", "state"),
    sa.Index("incidents_of_group", "customer", "group"),
)

alerts_known = sa.Table(
    "alerts_known",
    metadata,
    sa.Column("customer", sa.ForeignKey("customers.id"), primary_key=True),
    _text("source", key=True),
    _text("fingerprint", key=True),
    sa.Column("incident", _ID, nullable=False, index=True),
    sa.Column("group", sa.Text, nullable=False),
    sa.Column("firing", sa.Boolean, nullable=False),
    sa.Column("severity", sa.Text, nullable=False),
    sa.Column("rule", sa.Text, nullable=False),
    _text("host"),
    _text("title"),
    _text("text"),
    _text("url"),
    sa.Column("labels", sa.Text, nullable=False),
    sa.Column("since", Instant, nullable=False),
    sa.Column("changed_at", Instant, nullable=False),
    sa.Column("flips", sa.Text, nullable=False),
    _text("hidden"),
    sa.Column("ends", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("began_at", Instant),
    _text("sender_group"),
    sa.Index("alerts_known_firing", "customer", "firing", "severity"),
)

storms = sa.Table(
    "storms",
    metadata,
    sa.Column("customer", sa.ForeignKey("customers.id"), primary_key=True),
    sa.Column("phase", sa.Text, nullable=False),
    sa.Column("since", Instant),
    sa.Column("calm_since", Instant),
    sa.Column("critical_at", Instant),
    sa.Column("recent", sa.Text, nullable=False),
    sa.Column("usual", sa.Float, nullable=False),
    sa.Column("measured_at", Instant),
    sa.Column("peak", sa.Integer, nullable=False),
    sa.Column("received", sa.Integer, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("gathering_until", Instant),
)

alert_cursors = sa.Table(
    "alert_cursors",
    metadata,
    sa.Column("customer", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("folded", _ID, nullable=False),
)

rosters = sa.Table(
    "rosters",
    metadata,
    sa.Column("customer", sa.ForeignKey("customers.id"), primary_key=True),
    sa.Column("roster", sa.Text, nullable=False),
)

overrides = sa.Table(
    "overrides",
    metadata,
    _id(),
    sa.Column("customer", sa.ForeignKey("customers.id"), nullable=False),
    sa.Column("begins", Instant, nullable=False),
    sa.Column("ends", Instant, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("by_platform", sa.Text, nullable=False),
    sa.Column("by_id", sa.Text, nullable=False),
    _text("by_name"),
    _text("note"),
    sa.Index("overrides_of_customer", "customer", "ends"),
)

handed_over = sa.Table(
    "handed_over",
    metadata,
    _id(),
    sa.Column("customer", sa.ForeignKey("customers.id"), nullable=False, index=True),
    sa.Column("at", Instant, nullable=False),
    sa.Column("by_platform", sa.Text, nullable=False),
    sa.Column("by_id", sa.Text, nullable=False),
    _text("by_name"),
    sa.Column("name", sa.Text, nullable=False),
    _text("note"),
)

policies = sa.Table(
    "policies",
    metadata,
    sa.Column("customer", sa.ForeignKey("customers.id"), primary_key=True),
    sa.Column("policy", sa.Text, nullable=False),
)

escalations = sa.Table(
    "escalations",
    metadata,
    sa.Column("incident", _ID, primary_key=True, autoincrement=False),
    sa.Column("round", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("customer", sa.ForeignKey("customers.id"), nullable=False),
    _text("title"),
    sa.Column("began_at", Instant, nullable=False),
    sa.Column("policy", sa.Text, nullable=False),
    sa.Column("stopped_at", Instant, index=True),
    sa.Column("acked_at", Instant),
    sa.Column("resolved_at", Instant),
    sa.Column("acted_at", Instant),
    sa.Index("escalations_of_customer", "customer", "began_at"),
)

rungs = sa.Table(
    "rungs",
    metadata,
    sa.Column("incident", _ID, primary_key=True, autoincrement=False),
    sa.Column("round", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("lap", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("way", sa.Text, nullable=False),
    sa.Column("due", Instant, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("at", Instant),
    _text("name"),
    _text("note"),
    _text("told"),
    sa.Index("rungs_due", "state", "due"),
    sa.Index("rungs_told", "told"),
)

watches = sa.Table(
    "watches",
    metadata,
    _id(),
    sa.Column("at", Instant, nullable=False),
    sa.Column("since", Instant, nullable=False),
    sa.Column("until", Instant, nullable=False),
    sa.Column("due", sa.Integer, nullable=False),
    sa.Column("missed", sa.Integer, nullable=False),
)

silences = sa.Table(
    "silences",
    metadata,
    _id(),
    sa.Column("customer", sa.ForeignKey("customers.id"), nullable=False),
    sa.Column("matchers", sa.Text, nullable=False),
    sa.Column("starts_at", Instant, nullable=False),
    sa.Column("ends_at", Instant, nullable=False),
    sa.Column("by_platform", sa.Text, nullable=False),
    sa.Column("by_id", sa.Text, nullable=False),
    _text("by_name"),
    _text("reason"),
    sa.Column("ended_by_platform", sa.Text),
    sa.Column("ended_by_id", sa.Text),
    sa.Column("ended_by_name", sa.Text),
    sa.Index("silences_of_customer", "customer", "ends_at"),
)

maintenance = sa.Table(
    "maintenance",
    metadata,
    _id(),
    sa.Column("customer", sa.ForeignKey("customers.id"), nullable=False, index=True),
    _text("matchers"),
    sa.Column("starts_at", Instant, nullable=False),
    sa.Column("minutes", sa.Integer, nullable=False),
    sa.Column("every", sa.Text, nullable=False),
    sa.Column("by_platform", sa.Text, nullable=False),
    sa.Column("by_id", sa.Text, nullable=False),
    _text("by_name"),
    sa.Column("created_at", Instant, nullable=False),
    _text("reason"),
    sa.Column("day", sa.Integer, nullable=False),
    sa.Column("ended_at", Instant),
    sa.Column("ended_by_platform", sa.Text),
    sa.Column("ended_by_id", sa.Text),
    sa.Column("ended_by_name", sa.Text),
)

muted = sa.Table(
    "muted",
    metadata,
    sa.Column("maintenance", sa.ForeignKey("maintenance.id"), primary_key=True),
    sa.Column("starts_at", Instant, primary_key=True),
    _text("fingerprint", key=True),
    sa.Column("severity", sa.Text, nullable=False),
    sa.Column("rule", sa.Text, nullable=False),
    _text("host"),
    _text("title"),
    sa.Column("first_at", Instant, nullable=False),
    sa.Column("last_at", Instant, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("until", Instant, nullable=False),
)

platform_rows = sa.Table(
    "platform_rows",
    metadata,
    sa.Column("platform", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("at", Instant, nullable=False),
)

choices = sa.Table(
    "choices",
    metadata,
    sa.Column("customer", sa.ForeignKey("customers.id"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("by_platform", sa.Text, nullable=False),
    sa.Column("by_id", sa.Text, nullable=False),
    _text("by_name"),
)

aside = sa.Table(
    "aside",
    metadata,
    _id(),
    sa.Column("post", sa.BigInteger, nullable=False),
    # No foreign key: of a customer who is no more a post is kept as well.
    sa.Column("customer", sa.BigInteger, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    _text("reason"),
)

unread = sa.Table(
    "unread",
    metadata,
    sa.Column("customer", sa.ForeignKey("customers.id"), primary_key=True),
    sa.Column("since", Instant, nullable=False),
    _text("reason"),
    sa.Column("told_at", Instant),
)

truncations = sa.Table(
    "truncations",
    metadata,
    sa.Column("customer", sa.ForeignKey("customers.id"), primary_key=True),
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("group", sa.Text, primary_key=True),
    sa.Column("left_out", sa.BigInteger, nullable=False),
    sa.Column("labels", sa.Text, nullable=False),
    sa.Column("seen", sa.Text, nullable=False),
    sa.Column("at", Instant, nullable=False),
)
