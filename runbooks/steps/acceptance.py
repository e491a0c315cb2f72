"""Phase 5: tested, trained, the checklist with its evidence, and the customer's signatures."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace

from adapters.card import (
    Block,
    Button,
    Buttons,
    Entry,
    Form,
    Input,
    Style,
    Table,
    Text,
)
from adapters.port import Fault, MonitoredHost, Permanent, Rule, UsageError
from adapters.words import Person, Role
from runbooks import evidence as proofs
from runbooks.alerting.triage import consent
from runbooks.book import Decision, Ruling
from runbooks.case import Approver, Invitation, Onboarding
from runbooks.evidence import Evidence, Figure, Reading
from runbooks.kit import CHINA, Errand
from runbooks.press import action
from runbooks.rules import rules_of
from runbooks.steps import alerts, tickets
from runbooks.steps.monitor import monitor
from runbooks.walk import ENDED, STALE
from storage.records import (
    Line,
    Member,
    Run,
    RunStatus,
    Signature,
    Tier,
)
from storage.store import Unit

LINK = "link"
"""The platform of somebody who signs through a one-time link: no chat has this name, so a press
in a chat can never pass for one."""

ONCE_MORE = ("checklist",)
"""Lines that a refusal always reopens: the evidence is drawn up anew."""

NEVER_AGAIN = frozenset(
    {"group", "contract", "sheet", "signed", "approvers", "checklist", "invite"}
)
"""Lines that no refusal reopens by choice: papers and people, not what was tested."""

TOGETHER = {"test-received": ("test-send",), "test-send": ("test-received",)}
"""Lines that make no sense one without the other: whoever reopens one reopens both."""

NAMED = 5
"""Servers whose figures stand in the evidence one by one; the rest are counted."""

MOST_APPROVERS = 20
LONGEST_NAME = 40

QUESTION = "磁盘使用率 92%（阈值 90%），主机 web-01，过去一小时增长 6 个百分点。原因和处理步骤？"
"""A sample alert, of no customer."""

SYSTEM = "你是运维助手。用中文简短回答：可能的原因、先查什么、怎样处理。"


def is_pro(case: Onboarding) -> bool:
    """Does the tier include AI analysis and remediation?"""
    return case.tier is Tier.PRO


def is_invited(case: Onboarding) -> bool:
    """Was a signing link asked for?"""
    return bool(case.invitations)


# -- who signs ----------------------------------------------------------------------------------


async def ask_approvers(case: Onboarding, run: Run, unit: Unit) -> tuple[Block, ...]:
    """Show the form that names the approvers."""
    names = "\n".join(contact.name for contact in case.contacts)
    return (
        Text("请与客户确认由谁签字验收。不在群里的人可以用一次性链接签字。"),
        Form(
            action("yes", run),
            (
                Input(
                    "approvers",
                    "验收人",
                    Entry.TEXT,
                    value=names,
                    hint="每行一位：姓名，或 姓名 / 代理人",
                    required=True,
                ),
                Input("need", "至少几位签字", Entry.NUMBER, value="1", required=True),
            ),
            "确定验收人",
        ),
    )


async def name_approvers(case: Onboarding, decision: Decision) -> Ruling:
    """Take who must sign and how many of them, and find them among the customer's people."""
    members = await _people(case, decision.by.platform, decision.unit)
    approvers = read_approvers(decision.values.get("approvers", ""), members)
    need = _count(decision.values.get("need", ""), len(approvers))
    said = "、".join(_titled(a) for a in approvers)
    detail = {"run": decision.run.id, "approvers": said, "need": str(need)}
    await decision.unit.audit.add(decision.now, decision.by.name, "approvers", detail)
    proof = f"{said}；{len(approvers)} 位中 {need} 位签字即通过"
    if absent := [a.name for a in approvers if not a.id]:
        proof += f"；不在群里、用链接签字：{'、'.join(absent)}"
    return Ruling(replace(case, approvers=approvers, need=need), proof)


def read_approvers(text: str, members: Sequence[Member]) -> tuple[Approver, ...]:
    """Return the approvers of a form, one a line; UsageError names the line that is wrong."""
    found: list[Approver] = []
    lines = [line.strip() for line in unicodedata.normalize("NFKC", text).splitlines()]
    for number, line in enumerate(filter(None, lines), start=1):
        name, _, deputy = (part.strip() for part in line.partition("/"))
        if not name or "/" in deputy or any(_odd(each) for each in (name, deputy)):
            raise UsageError(
                f"「验收人」第 {number} 行请写成：姓名，或 姓名 / 代理人（每个最多 {LONGEST_NAME} 个字）"
            )
        if name == deputy or name in {a.name for a in found}:
            raise UsageError(f"「验收人」第 {number} 行的「{name}」重复：请换一位")
        found.append(Approver(name, known(name, members), deputy, known(deputy, members)))
    if not 0 < len(found) <= MOST_APPROVERS:
        raise UsageError(f"「验收人」请填 1 到 {MOST_APPROVERS} 位，每行一位")
    return tuple(found)


def known(name: str, members: Sequence[Member]) -> str:
    """Return the id of the one person of that name; empty when there is none, or more than one."""
    ids = {m.person.id for m in members if unicodedata.normalize("NFKC", m.person.name) == name}
    return ids.pop() if name and len(ids) == 1 else ""


async def _people(case: Onboarding, platform: str, unit: Unit) -> Sequence[Member]:
    members = await unit.people.of_customer(case.customer)
    return [m for m in members if m.person.platform == platform]


def _odd(name: str) -> bool:
    hidden = any(unicodedata.category(c) in {"Cc", "Cf", "Cs"} for c in name)
    return len(name) > LONGEST_NAME or hidden


def _count(text: str, most: int) -> int:
    digits = unicodedata.normalize("NFKC", text).strip()
    if not (digits.isascii() and digits.isdecimal() and 1 <= int(digits) <= most):
        raise UsageError(f"「至少几位签字」请填 1 到 {most}")
    return int(digits)


def _titled(approver: Approver) -> str:
    return f"{approver.name}（代理人 {approver.deputy}）" if approver.deputy else approver.name


# -- what is tested -----------------------------------------------------------------------------


async def simulate(case: Onboarding, errand: Errand) -> tuple[Onboarding, str]:
    """Have an alert fire and arrive; one that this run has sent and seen received is not sent
    again, unless a refusal asks for it. Then look which rules stand on our channel."""
    async with errand.kit.store.view() as unit:
        test = (await unit.lines.of(errand.run)).get("test-received")
    if case.round == 1 and test and test.state in ENDED:
        said = test.proof or f"测试告警已跳过：{test.note}"
    else:
        case, said = await alerts.test_send(case, errand)
    live = ours(await (await monitor(case, errand)).rules(), case)
    if not live:
        raise Permanent(
            "监控里没有任何启用的规则连着我们的通道：请重试「配置告警规则」", fault=Fault.MONITOR
        )
    names = "、".join(r.name for r in live[:NAMED]) + (" 等" if len(live) > NAMED else "")
    return case, f"{said}；{len(live)} 条规则在用：{names}"


def ours(rules: Sequence[Rule], case: Onboarding) -> tuple[Rule, ...]:
    """Return the enabled rules that tell us."""
    return tuple(r for r in rules if r.enabled and case.channel in (r.channel_ids or ()))


async def ai(case: Onboarding, errand: Errand) -> tuple[Onboarding, str]:
    """Have the model analyse a sample alert, and ask the customer whether it may see theirs."""
    kit = errand.kit
    model = kit.model
    if model is None:
        raise Permanent(
            "没有配置 AI 模型：请在配置文件填写模型的地址、名称和密钥后重试，或由负责人 /skip"
        )
    answer = await model.ask(SYSTEM, QUESTION, timeout=30.0)
    text = " ".join(answer.text.split())[:60]
    if not text:
        raise Permanent(f"模型 {answer.model} 的回答是空的：请检查模型配置后重试")
    async with kit.store.unit() as unit:
        key = errand.key("consent")
        asked = await consent.ask(case.customer, key, kit.clock.now(), kit.house, unit)
    next_ = "；已在群里请客户决定是否允许分析告警" if asked else ""
    return case, f"模型 {answer.model}，{answer.tokens} tokens：{text.rstrip('。；，')}{next_}"


async def ask_drill(case: Onboarding, run: Run, unit: Unit) -> tuple[Block, ...]:
    """Show the form of the remediation drill."""
    note = Text("请在一台非核心服务器上做一次自动修复演练（例如清理临时文件），再如实填写。")
    inputs = (
        Input("host", "演练服务器", required=True),
        Input("done", "做了什么、结果怎样", Entry.TEXT, required=True),
    )
    return (note, Form(action("yes", run), inputs, "演练通过"))


async def confirm_drill(case: Onboarding, decision: Decision) -> Ruling:
    """Take what was done in the drill; a person answers for it until the drill has hands."""
    host = decision.values.get("host", "").strip()
    done = " ".join(decision.values.get("done", "").split())
    if host not in case.servers:
        raise UsageError(f"「演练服务器」请填这家客户的一台：{'、'.join(case.servers[:NAMED])}")
    if not done:
        raise UsageError("「做了什么、结果怎样」必填：例如 清理 /tmp 下 3 GB，磁盘从 91% 降到 62%")
    detail = {"run": decision.run.id, "host": host, "done": done[:200]}
    await decision.unit.audit.add(decision.now, decision.by.name, "remediation-drill", detail)
    return Ruling(case, f"{host}：{done[:200]}（{decision.by.name} 确认）")


async def ask_training(case: Onboarding, run: Run, unit: Unit) -> tuple[Block, ...]:
    """Show the button for the customer."""
    note = Text("培训内容：登录、看服务器、看告警、在群里找我们。由客户管理员本人确认。")
    return (note, Buttons((Button("已培训", action("yes", run), Style.PRIMARY),)))


async def confirm_training(case: Onboarding, decision: Decision) -> Ruling:
    """The customer says that they were trained; nobody of ours can say so for them."""
    if await _is_staff(decision.by, decision.unit):
        raise UsageError("「已培训」要由客户自己确认：请客户管理员在卡片上按")
    detail = {"run": decision.run.id}
    await decision.unit.audit.add(decision.now, decision.by.name, "trained", detail)
    return Ruling(case, f"{decision.by.name} 确认已培训")


async def _is_staff(by: Person, unit: Unit) -> bool:
    member = await unit.people.get(by)
    return member is not None and member.customer is None and member.role is not Role.CUSTOMER


# -- the evidence -------------------------------------------------------------------------------


async def draw_up(case: Onboarding, errand: Errand) -> tuple[Onboarding, str]:
    """Hold the SOP's checklist against the proofs and the monitor, once a round, and hash it."""

    async def do() -> str:
        reading = await _reading(case, errand)
        async with errand.kit.store.view() as unit:
            lines = await lines_of(case, unit)
        drawn = proofs.drawn_up(errand.run, case, lines, reading)
        if missing := proofs.gaps(drawn):
            said = "；".join(f"{item.title}（{item.evidence}）" for item in missing)
            raise Permanent(f"检查单有 {len(missing)} 项未通过：{said}", fault=Fault.SILENT)
        return proofs.canonical(drawn)

    async def look() -> None:
        """Drawing up changes nothing outside: when in doubt it is done again."""

    text: str = await errand.once(f"evidence-{case.round}", do, look)
    hash_ = proofs.digest(text)
    count = len(proofs.read(text).items)
    return replace(case, evidence=hash_), f"第 {case.round} 轮，{count} 项，SHA-256 {hash_}"


async def lines_of(case: Onboarding, unit: Unit) -> dict[str, Line]:
    """Return how each line stands in the customer's newest run that has it."""
    found: dict[str, Line] = {}
    for run in reversed(await unit.runs.of(case.customer)):
        if run.status is not RunStatus.CANCELLED:
            found.update(await unit.lines.of(run.id))
    return found


async def evidence_of(case: Onboarding, run: str, unit: Unit) -> Evidence | None:
    """Return the evidence that is to be signed; None when there is none, or when what is kept is
    not what was hashed."""
    kept = await unit.effects.get(f"{run}:checklist:evidence-{case.round}")
    text = json.loads(kept.result) if kept and kept.result else ""
    if not text or proofs.digest(text) != case.evidence:
        return None
    return proofs.read(text)


async def _reading(case: Onboarding, errand: Errand) -> Reading:
    kit = errand.kit
    watch = await monitor(case, errand)
    async with kit.store.view() as unit:
        servers = await unit.servers.of(case.customer)
    names = [s.hostname or s.name for s in servers if s.name in case.servers]
    summary = await watch.summary()
    channels = [channel for channel in await watch.channels() if channel.enabled]
    wanted = {rule.metric for rule in rules_of(case.tier) if rule.metric}
    rules = ours(await watch.rules(), case)
    absent = wanted - {rule.metric for rule in rules}
    said = f"{len(rules)} 条规则在用" + (f"，缺 {'、'.join(sorted(absent))}" if absent else "")
    figures = {
        "data": data_figure(names, await watch.hosts()),
        "dashboard": Figure(
            summary.hosts_total >= len(names) and summary.hosts_online >= len(names),
            f"仪表盘 {summary.hosts_online}/{summary.hosts_total} 台在线，"
            f"健康分 {summary.health_score}，告警中 {summary.alerts_firing} 条",
        ),
        "rules": Figure(not absent, said),
        "channel": Figure(
            [channel.id for channel in channels] == [case.channel],
            "监控的通道：" + ("、".join(f"{c.name}（#{c.id}）" for c in channels) or "没有"),
        ),
    }
    return Reading(kit.clock.now(), case.console or case.url, figures, kit.house.zone)


def data_figure(names: Sequence[str], hosts: Sequence[MonitoredHost]) -> Figure:
    """Say which servers report fresh CPU, memory and disk, by their exact names."""
    seen = {host.hostname: host for host in hosts if host.online}
    fresh = {name: said for name in names if name in seen and (said := _usage(seen[name]))}
    silent = [name for name in names if name not in fresh]
    parts = [f"{len(fresh)}/{len(names)} 台在线且数据新鲜", *list(fresh.values())[:NAMED]]
    if silent:
        parts.append(f"没有新鲜数据：{'、'.join(silent[:NAMED])}")
    return Figure(bool(names) and not silent, "；".join(parts))


def _usage(host: MonitoredHost) -> str:
    """Say how full a host is; nothing when one of the three figures is missing or stale."""
    match (host.cpu_percent, host.memory_percent, host.disk_percent):
        case (float(cpu), float(memory), float(disk)):
            return f"{host.hostname} CPU {cpu:.1f}% 内存 {memory:.1f}% 磁盘 {disk:.1f}%"
    return ""


# -- the signatures -----------------------------------------------------------------------------


async def invite(case: Onboarding, errand: Errand) -> tuple[Onboarding, str]:
    """Make the signing links that were asked for, and tell each to who asked."""
    told = [
        await tickets.tell(
            errand,
            f"link-{number}",
            "sign",
            json.dumps({"run": errand.run, "approver": asked.approver}, ensure_ascii=False),
            asked.asked_by,
            asked.approver,
        )
        for number, asked in enumerate(case.invitations, start=1)
    ]
    return case, "；".join(told)


async def show(case: Onboarding, run: Run, unit: Unit) -> tuple[Block, ...]:
    """Show what is signed: the checklist with its evidence, the hash, who signed and who not."""
    evidence = await evidence_of(case, run.id, unit)
    if evidence is None:
        return (Text("没有可签的检查单（未生成，或与哈希不符）：请由负责人处理", Style.STRONG),)
    signed = await unit.signatures.of(run.id)
    lines = await unit.lines.of(run.id)
    mark = proofs.short(case.evidence)
    return (
        Table(
            ("检查项", "结果", "证据", "时间"),
            tuple((i.title, str(i.result), i.evidence, proofs.when(i.at)) for i in evidence.items),
        ),
        *_skips(evidence),
        Text(f"证据哈希 {mark}（SHA-256 {case.evidence}）", Style.CODE),
        Table(("验收人", "状态"), standing(case, signed)),
        Text(f"已签 {len(seats(case, signed))}，需要 {case.need}（共 {len(case.approvers)} 位）"),
        Buttons(
            (
                Button(
                    "签字验收",
                    action(f"sign-{mark}", run),
                    Style.PRIMARY,
                    confirm=f"确认：我已看过证据 {mark}，同意验收？",
                ),
                *_link_buttons(case, run, signed),
            )
        ),
        Form(
            action(f"refuse-{mark}", run),
            (
                Input("reason", "不通过的原因", Entry.TEXT, required=True),
                Input("lines", "要重做的步骤", Entry.CHOICES, choices(lines), required=True),
            ),
            "不通过，退回",
        ),
    )


async def sign(case: Onboarding, decision: Decision) -> Ruling:
    """Take a signature, a refusal, or the wish for a signing link."""
    verb, _, rest = decision.verb.partition("-")
    match verb:
        case "sign":
            return await _accept(case, decision, rest)
        case "refuse":
            return await _refuse(case, decision, rest)
        case "link":
            return await _ask_link(case, decision, rest)
    raise UsageError(STALE)


def seats(case: Onboarding, signed: Sequence[Signature]) -> dict[str, Signature]:
    """Return who has signed the present evidence, by the approver whose place it is."""
    found: dict[str, Signature] = {}
    for each in signed:
        if each.accepted and each.evidence == case.evidence:
            found.setdefault(each.deputy_for or each.signer, each)
    return found


def standing(case: Onboarding, signed: Sequence[Signature]) -> tuple[tuple[str, str], ...]:
    """Say of each approver whether they have signed, refused, or are missing."""
    taken = seats(case, signed)
    refused = {s.deputy_for or s.signer: s for s in signed if not s.accepted}
    rows: list[tuple[str, str]] = []
    for approver in case.approvers:
        mine, before = taken.get(approver.name), refused.get(approver.name)
        if mine:
            who = f"代理人 {mine.signer} " if mine.deputy_for else ""
            said = f"✅ {who}已签 {mine.at.astimezone(CHINA):%m-%d %H:%M}"
        elif before:
            said = f"❌ 曾拒绝：{before.reason}"
        else:
            said = "⏳ 未签" if approver.id else "⏳ 未签（不在群里）"
        rows.append((_titled(approver), said))
    return tuple(rows)


def choices(lines: Mapping[str, Line]) -> tuple[tuple[str, str], ...]:
    """Return the lines that a refusal may reopen: what was done or skipped in this run."""
    return tuple(
        (key, proofs.title_of(key))
        for key, line in lines.items()
        if line.state in ENDED and key not in NEVER_AGAIN
    )


def seat_of(case: Onboarding, by: Person, name: str) -> tuple[Approver, ...]:
    """Return the places that somebody may sign in, their own first; `name` is what they are
    called among the customer's people, empty when that is not certain."""
    if by.platform == LINK:
        return tuple(a for a in case.approvers if a.name == by.id)
    own = [a for a in case.approvers if _is(a.id, a.name, by, name)]
    other = [a for a in case.approvers if a.deputy and _is(a.deputy_id, a.deputy, by, name)]
    return (*own, *other)


def _is(id_: str, listed: str, by: Person, name: str) -> bool:
    return by.id == id_ if id_ else bool(name) and name == listed


async def _signer(
    case: Onboarding, decision: Decision, mark: str
) -> tuple[tuple[Approver, ...], str]:
    """Return the signer's places and name; UsageError when they are not of those who may."""
    unit, by = decision.unit, decision.by
    name = by.id if by.platform == LINK else ""
    if not name and (member := await unit.people.get(by)) and member.customer == case.customer:
        listed = unicodedata.normalize("NFKC", member.person.name)
        people = await _people(case, by.platform, unit)
        name = listed if known(listed, people) == by.id else ""
    places = seat_of(case, by, name)
    if not places:
        may = "、".join(_titled(a) for a in case.approvers)
        raise UsageError(f"{by.name or by.id}：只有名单上的验收人或代理人可以签字：{may}")
    if not case.evidence or mark != proofs.short(case.evidence):
        raise UsageError("您看到的证据已更新：请看最新的验收检查单，核对哈希后再签")
    if await evidence_of(case, decision.run.id, unit) is None:
        raise UsageError("保存的证据与哈希不符，不能签字：请由负责人处理")
    return places, name or by.name or by.id


async def _accept(case: Onboarding, decision: Decision, mark: str) -> Ruling:
    unit, by = decision.unit, decision.by
    places, name = await _signer(case, decision, mark)
    signed = await unit.signatures.of(decision.run.id)
    taken = seats(case, signed)
    mine = [s for s in taken.values() if s.person == by or s.signer == name]
    place = next((a for a in places if a.name not in taken), None)
    if place is None or mine:
        raise UsageError(f"{name}：您（或您代理的人）已经签过，不必再签")
    deputy_for = "" if _own(place, by, name) else place.name
    await _keep(case, decision, Signature(
        decision.run.id, name, case.evidence, True, decision.now, _person(by),
        way=_way(by), deputy_for=deputy_for,
    ), "sign")  # fmt: skip
    count = len(taken) + 1
    if count < case.need:
        return Ruling(case)
    names = [*(s.signer for s in taken.values()), name]
    proof = f"{count}/{len(case.approvers)} 位签字（需要 {case.need}）：{'、'.join(names)}"
    return Ruling(case, f"{proof}；证据哈希 {proofs.short(case.evidence)}")


async def _refuse(case: Onboarding, decision: Decision, mark: str) -> Ruling:
    unit, by = decision.unit, decision.by
    places, name = await _signer(case, decision, mark)
    reason = " ".join(decision.values.get("reason", "").split())[:300]
    keys = tuple(filter(None, decision.values.get("lines", "").split(",")))
    may = {key for key, _ in choices(await unit.lines.of(decision.run.id))}
    if not reason:
        raise UsageError("「不通过的原因」必填：请写明哪里不对，我们据此重做")
    if not keys or not set(keys) <= may:
        raise UsageError("「要重做的步骤」请从列表中至少选一项")
    place = places[0]
    deputy_for = "" if _own(place, by, name) else place.name
    await _keep(case, decision, Signature(
        decision.run.id, name, case.evidence, False, decision.now, _person(by),
        reason, _way(by), deputy_for,
    ), "refuse")  # fmt: skip
    again = replace(case, round=case.round + 1, evidence="")
    also = tuple(each for key in keys for each in TOGETHER.get(key, ()) if each in may)
    return Ruling(again, reopen=(*keys, *also, *ONCE_MORE))


async def _ask_link(case: Onboarding, decision: Decision, number: str) -> Ruling:
    if not await _is_staff(decision.by, decision.unit):
        raise UsageError("签字链接由工程师生成：请在群里找我们的工程师")
    taken = seats(case, await decision.unit.signatures.of(decision.run.id))
    names = {str(i): a.name for i, a in enumerate(case.approvers) if a.name not in taken}
    if number not in names:
        raise UsageError(STALE)
    detail = {"run": decision.run.id, "approver": names[number]}
    await decision.unit.audit.add(decision.now, decision.by.name, "sign-link", detail)
    asked = (*case.invitations, Invitation(names[number], decision.by))
    return Ruling(replace(case, invitations=asked), reopen=("invite",))


async def _keep(case: Onboarding, decision: Decision, signature: Signature, deed: str) -> None:
    await decision.unit.signatures.add(signature)
    detail = {
        "run": decision.run.id,
        "evidence": case.evidence,
        "way": signature.way,
        "deputy_for": signature.deputy_for,
        "reason": signature.reason,
    }
    await decision.unit.audit.add(decision.now, signature.signer, deed, detail)


def _own(place: Approver, by: Person, name: str) -> bool:
    return by.platform == LINK or _is(place.id, place.name, by, name)


def _person(by: Person) -> Person | None:
    return None if by.platform == LINK else by


def _way(by: Person) -> str:
    return "link" if by.platform == LINK else "card"


def _skips(evidence: Evidence) -> tuple[Block, ...]:
    if not evidence.skipped:
        return ()
    rows = tuple((s.title, s.reason, s.by) for s in evidence.skipped)
    return (Table(("跳过的步骤", "原因", "决定人"), rows),)


def _link_buttons(case: Onboarding, run: Run, signed: Sequence[Signature]) -> tuple[Button, ...]:
    taken = seats(case, signed)
    return tuple(
        Button(f"生成签字链接：{approver.name}", action(f"link-{number}", run))
        for number, approver in enumerate(case.approvers)
        if not approver.id and approver.name not in taken
    )
