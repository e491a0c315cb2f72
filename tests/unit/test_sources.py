"""What monitors post becomes alerts: each source's samples, and nothing but alerts or an error.

A sample in `tests/golden/sources/SOURCE/` stands beside what must come of it.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from adapters.port import UsageError
from adapters.sources import SOURCES, Source, mapping, reading, with_shapes
from adapters.sources.huawei import genuine
from adapters.sources.mapping import Shape
from adapters.words import Alert, Severity
from bot.cli import main
from bot.config import ConfigError, flatten, load, load_shapes

GOLDEN = Path("tests/golden/sources")
NOW = datetime(2026, 11, 23, 0, 30, tzinfo=UTC)
ALL = with_shapes(load_shapes(GOLDEN / "mapping/shape.toml"))
NAMES = tuple(ALL)

SAMPLES = sorted(
    path
    for path in GOLDEN.glob("*/*")
    if path.suffix in {".json", ".form"} and not path.name.endswith(".alerts.json")
)


def source_of(path: Path) -> Source:
    return ALL[{"mapping": "acme"}.get(path.parent.name, path.parent.name)]


def shown(alerts: tuple[Alert, ...]) -> list[dict[str, Any]]:
    return [msgspec.to_builtins(alert) for alert in alerts]


SPOILT = {
    "a mark at the begin": lambda body: b"\xef\xbb\xbf" + body,
    "half a character, escaped": lambda body: body.replace("磁盘".encode(), rb"\ud83d"),
    "half a character, cut": lambda body: body.replace("磁盘".encode(), "磁盘满了".encode()[:-1]),
    "a raw line end": lambda body: body.replace("磁盘".encode(), b"disk\nfull"),
    "GBK": lambda body: body.decode().encode("gbk"),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_what_is_nearly_json_costs_no_alert(spoil: Callable[[bytes], bytes]) -> None:
    """Neither the one that it is in nor the good one beside it."""
    alerts = [
        {"status": "firing", "labels": {"alertname": name}, "annotations": {"summary": summary}}
        for name, summary in (("Disk", "磁盘"), ("DBDown", "主库没有应答"))
    ]
    body = json.dumps({"version": "4", "alerts": alerts}, ensure_ascii=False).encode()
    found = SOURCES["alertmanager"].decode(spoil(body), NOW)
    assert [alert.rule for alert in found] == ["Disk", "DBDown"]
    assert found[1].title == "主库没有应答"
    assert found[0].title.isprintable()


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_sample_becomes_the_alerts_beside_it(path: Path) -> None:
    """Every field of every alert, as JSON."""
    expected = json.loads(path.with_suffix(".alerts.json").read_text(encoding="utf-8"))
    assert shown(source_of(path).decode(path.read_bytes(), NOW)) == expected


def test_every_source_has_samples() -> None:
    """A source that nobody tries is not offered."""
    assert {source_of(path).name for path in SAMPLES} == set(ALL)


# -- whatever is posted ------------------------------------------------------------------------


def sound(alerts: tuple[Alert, ...]) -> None:
    """What everything after a decoder relies on."""
    for alert in alerts:
        texts = [alert.fingerprint, alert.rule, alert.host, alert.title, alert.text, alert.url]
        texts += [*alert.labels, *alert.labels.values()]
        assert all(reading._UNSEEN.search(text) is None for text in texts)
        assert all(len(text) <= reading.LONGEST for text in texts)
        assert alert.fingerprint
        assert alert.rule or alert.title
        for text in (alert.fingerprint, alert.rule, alert.host, alert.title):
            assert len(text) <= reading.LONGEST_LINE
        assert len(alert.labels) <= 3 * reading.MOST_LABELS
        assert alert.url == "" or alert.url.startswith(("http://", "https://"))
        for at in (alert.starts_at, alert.ends_at):
            assert at is None or (at.tzinfo is UTC and at <= NOW)
        json.dumps(msgspec.to_builtins(alert), ensure_ascii=False).encode()


def tried(source: Source, body: bytes) -> tuple[Alert, ...]:
    alerts: tuple[Alert, ...] = ()
    refused = ""
    try:
        alerts = source.decode(body, NOW)
        source.truncated(body)
        source.handshake(body)
    except UsageError as error:
        refused = str(error)
    assert len(refused) < 400
    sound(alerts)
    return alerts


ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.text(st.characters(max_codepoint=0x2070), max_size=20)
    | st.sampled_from(
        ["", "0", "1", "firing", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00", "x" * 3000]
    )
)
TREES = st.recursive(
    ATOMS, lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(), below, max_size=3)
)


@pytest.mark.parametrize("name", NAMES)
@given(body=st.binary(max_size=300))
def test_any_bytes_are_alerts_or_a_usage_error(name: str, body: bytes) -> None:
    """No other exception leaves a decoder, so that no post can be answered 500."""
    tried(ALL[name], body)


@given(st.data())
def test_what_is_plain_has_alerts(data: st.DataObject) -> None:
    """The short look that a post is taken in by promises no more than the decoder keeps."""
    sample = data.draw(st.sampled_from([p for p in SAMPLES if source_of(p).name == "alertmanager"]))
    tree = json.loads(sample.read_bytes())
    for _ in range(data.draw(st.integers(0, 2))):
        tree = altered(tree, data.draw(st.sampled_from(leaves(tree))), data.draw(TREES))
    body, source = json.dumps(tree).encode(), ALL["alertmanager"]
    try:
        plain = source.plain(body)
    except UsageError:
        plain = False
    if plain:
        assert source.decode(body, NOW)


def test_an_everyday_post_is_plain_and_an_empty_one_is_not() -> None:
    source = ALL["alertmanager"]
    assert source.plain(b'{"alerts":[{"status":"firing","labels":{"alertname":"A"}}]}')
    assert not source.plain(b'{"alerts":[]}')


@pytest.mark.parametrize("name", NAMES)
@given(tree=TREES)
def test_any_json_is_alerts_or_a_usage_error(name: str, tree: object) -> None:
    """The same for what is at least JSON."""
    tried(ALL[name], json.dumps(tree).encode())


def leaves(tree: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return where everything stands in a tree."""
    found = [path] if path else []
    pairs = dict(enumerate(tree)) if isinstance(tree, list) else tree
    for key, below in pairs.items() if isinstance(pairs, dict) else ():
        found += leaves(below, (*path, key))
    return found


def altered(tree: Any, path: tuple[Any, ...], value: object) -> object:
    if not path:
        return value
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = altered(tree[path[0]], path[1:], value)
    return copy


@given(st.data())
def test_a_sample_with_anything_in_any_place(data: st.DataObject) -> None:
    """What is nearly right comes further into a decoder than noise does."""
    path = data.draw(st.sampled_from([path for path in SAMPLES if path.suffix == ".json"]))
    tree = json.loads(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        tree = altered(tree, data.draw(st.sampled_from(leaves(tree))), data.draw(TREES))
    tried(source_of(path), json.dumps(tree).encode())


@given(st.dictionaries(st.sampled_from(
    ["alertName", "alertState", "dimensions", "timestamp", "triggerLevel", "curValue", "ruleId"]),
    st.text() | st.sampled_from(["ALERT", "OK", "null", "{a=1, b=2}", "9" * 15]),
))  # fmt: skip
def test_any_form_is_an_alert_or_a_usage_error(fields: Mapping[str, str]) -> None:
    """Aliyun's is no JSON."""
    body = urlencode({"alertName": "x", "alertState": "ALERT", **fields}, errors="replace")
    tried(ALL["aliyun"], body.encode())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"alerts":' * 2000 + b"1" + b"}" * 2000,
        b'{"message":"' + b"x" * (reading.LARGEST + 1) + b'"}',
        b"9" * 6000,
        b'"\\ud800"',
        b"\xff\xfe",
        b"",
    ],
    ids=["open", "deep", "large", "digits", "half", "not-utf8", "empty"],
)
def test_what_is_meant_to_break_a_decoder(name: str, body: bytes) -> None:
    """It is told as what it is: no alert of this source."""
    with pytest.raises(UsageError):
        ALL[name].decode(body, NOW)


def alertmanager(**changes: object) -> tuple[Alert, ...]:
    one = {"status": "firing", "labels": {"alertname": "A"}, "annotations": {}, **changes}
    return ALL["alertmanager"].decode(json.dumps({"alerts": [one]}).encode(), NOW)


def test_a_post_has_an_end() -> None:
    """However good its alerts are: it is told how much too large it is."""
    notes = {"description": "x" * reading.LARGEST}
    with pytest.raises(UsageError, match=f"超过 {reading.LARGEST}"):
        alertmanager(annotations=notes)


def test_json_has_a_bottom() -> None:
    """What is nested deeper than any monitor's is refused, and not followed down."""
    tree: dict[str, object] = {"r": "x"}
    for _ in range(reading.DEEPEST):
        tree = {"r": "x", "below": tree}
    with pytest.raises(UsageError, match="嵌套超过"):
        mapped(Shape("r"), tree)


def test_long_texts_and_many_labels_are_cut_and_not_refused() -> None:
    """An alert with a stack trace in it is still an alert."""
    labels = {"alertname": "A" * 5000, **{f"l{number:03}": "v" for number in range(500)}}
    (alert,) = alertmanager(labels=labels, annotations={"description": "字" * 5000})
    assert alert.rule == "A" * reading.LONGEST_LINE
    assert len(alert.text) == reading.LONGEST
    assert len(alert.labels) == reading.MOST_LABELS


def test_controls_are_left_out_everywhere() -> None:
    """Of texts, of labels and of their names; a line break of a text stays."""
    (alert,) = alertmanager(
        labels={"alertname": "A\x00B", "k\x1bey": "v\x7f\u202e"},
        annotations={"description": "one\ntwo\x00"},
    )
    assert (alert.rule, alert.labels["key"], alert.text) == ("AB", "v", "one\ntwo")


def test_a_clock_that_is_ahead_puts_nothing_off() -> None:
    """What begins in the future began now."""
    (alert,) = alertmanager(startsAt=(NOW + timedelta(hours=2)).isoformat())
    assert alert.starts_at == NOW


def test_only_a_web_address_becomes_a_link() -> None:
    """It stands on a button."""
    assert alertmanager(generatorURL="https://prometheus.example/g")[0].url
    for url in ("javascript:alert(1)", "file:///etc/passwd", "data:text/html,x"):
        assert alertmanager(generatorURL=url)[0].url == ""


@pytest.mark.parametrize(
    "written",
    [
        "{{userId=1, instanceId={}}}",
        '[{{"userId":"1","instanceId":"{}"}}]',
        '{{"userId":1,"instanceId":"{}"}}',
    ],
)
def test_aliyuns_instances_are_told_apart_however_they_are_written(written: str) -> None:
    """Else the end of one would be the end of another that fires on."""

    def said(instance: str, state: str) -> Alert:
        fields = {"alertName": "CPU", "ruleId": "r1", "dimensions": written.format(instance)}
        body = urlencode({**fields, "alertState": state}).encode()
        (alert,) = SOURCES["aliyun"].decode(body, NOW)
        return alert

    one, other = said("i-1", "ALERT"), said("i-2", "ALERT")
    assert (one.host, other.host) == ("i-1", "i-2")
    assert one.fingerprint == said("i-1", "OK").fingerprint != other.fingerprint
    assert one.labels["instanceId"] == "i-1"
    assert "userId" not in one.labels


def test_without_a_fingerprint_the_labels_are_the_name() -> None:
    """In any order, and different ones are different."""
    (one,) = alertmanager(labels={"alertname": "A", "b": "1"})
    (same,) = alertmanager(labels={"b": "1", "alertname": "A"})
    (other,) = alertmanager(labels={"alertname": "A", "b": "2"})
    assert one.fingerprint == same.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("word", "severity"),
    [
        ("P0", Severity.CRITICAL), ("严重", Severity.CRITICAL), ("Major", Severity.CRITICAL),
        ("warn", Severity.WARNING), ("", Severity.WARNING), ("吓人", Severity.WARNING),
        ("INFO", Severity.INFO), ("提示", Severity.INFO),
    ],
)  # fmt: skip
def test_words_for_a_severity(word: str, severity: Severity) -> None:
    """An unknown word is never less than a warning."""
    assert reading.severity_of(word) is severity


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("web-1:9100", "web-1"), ("10.0.0.1:9100", "10.0.0.1"), ("web-1", "web-1"),
        ("[fe80::1]:9100", "[fe80::1]"), ("fe80::1", "fe80::1"), ("a:b", "a:b"),
    ],
)  # fmt: skip
def test_an_exporters_port_is_not_a_host(name: str, host: str) -> None:
    """The exporters of one host are one host."""
    assert reading.without_port(name) == host


@pytest.mark.parametrize(("name", "left"), [("alertmanager-truncated", 35), ("grafana-firing", 4)])
def test_what_the_sender_left_out_is_told(name: str, left: int) -> None:
    """Alertmanager and Grafana cut what they send and say by how much."""
    folder, _, stem = name.partition("-")
    path = GOLDEN / folder / f"{stem}.json"
    cut = source_of(path).truncated(path.read_bytes())
    assert cut
    assert cut.left == left
    assert cut.group


def test_the_others_leave_nothing_out() -> None:
    """They have one alert a post, or all."""
    path = GOLDEN / "zabbix/problem.json"
    assert source_of(path).truncated(path.read_bytes()) is None


# -- Huawei's handshake ------------------------------------------------------------------------

SUBSCRIPTION = json.loads((GOLDEN / "huawei/subscription.json").read_bytes())
HUAWEI = SOURCES["huawei"]


def certificate(key: rsa.RSAPrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "smn")])
    built = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW + timedelta(days=1))
    return built.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def test_a_subscription_is_believed_when_huaweis_certificate_signed_it() -> None:
    """And not when a word of it, or the key, is another."""
    key = rsa.generate_private_key(65537, 2048)
    text = "".join(
        f"{name}\n{SUBSCRIPTION[name]}\n"
        for name in ("message", "message_id", "subscribe_url", "timestamp", "topic_urn", "type")
    )
    signature = b64encode(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())).decode()
    asked = HUAWEI.handshake(json.dumps(SUBSCRIPTION | {"signature": signature}).encode())
    assert asked is not None
    assert asked.subscribe_url == SUBSCRIPTION["subscribe_url"]
    assert genuine(asked, certificate(key))
    assert not genuine(asked, certificate(rsa.generate_private_key(65537, 2048)))
    assert not genuine(asked, b"no certificate")
    altered = SUBSCRIPTION | {"signature": signature, "topic_urn": "urn:smn:other"}
    other = HUAWEI.handshake(json.dumps(altered).encode())
    assert other is not None
    assert not genuine(other, certificate(key))


@pytest.mark.parametrize(
    ("field", "url"),
    [
        ("signing_cert_url", "https://evil.example/SMN.pem"),
        ("signing_cert_url", "http://smn.cn-east-3.myhuaweicloud.com/x.pem"),
        ("signing_cert_url", "https://smn.cn-east-3.myhuaweicloud.com.evil.example/x.pem"),
        ("signing_cert_url", "https://smn.cn-east-3.myhuaweicloud.com@evil.example/x.pem"),
        ("signing_cert_url", "https://u@smn.cn-east-3.myhuaweicloud.com/x.pem"),
        ("signing_cert_url", "https://smn.cn-east-3.myhuaweicloud.com:8443/x.pem"),
        ("signing_cert_url", "https://smn.cn-east-3.myhuaweicloud.com:x/x.pem"),
        ("signing_cert_url", "https://obs.cn-east-3.myhuaweicloud.com/bucket/x.pem"),
        ("signing_cert_url", ""),
        ("subscribe_url", "https://169.254.169.254/latest"),
        ("subscribe_url", "file:///etc/passwd"),
        ("subscribe_url", "https://console.huaweicloud.com.evil.example/"),
    ],
)
def test_we_go_only_to_huaweis_own_addresses(field: str, url: str) -> None:
    """Whoever knows our address could else make us fetch anything, or trust any certificate."""
    with pytest.raises(UsageError, match="不是华为云的地址"):
        HUAWEI.handshake(json.dumps(SUBSCRIPTION | {field: url}).encode())


def test_a_notification_is_no_handshake() -> None:
    """Nor is anything of the sources that have none."""
    assert HUAWEI.handshake((GOLDEN / "huawei/alarm.json").read_bytes()) is None
    assert SOURCES["zabbix"].handshake(b"") is None


# -- a mapping of one's own --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("a", ("a",)), ("a.b", ("a", "b")), ("a[0].b", ("a", 0, "b")), ("[1]", (1,)),
        ('"a.b".c', ("a.b", "c")), ("$", ()), ("$.a", ("a",)), ("$[2].a", (2, "a")),
        ("规则.名称", ("规则", "名称")), ("", ()),
    ],
)  # fmt: skip
def test_a_path(text: str, steps: tuple[str | int, ...]) -> None:
    """Names, numbers in brackets, quoted names; `$` begins at the document."""
    path = mapping.parse(text)
    assert (path.steps, path.whole) == (steps, text.startswith("$"))


@pytest.mark.parametrize(
    "text", ["a.", ".a", "a..b", "a b", "a[", "a[x]", "a[-1]", '"a', "$a b", '"a"b']
)
def test_what_is_no_path(text: str) -> None:
    """It is told with where it goes wrong."""
    with pytest.raises(UsageError, match="路径写法不对"):
        mapping.parse(text)


def mapped(shape: mapping.Shape, body: object) -> tuple[Alert, ...]:
    return mapping.decoder("own", shape)(json.dumps(body).encode(), NOW)


@pytest.mark.parametrize(
    ("shape", "body", "told"),
    [
        (Shape("r"), {}, "r: 找不到，或为空"),
        (Shape("r.n", each="list"), {"list": [{"r": {}}]}, r"list\[0\]\.r\.n: 找不到"),
        (Shape("r", each="list"), {"other": 1}, "list: 找不到"),
        (Shape("r", host="h"), {"r": "x", "h": {}}, "h: 应为文字或数字"),
        (Shape("r", host="$.h"), [{"r": "x"}], ""),
        (Shape("r", status="s"), {"r": "x", "s": "maybe"}, "s: 'maybe' 不在"),
        (Shape("r", labels="l"), {"r": "x", "l": 3}, "l: 应为对象"),
        (Shape("r", starts_at="t"), {"r": "x", "t": "soon"}, "t: 不是时间"),
    ],
)
def test_what_a_mapping_cannot_use_is_told_by_its_path(
    shape: mapping.Shape, body: object, told: str
) -> None:
    """A value that is absent is empty; one that is wrong is named."""
    if told:
        with pytest.raises(UsageError, match=told):
            mapped(shape, body)
    else:
        assert mapped(shape, body)[0].host == ""


def test_without_a_fingerprint_an_alert_keeps_its_name_when_it_worsens_and_ends() -> None:
    """The severity is not part of who it is."""
    shape = Shape("r", host="h", severity="s", status="on")
    worse = [{"r": "x", "h": "w", "s": word, "on": on} for word, on in (("warn", 1), ("P0", 0))]
    one, two = mapped(shape, worse)
    assert (one.firing, two.firing) == (True, False)
    assert one.fingerprint == two.fingerprint


def test_a_monitors_word_for_no_time_costs_no_alert() -> None:
    """Go's zero time is the year 1; with it the end of an alert was refused."""
    shape = Shape("r", status="s", starts_at="t", ends_at="e")
    never = "0001-01-01T00:00:00Z"
    (alert,) = mapped(shape, {"r": "x", "s": "ok", "t": never, "e": never})
    assert (alert.firing, alert.starts_at, alert.ends_at) == (False, None, NOW)


def test_without_a_status_an_alert_fires() -> None:
    """Nothing says that it has ended, so a person does."""
    (alert,) = mapped(Shape("r"), {"r": "x"})
    assert alert.firing
    assert not alert.ends
    assert mapped(Shape("r", status="s"), {"r": "x", "s": "1"})[0].ends


def written(folder: Path, text: str) -> Path:
    path = folder / "vigilbot.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('[sources.own]\nrule = "a..b"', "sources.own.rule"),
        ("[sources.own]\nhost = 'h'", "sources.own.rule"),
        ('[sources.own]\nrule = "r"\nfingerprint = ["ok", ""]', "sources.own.fingerprint[1]"),
        ('[sources.own]\nrule = "r"\nseverities = { P1 = "bad" }', "sources.own.severities.P1"),
        ('[sources.own]\nrule = "r"\nhots = "h"', "sources.own.hots"),
        ('[sources.zabbix]\nrule = "r"', "sources.zabbix"),
        ('[sources.heartbeat]\nrule = "r"', "sources.heartbeat"),
        ('[sources.Own]\nrule = "r"', "sources.Own"),
    ],
)
def test_a_mistake_in_a_mapping_is_told_by_its_key(tmp_path: Path, text: str, path: str) -> None:
    """As every mistake in the configuration, in both languages."""
    with pytest.raises(ConfigError) as caught:
        load_shapes(written(tmp_path, text))
    (problem,) = caught.value.problems
    assert problem.path == path
    assert problem.zh != "值不合法"


def test_one_path_as_the_fingerprint_may_stand_alone(tmp_path: Path) -> None:
    """A list of one is not asked for."""
    shapes = load_shapes(written(tmp_path, '[sources.own]\nrule = "r"\nfingerprint = "id"'))
    assert shapes["own"].fingerprint == ("id",)


def typed(*words: str) -> int | str | None:
    with pytest.raises(SystemExit) as left:
        main(words)
    return left.value.code


def test_map_shows_what_a_mapping_makes_of_a_sample(capsys: pytest.CaptureFixture[str]) -> None:
    """Each field beside its path; no key and no password is needed for it."""
    folder = GOLDEN / "mapping"
    tried = ("map", "--try", str(folder / "posted.json"), "--config", str(folder / "shape.toml"))
    assert typed(*tried) == 0
    shown = capsys.readouterr().out
    assert "自研监控 1/3" in shown
    row = next(line for line in shown.splitlines() if "rack-3" in line)
    assert 'target."host.name"' in row
    unreadable = shown.partition("自研监控 3/3")[2]
    assert "由人来结束" in unreadable
    assert shown.count("由人来结束") == 1


def test_map_tells_what_is_wrong_with_the_mapping(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the path in the sample, and a code that scripts can use."""
    config = written(tmp_path, '[sources.own]\nrule = "rule.name"')
    sample = tmp_path / "sample.json"
    sample.write_text('{"rule": {}}', encoding="utf-8")
    assert typed("map", "--try", str(sample), "--config", str(config)) == 1
    assert "rule.name: 找不到" in capsys.readouterr().out
    assert typed("map", "--try", str(tmp_path / "none"), "--config", str(config)) == 1
    assert "读不到" in capsys.readouterr().out
    assert typed("map", "other", "--try", str(sample), "--config", str(config)) == 1
    assert "没有告警源 other" in capsys.readouterr().out


def test_map_tries_a_source_that_is_built_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without any configuration."""
    sample = (GOLDEN / "zabbix/problem.json").absolute()
    monkeypatch.chdir(tmp_path)
    assert typed("map", "zabbix", "--try", str(sample)) == 0
    assert "磁盘空间不足 /var" in capsys.readouterr().out


def test_the_configurations_sources_stand_beside_the_built_in_ones(
    tmp_path: Path,
) -> None:
    """`check` lists every key of theirs, as of any section."""
    needed = '[vault]\nkey = "env:KEY"\n[web]\npassword = "env:KEY"\n'
    path = written(tmp_path, needed + '[sources.own]\nlabel = "自研监控"\nrule = "r"\n')
    settings = load(path, {"KEY": "k"})
    assert {*SOURCES, "own"} == set(settings.known_sources)
    assert settings.known_sources["own"].title == "自研监控"
    shown = dict(flatten(settings))
    assert (shown["sources.own.rule"], shown["sources.own.host"]) == ("r", "")


@pytest.mark.parametrize("name", ["vigilops", "zabbix", "nightingale"])
def test_an_alert_always_has_something_to_be_called_by(name: str) -> None:
    """A rule or a title: grouping has nothing else to go by."""
    bare = {
        "vigilops": {
            "alert_id": 1, "title": "", "status": "firing",
            "notification_type": "first", "fired_at": "2026-11-23T00:00:00Z",
        },
        "zabbix": {"event_id": "", "trigger_id": "", "value": "1", "name": ""},
        "nightingale": {"hash": "", "rule_name": ""},
    }  # fmt: skip
    sound(ALL[name].decode(json.dumps(bare[name]).encode(), NOW))
