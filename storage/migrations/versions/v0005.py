"""Leases and rows of replicas, people's choices, cards by message, shared calls, hooks that retire,
questions, what was cut from posts, posts that could not be folded, monitors that do not answer"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "platform_rows",
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("platform", "kind", "name"),
    )
    op.create_table(
        "choices",
        sa.Column("customer", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("by_platform", sa.Text(), nullable=False),
        sa.Column("by_id", sa.Text(), nullable=False),
        sa.Column("by_name", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["customer"], ["customers.id"]),
        sa.PrimaryKeyConstraint("customer", "name"),
    )
    op.create_index("living_cards_receipt", "living_cards", ["receipt"], unique=False)
    op.add_column("outbox", sa.Column("paper", sa.Text(), server_default="", nullable=False))
    op.add_column("rungs", sa.Column("told", sa.Text(), server_default="", nullable=False))
    op.create_index("rungs_told", "rungs", ["told"], unique=False)
    op.add_column("escalations", sa.Column("acted_at", sa.BigInteger(), nullable=True))
    op.add_column("hooks", sa.Column("successor", sa.Text(), server_default="", nullable=False))
    op.add_column("hooks", sa.Column("ends_at", sa.BigInteger(), nullable=True))
    op.add_column("hooks", sa.Column("used_at", sa.BigInteger(), nullable=True))
    op.add_column("alerts_held", sa.Column("dropped_at", sa.BigInteger(), nullable=True))
    op.create_table(
        "heard",
        sa.Column("customer", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["customer"], ["customers.id"]),
        sa.PrimaryKeyConstraint("customer", "source"),
    )
    op.create_table(
        "questions",
        sa.Column("key", sa.Text(), server_default="", nullable=False),
        sa.Column("customer", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["customer"], ["customers.id"]),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("ix_questions_customer", "questions", ["customer"], unique=False)
    op.create_index("ix_questions_due", "questions", ["due"], unique=False)
    op.create_table(
        "aside",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("post", sa.BigInteger(), nullable=False),
        sa.Column("customer", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "unread",
        sa.Column("customer", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("told_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["customer"], ["customers.id"]),
        sa.PrimaryKeyConstraint("customer"),
    )
    op.create_table(
        "truncations",
        sa.Column("customer", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("group", sa.Text(), nullable=False),
        sa.Column("left_out", sa.BigInteger(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("seen", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["customer"], ["customers.id"]),
        sa.PrimaryKeyConstraint("customer", "source", "group"),
    )
