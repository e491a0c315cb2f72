"""The contents page: every command, one word each."""

from __future__ import annotations

from commands.accept import accept
from commands.ack import ACK
from commands.ai import ai
from commands.alerts import alerts
from commands.bind import bind
from commands.cancel import cancel
from commands.declare import Book
from commands.escalate import ESCALATE
from commands.handover import handover
from commands.hook import HOOK
from commands.incident import incident
from commands.install_agent import install_agent
from commands.maintain import MAINTAIN
from commands.monitor import MONITOR
from commands.onboard import onboard
from commands.oncall import ONCALL
from commands.ops import ops
from commands.pair import pair
from commands.resolve import resolve
from commands.retry import retry
from commands.role import role
from commands.server import SERVER
from commands.silence import SILENCE
from commands.skip import skip
from commands.status import status
from commands.test_alert import test_alert
from commands.threshold import THRESHOLD
from commands.tier import tier
from commands.whoami import whoami

BOOK = Book(
    onboard,
    status,
    retry,
    skip,
    cancel,
    bind,
    install_agent,
    test_alert,
    accept,
    handover,
    *SERVER,
    *MONITOR,
    *ACK,
    resolve,
    alerts,
    incident,
    *HOOK,
    *ONCALL,
    *ESCALATE,
    *SILENCE,
    *MAINTAIN,
    *THRESHOLD,
    tier,
    ai,
    pair,
    role,
    ops,
    whoami,
)
