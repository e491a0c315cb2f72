"""What is laid on a host: docker-compose itself says whether it is a compose file."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml

from adapters.words import Secret
from runbooks import compose
from runbooks.compose import SECRETS, Images, Instance, files, packed, unset
from tests import needs

MADE = {name: Secret(f"{number:064x}") for number, name in enumerate(SECRETS, start=1)}


def instance(generation: str) -> Instance:
    return Instance("vigilops-hailan", "/opt/vigilbot/hailan", generation, 8101, 3101, 5533, 6480)


@pytest.mark.parametrize("generation", ["vigilops", "nightmend"])
def test_docker_compose_accepts_it(tmp_path: Path, generation: str) -> None:
    with tarfile.open(fileobj=io.BytesIO(packed(files(instance(generation), MADE)))) as tar:
        modes = {member.name: member.mode for member in tar.getmembers()}
        tar.extractall(tmp_path, filter="fully_trusted")
    assert modes == {"compose.yml": 0o644, ".env": 0o600, "backup.sh": 0o700}
    ran = subprocess.run(
        [needs.program("docker-compose"), "-f", str(tmp_path / "compose.yml"), "config"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONWARNINGS": "ignore"},
    )
    assert ran.returncode == 0, ran.stderr
    assert "variable is not set" not in ran.stderr
    services = yaml.safe_load(ran.stdout)["services"]
    backend = services["backend"]
    assert backend["command"][-2:] == ["--workers", "1"]
    assert "alembic" not in json.dumps(services)
    assert backend["image"].startswith(f"ghcr.io/linchuang2008/{generation}-backend")
    told = backend["environment"]
    assert told["ENVIRONMENT"] == "production"
    assert {name: told[name] for name in SECRETS} == {n: s.reveal() for n, s in MADE.items()}
    assert (told["POSTGRES_HOST"], told["REDIS_HOST"]) == ("postgres", "redis")
    password = services["postgres"]["environment"]["POSTGRES_PASSWORD"]
    assert password == MADE["POSTGRES_PASSWORD"].reveal()
    ports = {name: json.dumps(service["ports"]) for name, service in services.items()}
    for name, port in (("backend", 8101), ("frontend", 3101), ("postgres", 5533), ("redis", 6480)):
        assert str(port) in ports[name]
    assert all("127.0.0.1" in ports[name] for name in ("postgres", "redis"))


def test_the_backup_script_is_a_shell_script() -> None:
    script = next(f for f in files(instance("vigilops"), MADE) if f.name == "backup.sh")
    ran = subprocess.run(["/bin/sh", "-n"], input=script.text, text=True, check=False)
    assert ran.returncode == 0
    assert "{project}" not in script.text
    assert "-p vigilops-hailan" in script.text
    assert not any(secret.reveal() in script.text for secret in MADE.values())


def test_images_are_settings_and_ours_are_pinned() -> None:
    images = Images("hub.example.com/{generation}-back:1.2", "front@sha256:ab", "pg:1", "redis:2")
    env = {
        line.partition("=")[0]: line.partition("=")[2]
        for line in files(instance("nightmend"), MADE, None, images)[1].text.splitlines()
    }
    assert env["BACKEND_IMAGE"] == "hub.example.com/nightmend-back:1.2"
    assert [env[f"{n}_IMAGE"] for n in ("FRONTEND", "POSTGRES", "REDIS")] == [
        "front@sha256:ab",
        "pg:1",
        "redis:2",
    ]
    assert not any(name.endswith(":latest") for name in (Images().postgres, Images().redis))


def test_a_variable_that_nobody_sets_is_named(tmp_path: Path) -> None:
    own = tmp_path / "own.yml"
    own.write_text("services: {a: {image: '${ODD}'}}\n", "utf-8")
    assert unset(files(instance("vigilops"), MADE, own)) == ("ODD",)
    assert unset(files(instance("vigilops"), MADE)) == ()


def test_the_templates_are_shipped_with_the_package() -> None:
    told = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))
    (pattern,) = told["tool"]["setuptools"]["package-data"]["runbooks"]
    package = Path(compose.__file__).parent
    assert {file.name for file in package.glob(pattern)} == {
        "compose.yml",
        "env.template",
        "backup.sh",
    }


def test_another_template_takes_the_place_of_ours(tmp_path: Path) -> None:
    own = tmp_path / "own.yml"
    own.write_text("services: {}\n", "utf-8")
    laid = files(instance("vigilops"), MADE, own)
    assert (laid[0].name, laid[0].text) == ("compose.yml", "services: {}\n")
