"""Alerts: posts that were taken in, incidents, storms, silences, maintenance, on-call, escalation"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alert_cursors",
        sa.Column("customer", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("folded", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("customer"),
    )
    op.create_table(
        "alerts_accepted",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("customer", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "rungs",
        sa.Column(
            "incident",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("round", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("lap", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("way", sa.Text(), nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=True),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("incident", "round", "lap", "level", "place"),
    )
    op.create_index("rungs_due", "rungs", ["state", "due"], unique=False)
    op.create_table(
        "watches",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("due", sa.Integer(), nullable=False),
        sa.Column("missed", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "alerts_known",
        sa.Column("customer", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("source", sa.Text(), server_default="", nullable=False),
        sa.Column("fingerprint", sa.Text(), server_default="", nullable=False),
        sa.Column("incident", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("group", sa.Text(), nullable=False),
        sa.Column("firing", sa.Boolean(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), server_default="", nullable=False),
        sa.Column("title", sa.Text(), server_default="", nullable=False),
        sa.Column("text", sa.Text(), server_default="", nullable=False),
        sa.Column("url", sa.Text(), server_default="", nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("flips", sa.Text(), nullable=False),
        sa.Column("hidden", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["customer"],
            ["customers.id"],
        ),
        sa.PrimaryKeyConstraint("customer", "source", "fingerprint"),
    )
    op.create_index(
        "alerts_known_firing", "alerts_known", ["customer", "firing", "severity"], unique=False
    )
    op.create_index("ix_alerts_known_incident", "alerts_known", ["incident"], unique=False)
    op.create_table(
        "escalations",
        sa.Column(
            "incident",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("round", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("customer", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("title", sa.Text(), server_default="", nullable=False),
        sa.Column("began_at", sa.BigInteger(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("stopped_at", sa.BigInteger(), nullable=True),
        sa.Column("acked_at", sa.BigInteger(), nullable=True),
        sa.Column("resolved_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["customer"],
            ["customers.id"],
        ),
        sa.PrimaryKeyConstraint("incident", "round"),
    )
    op.create_index(
        "escalations_of_customer", "escalations", ["customer", "began_at"], unique=False
    )
    op.create_index("ix_escalations_stopped_at", "escalations", ["stopped_at"], unique=False)
    op.create_table(
        "handed_over",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("customer", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("by_platform", sa.Text(), nullable=False),
        sa.Column("by_id", sa.Text(), nullable=False),
        sa.Column("by_name", sa.Text(), server_default="", nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["customer"],
            ["customers.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_handed_over_customer", "handed_over", ["customer"], unique=False)
    op.create_table(
        "heartbeats",
        sa.Column("customer", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("every", sa.Integer(), nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=True),
        sa.Column("missed", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["customer"],
            ["customers.id"],
        ),
        sa.PrimaryKeyConstraint("customer", "name"),
        sa.UniqueConstraint("token_hash"),
    )
    op.create_index("ix_heartbeats_due", "heartbeats", ["due"], unique=False)
    op.create_table(
        "incidents",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("customer", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("group", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("critical_at", sa.BigInteger(), nullable=True),
        sa.Column("acked_at", sa.BigInteger(), nullable=True),
        sa.Column("acked_by_platform", sa.Text(), nullable=True),
        sa.Column("acked_by_id", sa.Text(), nullable=True),
        sa.Column("acked_by_name", sa.Text(), nullable=True),
        sa.Column("resolved_at", sa.BigInteger(), nullable=True),
        sa.Column("resolved_by_platform", sa.Text(), nullable=True),
        sa.Column("resolved_by_id", sa.Text(), nullable=True),
        sa.Column("resolved_by_name", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["customer"],
            ["customers.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("incidents_of_customer", "incidents", ["customer", "state"], unique=False)
    op.create_index("incidents_of_group", "incidents", ["customer", "group"], unique=False)
    op.create_table(
        "maintenance",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("customer", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("matchers", sa.Text(), server_default="", nullable=False),
        sa.Column("starts_at", sa.BigInteger(), nullable=False),
        sa.Column("minutes", sa.Integer(), nullable=False),
        sa.Column("every", sa.Text(), nullable=False),
        sa.Column("by_platform", sa.Text(), nullable=False),
        sa.Column("by_id", sa.Text(), nullable=False),
        sa.Column("by_name", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_by_platform", sa.Text(), nullable=True),
        sa.Column("ended_by_id", sa.Text(), nullable=True),
        sa.Column("ended_by_name", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["customer"],
            ["customers.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_maintenance_customer", "maintenance", ["customer"], unique=False)
    op.create_table(
        "overrides",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("customer", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("begins", sa.BigInteger(), nullable=False),
        sa.Column("ends", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("by_platform", sa.Text(), nullable=False),
        sa.Column("by_id", sa.Text(), nullable=False),
        sa.Column("by_name", sa.Text(), server_default="", nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["customer"],
            ["customers.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("overrides_of_customer", "overrides", ["customer", "ends"], unique=False)
    op.create_table(
        "policies",
        sa.Column("customer", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["customer"],
            ["customers.id"],
        ),
        sa.PrimaryKeyConstraint("customer"),
    )
    op.create_table(
        "rosters",
        sa.Column("customer", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("roster", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["customer"],
            ["customers.id"],
        ),
        sa.PrimaryKeyConstraint("customer"),
    )
    op.create_table(
        "silences",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("customer", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("matchers", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.Column("by_platform", sa.Text(), nullable=False),
        sa.Column("by_id", sa.Text(), nullable=False),
        sa.Column("by_name", sa.Text(), server_default="", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("ended_by_platform", sa.Text(), nullable=True),
        sa.Column("ended_by_id", sa.Text(), nullable=True),
        sa.Column("ended_by_name", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["customer"],
            ["customers.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("silences_of_customer", "silences", ["customer", "ends_at"], unique=False)
    op.create_table(
        "storms",
        sa.Column("customer", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=True),
        sa.Column("calm_since", sa.BigInteger(), nullable=True),
        sa.Column("critical_at", sa.BigInteger(), nullable=True),
        sa.Column("recent", sa.Text(), nullable=False),
        sa.Column("usual", sa.Float(), nullable=False),
        sa.Column("measured_at", sa.BigInteger(), nullable=True),
        sa.Column("peak", sa.Integer(), nullable=False),
        sa.Column("received", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("gathering_until", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["customer"],
            ["customers.id"],
        ),
        sa.PrimaryKeyConstraint("customer"),
    )
    op.create_table(
        "muted",
        sa.Column(
            "maintenance", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("starts_at", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", sa.Text(), server_default="", nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), server_default="", nullable=False),
        sa.Column("title", sa.Text(), server_default="", nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["maintenance"],
            ["maintenance.id"],
        ),
        sa.PrimaryKeyConstraint("maintenance", "starts_at", "fingerprint"),
    )


def downgrade() -> None:
    op.drop_table("muted")
    op.drop_table("storms")
    op.drop_table("silences")
    op.drop_table("rosters")
    op.drop_table("policies")
    op.drop_table("overrides")
    op.drop_table("maintenance")
    op.drop_table("incidents")
    op.drop_table("heartbeats")
    op.drop_table("handed_over")
    op.drop_table("escalations")
    op.drop_table("alerts_known")
    op.drop_table("watches")
    op.drop_table("rungs")
    op.drop_table("alerts_accepted")
    op.drop_table("alert_cursors")
