"""客户接入 SOP. Read the table from the top: it is the procedure, and it is what runs."""

from __future__ import annotations

from datetime import timedelta

from adapters.words import Role
from runbooks.book import Each, Gate, Phase, Runbook, Step
from runbooks.case import Onboarding
from runbooks.steps import contract, group, servers

ONBOARDING: Runbook[Onboarding] = Runbook(
    "onboarding",
    "客户接入",
    Onboarding,
    (
        Phase("签约", "Day 0"),
        Step("group", "建立客户群", group.make, unless=group.bound),
        Step("contract", "生成服务合同", contract.draft),
        Step("sheet", "生成客户信息表", contract.sheet),
        Gate("signed", "确认合同已签", Role.LEAD, timedelta(days=7)),
        Phase("环境评估与部署", "Day 1"),
        Each("probe", "检查服务器连通性", servers.names, servers.probe),
    ),
)
