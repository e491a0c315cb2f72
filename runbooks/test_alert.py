"""测试告警: the two lines of the onboarding that prove the way, as a book of their own."""

from __future__ import annotations

from datetime import timedelta

from adapters.words import Role
from runbooks.book import Gate, Phase, Runbook, Step
from runbooks.case import Onboarding
from runbooks.steps import alerts

TEST_ALERT: Runbook[Onboarding] = Runbook(
    "test-alert",
    "测试告警",
    Onboarding,
    (
        Phase("测试告警"),
        Step("test-send", "发送测试告警", alerts.test_send),
        Gate(
            "test-received",
            "客户确认收到测试告警",
            Role.CUSTOMER,
            timedelta(days=1),
            alerts.received,
            alerts.received_drawn,
        ),
    ),
)
