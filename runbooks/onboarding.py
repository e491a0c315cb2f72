"""客户接入 SOP. Read the table from the top: it is the procedure, and it is what runs.

`sop=` names the items of the SOP that a line answers for, by their ids in `tests/golden/sop.yaml`.
What the intake form asks (phase 1, 收集信息) is in `runbooks/intake.py`, the alert rules of both
tiers in `runbooks/rules.py`, and phase 6 in `runbooks/duties.py`.
"""

from __future__ import annotations

from datetime import timedelta

from adapters.words import Role
from runbooks.book import Each, Gate, Phase, Runbook, Step
from runbooks.case import Onboarding
from runbooks.steps import (
    acceptance,
    agent,
    alerts,
    contract,
    deploy,
    group,
    handover,
    instance,
    servers,
)

DAY = timedelta(days=1)

ONBOARDING: Runbook[Onboarding] = Runbook(
    "onboarding",
    "客户接入",
    Onboarding,
    (
        Phase("签约", "Day 0", minutes=1),
        Step("group", "建立客户群", group.make, unless=group.bound),
        Step("contract", "生成服务合同", contract.draft, sop=("output-contract",)),
        Step("sheet", "生成客户信息表", contract.sheet, sop=("output-sheet",)),
        Gate("signed", "确认合同已签", Role.LEAD, 7 * DAY),

        Phase("环境评估与部署", "Day 1", minutes=10),
        Each("probe", "检查服务器连通性", servers.names, servers.probe, sop=("command-probe",)),
        Step("ports", "规划端口", deploy.ports),
        Step("deploy", "部署监控实例", deploy.up, sop=("command-deploy-a", "command-deploy-b")),
        Step("healthy", "检查实例健康", instance.healthy, tries=12),
        Each("reach", "检查服务器到实例的连通", servers.names, instance.reach),
        Step("admin", "创建管理员账号", instance.admin, sop=("init-admin",)),
        Step("ai-key", "配置 AI 密钥", instance.ai, sop=("init-ai",)),
        Step("retention", "设置数据保留策略", instance.retention, sop=("init-retention",)),
        Step("backup", "配置备份", instance.backup, when=deploy.is_ours, sop=("init-backup",)),

        Phase("Agent 安装", "Day 1-2", minutes=10),
        Each("agent", "安装 Agent", servers.names, agent.install, canary=True,
             stop_after=None, sop=("command-token", "command-agent")),
        # They only wait, and share one look at the monitor: all of them may at once.
        Each("online", "确认数据上报", servers.names, agent.online, 1000, sop=("data-figures",)),
        Step("counted", "仪表盘核对", agent.counted, tries=3,
             sop=("data-dashboard", "data-health")),

        Phase("告警配置", "Day 2", minutes=5),
        Step("channel", "配置告警渠道", alerts.channel),
        Step("rules", "配置告警规则", alerts.rules),
        Gate("channels", "确认通知渠道", Role.ENGINEER, DAY,
             alerts.channels_confirmed, alerts.channels_drawn, sop=("notify-channels",)),
        Step("test-send", "发送测试告警", alerts.test_send),
        Gate("test-received", "客户确认收到测试告警", Role.CUSTOMER, DAY,
             alerts.received, alerts.received_drawn, sop=("notify-tested",)),
        Gate("escalation", "设置告警升级策略", Role.ENGINEER, DAY,
             alerts.escalation_set, alerts.escalation_drawn, sop=("notify-escalation",)),

        Phase("验收交付", "Day 3", minutes=5),
        Gate("approvers", "指定验收人", Role.ENGINEER, 3 * DAY,
             acceptance.name_approvers, acceptance.ask_approvers),
        Step("simulate", "模拟告警", acceptance.simulate, tries=2, sop=("accept-rules",)),
        Step("ai", "AI 分析测试", acceptance.ai, when=acceptance.is_pro, tries=3,
             sop=("accept-ai",)),
        Gate("remediation", "自动修复演练", Role.ENGINEER, 3 * DAY,
             acceptance.confirm_drill, acceptance.ask_drill, when=acceptance.is_pro,
             sop=("accept-remediation",)),
        Gate("training", "客户管理员已培训", Role.CUSTOMER, 3 * DAY,
             acceptance.confirm_training, acceptance.ask_training, sop=("accept-training",)),
        Step("checklist", "生成验收检查单", acceptance.draw_up, tries=3,
             sop=("accept-data", "accept-dashboard", "accept-channels")),
        Step("invite", "私信签字链接", acceptance.invite, when=acceptance.is_invited),
        Gate("sign", "客户签字验收", Role.CUSTOMER, 7 * DAY, acceptance.sign, acceptance.show),
        Step("report", "生成验收报告", handover.report),
        Step("papers", "交付报告模板、联系方式、手册", handover.papers,
             sop=("output-report-template", "output-contacts", "output-manual")),
        Step("handover", "交付登录账号", handover.account, tries=2, sop=("output-login",)),
        Step("service", "进入持续运维", handover.service),
    ),
)  # fmt: skip
