"""The configuration is read once, whole, and never shows a secret."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import ValidationError

from adapters.words import NOTHING, Secret
from bot.config import ConfigError, Problem, Settings, flatten, known_keys, load

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
ENV = {"VIGILBOT_KEY": "sealing-key", "VIGILBOT_WEB_PASSWORD": "open-sesame"}
NEEDED = """
[vault]
key = "env:VIGILBOT_KEY"
[web]
password = "env:VIGILBOT_WEB_PASSWORD"
"""


def read(folder: Path, text: str, env: Mapping[str, str] = ENV) -> Settings:
    path = folder / "vigilbot.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, env)


def problems(folder: Path, text: str, env: Mapping[str, str] = ENV) -> dict[str, Problem]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text, env)
    return {problem.path: problem for problem in caught.value.problems}


def tried(folder: Path, text: str) -> tuple[Problem, ...]:
    try:
        read(folder, text)
    except ConfigError as error:
        return error.problems
    return ()


def leaves(tree: Mapping[str, object], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, value in tree.items():
        path = f"{prefix}{name}"
        found |= leaves(value, f"{path}.") if isinstance(value, dict) else {path}
    return found


def test_the_example_holds_every_key_and_no_other() -> None:
    """What can be set is in the example, so that nobody reads the source to find a key."""
    assert leaves(tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))) == set(known_keys())


def test_the_example_loads_and_says_the_defaults(tmp_path: Path) -> None:
    """A value in the example is the value that holds when the line is left out."""
    example = read(tmp_path, EXAMPLE.read_text(encoding="utf-8"))
    assert example == read(tmp_path, NEEDED)
    assert {key for key, _ in flatten(example)} == set(known_keys())


def test_the_example_comments_every_key() -> None:
    """Each section begins with a comment in Chinese."""
    sections = EXAMPLE.read_text(encoding="utf-8").split("\n[")[1:]
    for section in sections:
        comment = section.splitlines()[1]
        assert comment.startswith("#"), section


def test_a_channel_is_whole_or_off(tmp_path: Path) -> None:
    """Mail needs a server and a sender; a network that is none is told."""
    text = f"{NEEDED}[channels.mail]\nenabled = true\nsender = 'a@b.cn'"
    assert "还要填写 host" in problems(tmp_path, text)["channels.mail"].zh
    text = f"{NEEDED}[channels.mail]\nsender = 'a@b.cn\\nBcc'\n[channels.webhook]\nallow = ['10/8']"
    assert set(problems(tmp_path, text)) == {"channels.mail.sender", "channels.webhook.allow[0]"}
    text = f"{NEEDED}[channels.webhook]\nenabled = true\nallow = ['10.0.0.0/8', 'fd00::/8']"
    assert read(tmp_path, text).channels.webhook.allow == ("10.0.0.0/8", "fd00::/8")


@pytest.mark.parametrize(
    ("keys", "fine"),
    [
        ("app_token = 'env:T'", True),
        ("signing_secret = 'env:T'", True),
        ("app_token = 'env:T'\nsigning_secret = 'env:T'", False),
        ("", False),
    ],
)
def test_slack_has_one_way_in(tmp_path: Path, keys: str, fine: bool) -> None:
    text = f"{NEEDED}[platforms.slack]\nenabled = true\nbot_token = 'env:T'\n{keys}"
    env = {**ENV, "T": "t" * 20}
    if fine:
        assert read(tmp_path, text, env).platforms.slack.enabled
    else:
        assert "其中一个" in problems(tmp_path, text, env)["platforms.slack"].zh


def test_a_small_file_is_enough(tmp_path: Path) -> None:
    """The master key and the login must be set; everything else has a default."""
    settings = read(tmp_path, NEEDED)
    assert settings.vault.key == Secret("sealing-key")
    assert settings.web.url == "http://127.0.0.1:8080"
    assert settings.bot.data_dir == tmp_path / "data"
    assert settings.bot.zone.key == "Asia/Shanghai"
    assert settings.database_url == f"sqlite+aiosqlite:///{tmp_path}/data/vigilbot.db"
    assert settings.engine_url == f"sqlite+aiosqlite:///{tmp_path}/data/engine.db"
    assert settings.model.api_key == NOTHING
    assert settings.runs.at_once == 50


def test_an_empty_file_says_what_must_be_set_by_key(tmp_path: Path) -> None:
    """A missing section is told by the keys that it must hold."""
    found = problems(tmp_path, "")
    assert set(found) == {"vault.key", "web.password"}
    assert found["vault.key"].zh == "必须设置"


def test_the_environment_alone_is_enough() -> None:
    """A container needs no file."""
    settings = load(
        None,
        ENV
        | {
            "VIGILBOT_VAULT__KEY": "env:VIGILBOT_KEY",
            "VIGILBOT_WEB__PASSWORD": "env:VIGILBOT_WEB_PASSWORD",
        },
    )
    assert settings.bot.data_dir == Path.cwd() / "data"


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    """Numbers, booleans, lists and nested sections can be overridden."""
    env = ENV | {
        "VIGILBOT_WEB__PORT": "9000",
        "VIGILBOT_PLATFORMS__WEBCHAT__ENABLED": "false",
        "VIGILBOT_ESCALATION__AFTER_MINUTES": "1, 2,3",
        "VIGILBOT_VIGILOPS__BASE_URL__B": "https://{slug}.ops.example.com/",
    }
    settings = read(tmp_path, NEEDED + "port = 8000\n", env)
    assert settings.web.port == 9000
    assert settings.platforms.webchat.enabled is False
    assert settings.escalation.after_minutes == (1, 2, 3)
    url = settings.vigilops.base_url.addresses.of("b", host="10.0.0.1", port=8101, slug="acme")
    assert url == "https://acme.ops.example.com"


def test_one_key_of_a_section_can_be_changed_alone(tmp_path: Path) -> None:
    """The others keep their defaults, tier by tier."""
    sla = read(tmp_path, NEEDED, ENV | {"VIGILBOT_SLA__PRO__CRITICAL_MINUTES": "5"}).sla
    assert (sla.pro.critical_minutes, sla.pro.warning_minutes) == (5, 60)
    assert (sla.basic.critical_minutes, sla.basic.warning_minutes) == (30, 120)


def test_an_ipv6_host_is_written_in_brackets(tmp_path: Path) -> None:
    """Else its colons would be read as a port."""
    settings = read(tmp_path, NEEDED + "host = '::1'")
    assert settings.web.url == "http://[::1]:8080"
    url = settings.vigilops.base_url.addresses.of("a", host="fd00::2", port=8001, slug="acme")
    assert url == "http://[fd00::2]:8001"


def test_a_wrong_override_names_its_variable(tmp_path: Path) -> None:
    """Who set it in the environment would not find it in the file."""
    env = ENV | {"VIGILBOT_WEB__PORT": "many", "VIGILBOT_WEB__PROT": "1"}
    found = problems(tmp_path, NEEDED, env)
    assert str(found["web.port"]) == (
        "web.port [VIGILBOT_WEB__PORT]: 应为整数 / must be a whole number"
    )
    assert found["web.prot"].source == "VIGILBOT_WEB__PROT"


def test_an_override_below_a_value_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    """`log = 3` is no section, whatever the environment says."""
    found = problems(tmp_path, "log = 3\n" + NEEDED, ENV | {"VIGILBOT_LOG__LEVEL": "info"})
    assert found["log"].zh == "应为一节 [log]"


@pytest.mark.parametrize(
    ("line", "path", "near"),
    [
        ("[runs]\nat_onec = 3", "runs.at_onec", "runs.at_once"),
        ("[runz]\nat_once = 3", "runz", "runs"),
        ("[platforms.webchatt]\nenabled = true", "platforms.webchatt", "platforms.webchat"),
        ("[bot]\npublic_url = 'http://a'", "bot.public_url", "web.public_url"),
    ],
)
def test_an_unknown_key_is_told_with_the_nearest(
    tmp_path: Path, line: str, path: str, near: str
) -> None:
    """A misspelt key, or a key in the wrong section, is shown where it belongs."""
    found = problems(tmp_path, NEEDED + line)
    assert set(found) == {path}
    assert f"是不是 {near}？" in found[path].zh
    assert f"did you mean {near}?" in found[path].en


def test_a_key_that_resembles_nothing_gets_no_suggestion(tmp_path: Path) -> None:
    """A wrong hint is worse than none."""
    assert problems(tmp_path, NEEDED + "[log]\nzzz = 1")["log.zzz"].en == "unknown key"


@pytest.mark.parametrize(
    ("line", "path", "words"),
    [
        ("port = 0", "web.port", "must not be less than 1"),
        ("port = 65536", "web.port", "must not be greater than 65535"),
        ("port = true", "web.port", "must be a number, not true/false"),
        ("port = 1.5", "web.port", "must be a whole number"),
        ("host = ''", "web.host", "must not be empty"),
        ("host = 3", "web.host", "must be text, in quotes"),
        ("public_url = 'ftp://a'", "web.public_url", "must be an http:// or https:// address"),
        ("public_url = 'http://a:b@c'", "web.public_url", "no user or password"),
        ("public_url = 'http://[a'", "web.public_url", "must be an http:// or https:// address"),
        ("[bot]\ntime_zone = 'Mars'", "bot.time_zone", "unknown time zone"),
        ("[bot]\ntime_zone = '../x'", "bot.time_zone", "unknown time zone"),
        ("[bot]\ndata_dir = 3", "bot.data_dir", "must be a path"),
        ("[database]\nurl = 'mysql://a/b'", "database.url", "must begin with sqlite+aiosqlite"),
        ("[runs]\nstop_after_failures = 1.5", "runs.stop_after_failures", "not be greater than 1"),
        ("[runs]\nstop_after_failures = nan", "runs.stop_after_failures", "must be"),
        ("[vigilops]\ntimeout_seconds = inf", "vigilops.timeout_seconds", "must be finite"),
        ("[vigilops]\naccount_email = 'x'", "vigilops.account_email", "must match"),
        ("[vigilops.base_url]\na = 'http://{hots}'", "vigilops.base_url.a", "only {host}, {port}"),
        ("[vigilops.base_url]\na = 'http://{host'", "vigilops.base_url.a", "only {host}, {port}"),
        ("[deploy]\nbackup_at = '25:00'", "deploy.backup_at", "must match"),
        (
            "[escalation]\ngateway_url = 'https://sms.example'",
            "escalation",
            "needs gateway_key",
        ),
        ("[escalation]\ngateway_key = 'plain'", "escalation.gateway_key", "never in plain text"),
        ("[escalation]\nafter_minutes = []", "escalation.after_minutes", "at least 1"),
        ("[escalation]\nafter_minutes = [5, 5]", "escalation.after_minutes", "must rise"),
        ("[escalation]\nafter_minutes = [0]", "escalation.after_minutes[0]", "not be less than 1"),
        ("[platforms.webchat]\nenabled = 'often'", "platforms.webchat.enabled", "true or false"),
        ("[artifacts]\ndeploy_script = 'none.sh'", "artifacts.deploy_script", "there is no"),
        ("[artifacts]\nagent_bundle = '.'", "artifacts.agent_bundle", "scripts/install-agent.sh"),
        ("[artifacts]\ncompose_template = '.'", "artifacts.compose_template", "must be a file"),
        ("[vigilops.base_url]\na = 'http://{port:x}'", "vigilops.base_url.a", "takes no format"),
        ("[vigilops.base_url]\na = '{host}:{port}'", "vigilops.base_url.a", "http:// or https://"),
    ],
)
def test_a_wrong_value_is_told_by_its_path(
    tmp_path: Path, line: str, path: str, words: str
) -> None:
    """Both languages say what would be right."""
    found = problems(tmp_path, NEEDED + line)
    assert set(found) == {path}
    assert words in found[path].en
    assert found[path].zh


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    """Nobody should mend a file line by line."""
    found = problems(
        tmp_path,
        """
        [vault]
        key = "plain"
        [web]
        port = "x"
        colour = "red"
        [log]
        level = "loud"
        """,
    )
    assert set(found) == {"vault.key", "web.password", "web.port", "web.colour", "log.level"}


@pytest.mark.parametrize("written", ["hunter2", "env:", "env:hunter 2", "file:", "ENV:hunter2"])
def test_a_plain_secret_is_refused_and_not_repeated(tmp_path: Path, written: str) -> None:
    """The error says how to write it; what was written appears nowhere, not even in the chain."""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, NEEDED + f"[model]\napi_key = '{written}'")
    text = str(caught.value)
    assert 'model.api_key: 密钥不能写明文，请写成 "env:变量名" 或 "file:路径"' in text
    assert 'for example "env:VIGILBOT_MODEL_API_KEY"' in text
    assert "hunter" not in text
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def test_a_secret_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """A number is a plain secret as well."""
    assert "1234" not in str(
        problems(tmp_path, NEEDED + "[model]\napi_key = 1234")["model.api_key"]
    )


def test_a_required_secret_cannot_be_blank(tmp_path: Path) -> None:
    """Only an optional secret may be left empty."""
    assert set(problems(tmp_path, "[vault]\nkey = ''\n[web]\npassword = ''")) == {
        "vault.key",
        "web.password",
    }


def test_a_missing_variable_is_named(tmp_path: Path) -> None:
    """The reference is right, and what it points to is not there."""
    found = problems(tmp_path, NEEDED, {"VIGILBOT_KEY": "k"})
    assert found["web.password"].en == "environment variable VIGILBOT_WEB_PASSWORD is not set"


def test_a_secret_is_read_from_a_file_beside_the_configuration(tmp_path: Path) -> None:
    """The newline that editors add is not part of it."""
    secret = tmp_path / "api.key"
    secret.write_text("from-file\n", encoding="utf-8")
    secret.chmod(0o600)
    settings = read(tmp_path, NEEDED + "[model]\napi_key = 'file:api.key'")
    assert settings.model.api_key.reveal() == "from-file"


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"x", 0o644, "chmod 600"),
        (b"x", 0o660, "chmod 600"),
        (b"\n", 0o600, "is empty"),
        (b"\xff\xfe", 0o600, "cannot read"),
    ],
)
def test_an_unfit_secret_file_is_refused(
    tmp_path: Path, content: bytes, mode: int, words: str
) -> None:
    """A file that others may read is no secret."""
    secret = tmp_path / "api.key"
    secret.write_bytes(content)
    secret.chmod(mode)
    found = problems(tmp_path, NEEDED + "[model]\napi_key = 'file:api.key'")
    assert words in found["model.api_key"].en


def test_a_missing_secret_file_is_named(tmp_path: Path) -> None:
    """The whole path is told, for it may start elsewhere than thought."""
    found = problems(tmp_path, NEEDED + "[model]\napi_key = 'file:none.key'")
    assert str(tmp_path / "none.key") in found["model.api_key"].zh


@pytest.mark.parametrize(
    "url",
    ["postgresql+psycopg://u:hunter2@db/x", "postgresql+psycopg://u@db/x?password=hunter2"],
)
def test_a_database_password_stands_apart(tmp_path: Path, url: str) -> None:
    """The address is printed in logs; so the password may not be in it."""
    problem = problems(tmp_path, NEEDED + f"[database]\nurl = '{url}'")["database.url"]
    assert "database.password" in problem.en
    assert "hunter2" not in str(problem)


def test_postgresql_keeps_the_engine_on_the_same_server(tmp_path: Path) -> None:
    """Unless it is told another place."""
    url = "postgresql+psycopg://u@db/x"
    lines = f"[database]\nurl = '{url}'\npassword = 'env:VIGILBOT_KEY'\n"
    assert read(tmp_path, NEEDED + lines).engine_url == url
    other = read(tmp_path, NEEDED + lines + f"engine_url = '{url}_engine'")
    assert other.engine_url == f"{url}_engine"


def test_artifacts_are_found_beside_the_configuration(tmp_path: Path) -> None:
    """A bundle is a directory that is complete, or an archive."""
    (tmp_path / "bundle/agent").mkdir(parents=True)
    (tmp_path / "bundle/scripts").mkdir()
    (tmp_path / "bundle/scripts/install-agent.sh").touch()
    (tmp_path / "bundle.tar.gz").touch()
    for name in ("bundle", "bundle.tar.gz"):
        settings = read(tmp_path, NEEDED + f"[artifacts]\nagent_bundle = '{name}'")
        assert settings.artifacts.agent_bundle == tmp_path / name


ODD: tuple[str, ...] = (
    "''", "' '", "'hunter2'", "'{'", "'{}'", "'%s\\n'", "'http://'", "'//[::'", "'env:'", "'file:/'",
    "0", "-1", "1e400", "nan", "true", "[]", "['hunter2']", "[[1]]", "{}", "{ a = 1 }",
    "1979-05-27", "12:00:00", '"\\u0000"', '"file:\\u0000"', "99999999999999999999",
)  # fmt: skip


@pytest.mark.parametrize("key", list(known_keys()))
def test_no_value_of_any_key_breaks_the_reading(tmp_path: Path, key: str) -> None:
    """Whatever is written, the answer is settings or problems under that key, in both languages."""
    required = {"vault.key": "env:VIGILBOT_KEY", "web.password": "env:VIGILBOT_WEB_PASSWORD"}
    rest = "".join(f"{path} = '{value}'\n" for path, value in required.items() if path != key)
    for odd in ODD:
        for problem in tried(tmp_path, f"{rest}{key} = {odd}"):
            # What is missing beside an enabled platform is said of the platform.
            assert problem.path.startswith(key) or key.startswith(f"{problem.path}."), odd
            assert problem.zh != "值不合法", (odd, str(problem))
            names_a_file = key.startswith("artifacts.") or key.endswith((".ca_file", ".runbooks"))
            assert "hunter2" not in str(problem) or names_a_file


def test_settings_are_frozen_and_masked(tmp_path: Path) -> None:
    """Nothing changes after start, and printing shows no secret."""
    settings = read(tmp_path, NEEDED)
    with pytest.raises(ValidationError):
        settings.web.port = 1
    assert "sealing-key" not in repr(settings)
    assert "open-sesame" not in str(settings)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"[web\n", "not TOML"), (b"\xff\xff", "not UTF-8"), (None, "cannot be read")],
)
def test_a_file_that_cannot_be_read_is_one_problem(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    """The path of the problem is then the file itself."""
    path = tmp_path / "vigilbot.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path, ENV)
    (problem,) = caught.value.problems
    assert problem.path == str(path)
    assert words in problem.en


def test_a_byte_order_mark_is_forgiven(tmp_path: Path) -> None:
    """Windows editors write one."""
    assert read(tmp_path, "\ufeff" + NEEDED).web.port == 8080


def test_a_platform_that_is_enabled_names_what_it_still_needs(tmp_path: Path) -> None:
    """An app without its secret would only fail at the first call."""
    wrong = problems(tmp_path, NEEDED + '[platforms.feishu]\nenabled = true\napp_id = "cli_1"\n')
    assert wrong["platforms.feishu"].zh == "启用后还要填写 app_secret"
