"""Alerts whose end no monitor says, when alerts began and in which group of their senders, jobs that are
spared or retired, when somebody last looked"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "alerts_known", sa.Column("ends", sa.Boolean(), server_default=sa.true(), nullable=False)
    )
    _end_what_was_closed()
    op.add_column("alerts_known", sa.Column("began_at", sa.BigInteger(), nullable=True))
    op.add_column(
        "alerts_known", sa.Column("sender_group", sa.Text(), server_default="", nullable=False)
    )
    op.add_column("incidents", sa.Column("began_at", sa.BigInteger(), nullable=True))
    for name in ("spared", "retired"):
        op.add_column(
            "heartbeats", sa.Column(name, sa.Boolean(), server_default=sa.false(), nullable=False)
        )
    op.create_table(
        "looks",
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def _end_what_was_closed() -> None:
    """End what a person has closed and no monitor ends: it fired on, and was never heard again."""
    names = ("source", "fingerprint", "labels", "incident", "firing", "ends")
    alerts = sa.table("alerts_known", *map(sa.column, names))
    incidents = sa.table("incidents", sa.column("id"), sa.column("state"))
    text = alerts.c.labels.like('{"topic":%') & alerts.c.labels.not_like('%"alarm_id":%')
    endless = (alerts.c.fingerprint == "unreadable") | ((alerts.c.source == "huawei") & text)
    op.execute(sa.update(alerts).where(endless).values(ends=sa.false()))
    closed = sa.select(incidents.c.id).where(incidents.c.state == "resolved")
    # Tencent's rows do not tell an event, which has no end, from a figure, which is told once more.
    over = (alerts.c.ends.is_(sa.false()) | (alerts.c.source == "tencent")) & alerts.c.firing
    op.execute(
        sa.update(alerts).where(over & alerts.c.incident.in_(closed)).values(firing=sa.false())
    )
