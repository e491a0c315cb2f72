"""Phase 4: the monitor's one channel is ours, its rules are the tier's, and an alert gets through.

VigilOps notifies badly and escalates not at all (`facts/vigilops.md`, sections 6 to 11): it only
has to tell us, once, over one channel. Everything else is ours.
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlsplit

from adapters.card import (
    Block,
    Button,
    Buttons,
    Card,
    Entry,
    Fields,
    Form,
    Input,
    Style,
    Text,
    Tone,
    dumps,
)
from adapters.port import (
    Fault,
    InDoubt,
    Monitor,
    MonitorAlert,
    Permanent,
    Rule,
    Transient,
    UsageError,
)
from adapters.words import Chat, Secret, Severity
from runbooks import reach
from runbooks.alerting.incident_cards import NAMES
from runbooks.alerting.tuning import tuning_of
from runbooks.book import Decision, Ruling
from runbooks.case import Contact, Onboarding
from runbooks.kit import CHINA, Errand
from runbooks.press import action
from runbooks.reach import key_name, notify_name
from runbooks.rules import OURS, TEST, TierRule, rules_of
from runbooks.steps.monitor import monitor
from runbooks.walk import STALE
from storage.hooks import SeenAlert
from storage.records import Delivery, DeliveryState, Lane, Run
from storage.store import Unit

SOURCE = "vigilops"
CHANNEL = "Vigilbot"
"""Name of our channel in the monitor."""

PATIENCE = 180.0
"""Seconds until a test alert must have come: the monitor evaluates once a minute."""
POLL = 2.0
SETTLED = 20.0
"""Seconds that a mail server or a webhook's receiver has to take a test alert."""

EMAIL, WEBHOOK = "邮件", "Webhook"
PLATFORMS = {"钉钉": "dingtalk", "飞书": "feishu", "企微": "wecom"}
ELSEWHERE = "已登记；客户群不在这个平台，告警发到客户群"
ASKED = "填写后登记；机器人启用了这个渠道时，测试告警也会发到这里"

MOST_RECIPIENTS = 10
SHORTEST_KEY = 16
"""Characters of the key that signs: a shorter one can be guessed offline."""
MOST_LEVELS = 5
LONGEST_WAIT = 1440
"""Minutes: who has not been reached after a day needs no escalation."""

_EMAIL = re.compile(r"[\w.+-]{1,64}@([a-z0-9-]{1,63}\.)+[a-z]{2,63}", re.ASCII | re.IGNORECASE)
_PHONE = re.compile(r"\+?[0-9][0-9 \-]{5,19}")
_LONGEST_NAME = 40


# -- the channel --------------------------------------------------------------------------------


def token_name(customer: int) -> str:
    """Return the vault's name of the token in the address of a customer's hook."""
    return f"hook:{customer}:{SOURCE}"


async def channel(case: Onboarding, errand: Errand) -> tuple[Onboarding, str]:
    """Have exactly one enabled channel, ours, and see its own test message come in."""
    kit, watch = errand.kit, await monitor(case, errand)
    token = await _token(case, errand)
    url = f"{kit.house.public_url}/hooks/{SOURCE}/{token.reveal()}"
    number = await watch.ensure_only_channel(CHANNEL, "webhook", {"url": url})
    began = kit.clock.now()
    try:
        sent = await watch.test_channel(number)
    except InDoubt:
        sent = False  # what came in tells more than the answer
    async with kit.store.unit() as unit:
        # The monitor has the new address by now: whoever knows an older one is shut out.
        await unit.hooks.keep_only(case.customer, SOURCE, token)
        heard = await unit.hooks.tested(case.customer, SOURCE, began)
    if not heard:
        raise Permanent(_deaf(kit.house.public_url, sent=sent), fault=Fault.REFUSED)
    disabled = sum(not each.enabled for each in await watch.channels())
    others = f"，另有 {disabled} 个已停用" if disabled else ""
    proof = f"渠道 #{number}「{CHANNEL}」是唯一启用的渠道{others}；测试消息已到达"
    return replace(case, channel=number), proof


def _deaf(url: str, *, sent: bool) -> str:
    if sent:
        return (
            "VigilOps 说测试消息已发出，机器人却没有收到："
            f"请确认 {url} 指向本机器人（反向代理、防火墙），然后重试"
        )
    return (
        f"VigilOps 发不出测试消息到 {url}：它拒绝内网和本机地址，也可能连不上。"
        "请把 public_url 设为 VigilOps 能访问的公网地址，然后重试"
    )


async def _token(case: Onboarding, errand: Errand) -> Secret:
    """Return the customer's token, made once; the ledger only learns that there is one."""
    kit, name = errand.kit, token_name(case.customer)

    async def made() -> str:
        async with kit.store.unit() as unit:
            if not await unit.vault.get(name):
                await unit.vault.put(name, Secret(secrets.token_urlsafe(32)))
        return "made"

    await errand.once("token", made, made)
    async with kit.store.unit() as unit:
        token = await unit.vault.get(name)
        if token is None:
            raise Permanent("告警入口的令牌不在保险库里：请确认保险库与数据库是同一份备份")
        await unit.hooks.add(case.customer, SOURCE, token, kit.clock.now())
    return token


# -- the rules ----------------------------------------------------------------------------------


def rule_of(wanted: TierRule, number: int) -> Rule:
    """Return a line of the tier's table as the monitor keeps it; "for five minutes" is ours."""
    return Rule(
        f"{OURS}{wanted.title}",
        wanted.metric,
        wanted.operator,
        wanted.value,
        wanted.severity,
        wanted.target,
        duration_seconds=0,
        channel_ids=(number,),
    )


def mended(rule: Rule, number: int) -> Rule:
    """Return a rule of the monitor as it must be: our channel alone, and no duration where it is
    built in or ours (with one it may never fire, or never recover)."""
    ours = rule.builtin or rule.name.startswith(OURS)
    seconds = 0 if ours else rule.duration_seconds
    return replace(rule, channel_ids=(number,), duration_seconds=seconds)


async def rules(case: Onboarding, errand: Errand) -> tuple[Onboarding, str]:
    """Make the tier's rules, and bind every rule there is to our channel."""
    watch, number = await monitor(case, errand), _channel_of(case)
    wanted = rules_of(case.tier)
    carried = [rule for rule in wanted if rule.metric]
    async with errand.kit.store.view() as unit:
        chosen = (await tuning_of(case.customer, unit)).thresholds
    for rule in carried:
        value = chosen.get(rule.title, rule.value)
        await watch.ensure_rule(replace(rule_of(rule, number), threshold=value))
    for found in await watch.rules():
        if mended(found, number) != found:
            await watch.ensure_rule(mended(found, number))
    kept = await watch.rules()
    # Names are not unique there: of two with one name only the first could be mended.
    wrong = [rule.name for rule in kept if mended(rule, number) != rule]
    if wrong:
        raise Permanent(
            f"{len(wrong)} 条规则改不过来：{'、'.join(wrong[:3])}。"
            "请在 VigilOps 里改掉重名的规则，然后重试",
            fault=Fault.REFUSED,
        )
    after = case.escalate_after or errand.kit.house.escalate_after
    return replace(case, escalate_after=after), _rules_proof(wanted, kept, number, chosen)


def _rules_proof(
    wanted: Sequence[TierRule], kept: Sequence[Rule], number: int, chosen: Mapping[str, float]
) -> str:
    there = [rule.title for rule in wanted if rule.metric]
    later = [rule.title for rule in wanted if not rule.metric]
    held = [rule.title for rule in wanted if rule.hold_seconds]
    parts = [
        f"{len(wanted)} 条规则，均只通知渠道 #{number}",
        f"VigilOps 执行 {len(there)} 条：{'、'.join(there)}",
        f"其中 {'、'.join(held)} 的「持续 5 分钟」由机器人计时",
    ]
    odd = [f"{rule.title} 为 {chosen[rule.title]:g}" for rule in wanted if rule.title in chosen]
    if odd:
        parts.append(f"按客户选定的阈值：{'、'.join(odd)}")
    if later:
        parts.append(f"待后续启用 {len(later)} 条（目前无人监看）：{'、'.join(later)}")
    parts.append(f"VigilOps 共 {len(kept)} 条规则（含内置），已逐条回读")
    return "；".join(parts)


def _channel_of(case: Onboarding) -> int:
    if not case.channel:
        raise Permanent("还没有告警渠道：请先完成「告警渠道」一步")
    return case.channel


# -- the customer's preferred channels ----------------------------------------------------------


async def channels_drawn(case: Onboarding, run: Run, unit: Unit) -> tuple[Block, ...]:
    """Show where the customer wants to be told, and ask for what is not known yet."""
    pairs = await _standings(case, unit)
    inputs = []
    if EMAIL in case.channels:
        hint = "每行一个地址"
        inputs.append(Input("email", "邮件收件人", Entry.TEXT, hint=hint, required=True))
    if WEBHOOK in case.channels:
        hint = "https://...，只存入保险库"
        inputs.append(Input("webhook", "Webhook 地址", Entry.SECRET, hint=hint, required=True))
        hint = f"客户自定，至少 {SHORTEST_KEY} 位，用来验证签名；只存入保险库"
        inputs.append(
            Input("webhook_key", "Webhook 签名密钥", Entry.SECRET, hint=hint, required=True)
        )
    if inputs:
        return (Fields(pairs), Form(action("yes", run), tuple(inputs), "确认已配置"))
    return (Fields(pairs), Buttons((Button("确认已配置", action("yes", run), Style.PRIMARY),)))


async def channels_confirmed(case: Onboarding, decision: Decision) -> Ruling:
    """Take the engineer's word and the targets; nothing is kept unless all of it is right."""
    if decision.verb != "yes":
        raise UsageError(STALE)
    wrong: list[str] = []
    addresses = _recipients(case, decision.values, wrong)
    target = _webhook(case, decision.values, wrong)
    if wrong:
        raise UsageError("没有提交，请改正后再提交：\n" + "\n".join(wrong))
    unit = decision.unit
    if addresses:
        kept = Secret("\n".join(addresses))
        await unit.vault.put(notify_name(case.customer, "email"), kept)
    if target:
        name = notify_name(case.customer, reach.WEBHOOK)
        await unit.vault.put(name, target.url)
        await unit.vault.put(key_name(name), target.key)
    said = [f"{name}：{standing}" for name, standing in await _standings(case, unit)]
    return Ruling(case, f"{decision.by.name} 确认：" + "；".join(said))


async def _standings(case: Onboarding, unit: Unit) -> tuple[tuple[str, str], ...]:
    customer = await unit.customers.get(case.customer)
    chat = customer.chat if customer else None
    beside = [each.platform for each in await reach.reach(case.customer, unit)]
    return tuple((name, _standing(name, chat, beside)) for name in ("客户群", *case.channels))


def _standing(name: str, chat: Chat | None, beside: Sequence[str]) -> str:
    if name == "客户群":
        return f"「{chat.title or chat.id}」，已启用" if chat else "未绑定，请在客户群里输入 /bind"
    if chat and PLATFORMS.get(name) == chat.platform:
        return "即本客户群，已启用"
    if name == EMAIL:
        count = beside.count(reach.MAIL)
        return f"{count} 个收件人，已登记" if count else ASKED
    if name == WEBHOOK:
        return "地址和签名密钥已登记" if reach.WEBHOOK in beside else ASKED
    return ELSEWHERE


def _recipients(case: Onboarding, values: Mapping[str, str], wrong: list[str]) -> tuple[str, ...]:
    if EMAIL not in case.channels:
        return ()
    text = unicodedata.normalize("NFKC", values.get("email", ""))
    found = tuple(part for part in re.split(r"[\s,;、]+", text) if part)
    bad = [part for part in found if not _EMAIL.fullmatch(part)]
    if not 1 <= len(found) <= MOST_RECIPIENTS:
        wrong.append(f"「邮件收件人」请填 1 到 {MOST_RECIPIENTS} 个地址")
    elif bad:
        wrong.append(f"「邮件收件人」不是邮件地址：{bad[0][:60]}")
    return found


class _Target(NamedTuple):
    url: Secret
    key: Secret


def _webhook(case: Onboarding, values: Mapping[str, str], wrong: list[str]) -> _Target | None:
    if WEBHOOK not in case.channels:
        return None
    url = values.get("webhook", "").strip()
    try:
        parts = urlsplit(url)
        fits = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        fits = fits and parts.username is None
    except ValueError:
        fits = False
    if not fits or any(c.isspace() or not c.isprintable() for c in url):
        wrong.append("「Webhook 地址」请写成 https://主机/路径 的样子")
    key = values.get("webhook_key", "").strip()
    if len(key) < SHORTEST_KEY:
        wrong.append(f"「Webhook 签名密钥」至少 {SHORTEST_KEY} 位")
    return _Target(Secret(url), Secret(key))


# -- the test alert -----------------------------------------------------------------------------


def test_name(run: str, round_: int) -> str:
    """Return the name of the rule that a run's test alert comes from; a new round is a new one."""
    return f"{TEST}{run}-{round_}"


def _alert_key(run: str, round_: int) -> str:
    return f"{run}:test-send:alert:{round_}"


async def test_send(case: Onboarding, errand: Errand) -> tuple[Onboarding, str]:
    """Have the monitor fire, wait until its webhook is in, and put the alert into the group."""
    kit, watch = errand.kit, await monitor(case, errand)
    name = test_name(errand.run, case.round)
    began = kit.clock.now()
    found = await _arrived(case, errand, name, until=began)
    if found is None:
        if await _fired(watch, name):
            # It fired while nobody was here to hear it, and tells an alert only once.
            await _silence_tests(watch)
        await watch.ensure_rule(
            Rule(name, "disk_percent", ">", 0.0, "info", channel_ids=(_channel_of(case),))
        )
        until = began + timedelta(seconds=PATIENCE)
        found = await _arrived(case, errand, name, until=until)
    lost = "" if found else await _where_lost(watch, name, errand)
    await _silence_tests(watch)
    if found is None:
        if lost:
            raise Permanent(lost, fault=Fault.REFUSED)
        raise Transient(
            f"VigilOps 在 {PATIENCE:.0f} 秒内没有触发测试规则「{name}」："
            "请确认至少一台服务器在线且有新的磁盘数据，然后重试",
            fault=Fault.SILENT,
        )
    async with kit.store.unit() as unit:
        customer = await unit.customers.get(case.customer)
        if customer is None or customer.chat is None:
            raise Permanent("客户还没有群：请在客户群里输入 /bind")
        said = Delivery(
            0,
            _alert_key(errand.run, case.round),
            customer.chat,
            Lane.ALARM,
            DeliveryState.WAITING,
            kit.clock.now(),
            card=dumps(_alert_card(found)),
        )
        others = await reach.reach(case.customer, unit)
        await reach.tell(said, others, unit)
    became = await _settled(said.key, others, errand) if others else ()
    parts = [f"{found.title}：{found.message}", _path(found, None)]
    parts += [f"{name}：{state}" for name, state in became]
    return case, "；".join(parts)


async def _settled(key: str, others: Sequence[Chat], errand: Errand) -> tuple[tuple[str, str], ...]:
    """Return what became of the copies beside the group, as soon as it is known of all, or when
    patience ends: then the outbox goes on trying without us."""
    clock = errand.kit.clock
    until = clock.now() + timedelta(seconds=SETTLED)
    while True:
        async with errand.kit.store.view() as unit:
            entries = [await unit.outbox.by_key(reach.beside(key, chat)) for chat in others]
            became = await _beside(key, others, unit)
        open_ = [each for each in entries if each and each.state is DeliveryState.WAITING]
        if not open_ or clock.now() >= until:
            return became
        await clock.sleep(POLL)


async def _arrived(
    case: Onboarding, errand: Errand, name: str, *, until: datetime
) -> SeenAlert | None:
    clock = errand.kit.clock
    while True:
        async with errand.kit.store.view() as unit:
            found = await unit.hooks.titled(case.customer, _title(name))
        if found or clock.now() >= until:
            return found
        await clock.sleep(POLL)


def _title(name: str) -> str:
    """Return what the titles of a rule's alerts begin with; the host's name follows."""
    return f"{name} - "


async def _where_lost(watch: Monitor, name: str, errand: Errand) -> str:
    """Say that the monitor fired and only the webhook was lost; empty when it did not fire."""
    fired = await _fired(watch, name)
    if not fired:
        return ""
    first = min(fired, key=lambda row: row.id)
    at = first.fired_at.astimezone(errand.kit.house.zone)
    return (
        f"VigilOps 已在 {at:%H:%M:%S} 触发告警 #{first.id}「{first.title}」，但 Webhook 在 "
        f"{PATIENCE:.0f} 秒内没有到达机器人：请确认 VigilOps 能访问 "
        f"{errand.kit.house.public_url}，并重做「告警渠道」一步"
    )


async def _fired(watch: Monitor, name: str) -> list[MonitorAlert]:
    """Return the rule's alerts that are firing."""
    return [row for row in await watch.alerts("firing") if row.title.startswith(_title(name))]


async def _silence_tests(watch: Monitor) -> None:
    """Disable every rule that only tests, also one that a killed process left: a disabled rule
    ends its alerts, a deleted one leaves them firing for ever."""
    for rule in await watch.rules():
        if rule.name.startswith(TEST) and rule.enabled:
            await watch.ensure_rule(replace(rule, enabled=False))


def _alert_card(alert: SeenAlert) -> Card:
    note = Text("这是一条测试告警，用来确认告警能到达本群；服务器本身没有故障。", Style.QUIET)
    return Card("测试告警", Tone.WARNING, (_as_it_came(alert), note))


def _as_it_came(alert: SeenAlert) -> Fields:
    return Fields(
        (
            ("标题", alert.title),
            ("服务器", alert.host),
            ("数值", alert.message),
            ("级别", _named(alert.severity)),
            ("触发时间", _clock(alert.fired_at or alert.at)),
            ("到达时间", _clock(alert.at)),
        )
    )


def _named(severity: str) -> str:
    """Return the monitor's word for a severity as our cards say it."""
    return NAMES[Severity(severity)] if severity in set(Severity) else severity


def _path(alert: SeenAlert, sent: datetime | None) -> str:
    """Say which way the alert came, with the seconds between; the monitor's clock is its own."""
    parts = ["VigilOps 触发"]
    if alert.fired_at:
        parts[0] += f" {_clock(alert.fired_at)}"
    parts.append(f"机器人收到 {_clock(alert.at)}{_took(alert.fired_at, alert.at)}")
    if sent:
        parts.append(f"客户群送达 {_clock(sent)}{_took(alert.at, sent)}")
    return " → ".join(parts)


def _clock(at: datetime) -> str:
    return f"{at.astimezone(CHINA):%H:%M:%S}"


def _took(since: datetime | None, at: datetime) -> str:
    return f"（{(at - since).total_seconds():+.1f} 秒）" if since else ""


async def received_drawn(case: Onboarding, run: Run, unit: Unit) -> tuple[Block, ...]:
    """Show the test alert as it came, the way it took, and the customer's button."""
    alert = await unit.hooks.titled(case.customer, _title(test_name(run.id, case.round)))
    if alert is None:
        return (Text("测试告警没有到达（该步已跳过）：请负责人决定是否 /skip", Style.STRONG),)
    key = _alert_key(run.id, case.round)
    entry = await unit.outbox.by_key(key)
    sent = entry.sent_at if entry else None
    arrived = await _beside(key, await reach.reach(case.customer, unit), unit)
    return (
        _as_it_came(alert),
        Text(_path(alert, sent), Style.QUIET),
        *((Fields(arrived),) if arrived else ()),
        Text("请客户方人员确认：您在本群看到了上面的测试告警"),
        Buttons((Button("收到", action("yes", run), Style.PRIMARY),)),
    )


async def _beside(key: str, others: Sequence[Chat], unit: Unit) -> tuple[tuple[str, str], ...]:
    """Return what became of the alert at each place beside the group, out of the ledger."""
    found = []
    for chat in others:
        entry = await unit.outbox.by_key(reach.beside(key, chat))
        found.append((f"{reach.NAMES[chat.platform]} {_masked(chat)}".rstrip(), _became(entry)))
    return tuple(found)


def _masked(chat: Chat) -> str:
    """Return enough of an address to know it by: the whole group reads it."""
    name, at, domain = chat.id.rpartition("@")
    return f"{name[:2]}…@{domain}" if at else ""


def _became(entry: Delivery | None) -> str:
    if entry is None:
        return "没有发送"
    match entry.state:
        case DeliveryState.SENT:
            at = f" {_clock(entry.sent_at)}" if entry.sent_at else ""
            return f"对方已收下{at}"
        case DeliveryState.FAILED | DeliveryState.WITHDRAWN:
            return f"失败：{entry.reason}"
        case DeliveryState.DOUBT:
            return f"不确定：{entry.reason}"
        case DeliveryState.WAITING:
            return f"重试中：{entry.reason}" if entry.reason else "发送中"


async def received(case: Onboarding, decision: Decision) -> Ruling:
    """Take it from the customer alone: our own people have seen it anyway."""
    if decision.verb != "yes":
        raise UsageError(STALE)
    unit, run = decision.unit, decision.run
    member = await unit.people.get(decision.by)
    if member and member.customer != case.customer:
        raise UsageError("「收到」要由客户方人员来按：请在群里提醒客户")
    alert = await unit.hooks.titled(case.customer, _title(test_name(run.id, case.round)))
    if alert is None:
        raise UsageError("测试告警没有到达，不能确认收到：请负责人用 /skip 说明原因")
    waited = (decision.now - alert.at).total_seconds()
    name = decision.by.name or decision.by.id
    return Ruling(
        case,
        f"{name} 于 {_clock(decision.now)} 确认收到「{alert.title}」（到达后 {waited:.0f} 秒）",
    )


# -- the escalation policy ----------------------------------------------------------------------


async def escalation_drawn(case: Onboarding, run: Run, unit: Unit) -> tuple[Block, ...]:
    """Ask who is rung in which order, and after how many minutes."""
    people = "\n".join(f"{each.name}，{each.phone}" for each in case.on_call)
    minutes = "，".join(str(each) for each in case.escalate_after)
    note = Text("告警无人确认时，按下面的顺序逐级通知值班人", Style.QUIET)
    inputs = (
        Input(
            "on_call",
            "值班人",
            Entry.TEXT,
            value=people,
            hint="每行一位：姓名，电话；第一行先通知",
            required=True,
        ),
        Input(
            "minutes",
            "升级间隔（分钟）",
            value=minutes,
            hint="逐级递增，例如 5，15，30",
            required=True,
        ),
    )
    return (note, Form(action("yes", run), inputs, "保存升级策略"))


async def escalation_set(case: Onboarding, decision: Decision) -> Ruling:
    """Keep the policy in the case; the rows that ring people are made from it."""
    if decision.verb != "yes":
        raise UsageError(STALE)
    wrong: list[str] = []
    people = _on_call(decision.values.get("on_call", ""), wrong)
    minutes = _minutes(decision.values.get("minutes", ""), wrong)
    if wrong:
        raise UsageError("没有提交，请改正后再提交：\n" + "\n".join(wrong))
    named = "、".join(f"{each.name} {each.phone}" for each in people)
    levels = "、".join(f"{each}" for each in minutes)
    return Ruling(
        replace(case, on_call=people, escalate_after=minutes),
        f"值班：{named}；未确认 {levels} 分钟后逐级升级（{decision.by.name} 设定）",
    )


def _on_call(text: str, wrong: list[str]) -> tuple[Contact, ...]:
    rows = [line.strip() for line in text.splitlines() if line.strip()]
    if not rows:
        wrong.append("「值班人」必填，至少一位")
    found: list[Contact] = []
    for number, row in enumerate(rows, start=1):
        parts = [unicodedata.normalize("NFKC", each).strip() for each in re.split("[,，、\t]", row)]
        match parts:
            case [name, phone] if _is_name(name) and _PHONE.fullmatch(phone):
                found.append(Contact(name, phone=phone))
            case _:
                wrong.append(f"「值班人」第 {number} 行请写成：姓名，电话")
    if len({each.phone for each in found}) < len(found):
        wrong.append("「值班人」有两行是同一个电话")
    return tuple(found)


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_NAME and text.isprintable()


def _minutes(text: str, wrong: list[str]) -> tuple[int, ...]:
    parts = [each for each in re.split(r"[\s,、/]+", unicodedata.normalize("NFKC", text)) if each]
    found = tuple(int(each) for each in parts if re.fullmatch("[0-9]{1,4}", each))
    rising = all(early < late for early, late in zip((0, *found), found, strict=False))
    fits = len(found) == len(parts) and 1 <= len(found) <= MOST_LEVELS
    if not fits or not rising or found[-1] > LONGEST_WAIT:
        wrong.append(
            f"「升级间隔」请填 1 到 {MOST_LEVELS} 个逐级递增的分钟数（最多 {LONGEST_WAIT}），"
            "例如：5，15，30"
        )
    return found
