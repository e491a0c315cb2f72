"""The sandbox's servers, driven by a plain SSH client."""

import asyncio
import io
import json
import os
import stat
import tarfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from adapters.words import Secret
from bot.demo.hosts import AGENT_BUNDLE, Fault, Host, Hosts, Spec, Sudo

PASSWORD = Secret("correct horse")
INSTALL = "sh /opt/bundle/scripts/install-agent.sh"


@asynccontextmanager
async def entered(host: Host, **more: Any) -> AsyncIterator[asyncssh.SSHClientConnection]:
    spec = host.spec
    options: dict[str, Any] = {
        "username": spec.user,
        "password": spec.password.reveal(),
        "known_hosts": None,
        "client_keys": None,
        "agent_path": None,
        "config": None,
        **more,
    }
    async with asyncssh.connect(spec.host, spec.port, **options) as conn:
        yield conn


async def run(host: Host, command: str, given: str | None = None) -> tuple[int | None, str, str]:
    async with entered(host) as conn:
        done = await asyncio.wait_for(conn.run(command, input=given), 30)
    assert isinstance(done.stdout, str)
    assert isinstance(done.stderr, str)
    return done.exit_status, done.stdout, done.stderr


async def loses(host: Host, command: str) -> bool:
    """Run a command and say whether the connection was lost before its exit status came."""
    try:
        async with entered(host) as conn:
            done = await asyncio.wait_for(conn.run(command), 30)
            await asyncio.wait_for(conn.wait_closed(), 30)
    except asyncssh.ConnectionLost:
        return True
    return done.exit_status is None and done.exit_signal is None


def runs(pid: int) -> bool:
    """Whether a process is there and is no zombie."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


def bundle() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(AGENT_BUNDLE, ".", filter=lambda m: None if "__pycache__" in m.name else m)
    return packed.getvalue()


async def unpack(host: Host) -> tuple[int | None, str]:
    async with entered(host) as conn:
        done = await conn.run(
            "mkdir -p /opt/bundle && tar -xf - -C /opt/bundle", input=bundle(), encoding=None
        )
    assert isinstance(done.stderr, bytes)
    return done.exit_status, done.stderr.decode()


@dataclass
class Api:
    """The agent's side of a VigilOps: it takes everything and remembers it."""

    url: str = ""
    seen: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    more: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            fields = dict(
                line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line
            )
            body = json.loads(
                await reader.readexactly(int(fields.get("content-length", 0))) or "{}"
            )
            what = head.split()[1].rsplit("/", 1)[1]
            reply = b'{"host_id": 7, "status": "ok"}'
            size = len(reply)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (size, reply))
            await writer.drain()
            async with self.more:
                self.seen.setdefault(what, []).append(body)
                self.tokens.add(fields.get("authorization", ""))
                self.more.notify_all()
        finally:
            writer.close()

    async def until(self, what: str, count: int = 1) -> dict[str, Any]:
        async with self.more:
            await asyncio.wait_for(
                self.more.wait_for(lambda: len(self.seen.get(what, [])) >= count), 30
            )
        return self.seen[what][-1]


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = Api()
    server = await asyncio.start_server(api.answer, "127.0.0.1", 0)
    api.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield api


@asynccontextmanager
async def one(directory: Path, spec: Spec | None = None) -> AsyncIterator[Host]:
    specs = [spec or Spec("web-01", password=PASSWORD)]
    async with Hosts(directory, specs=specs, agent_interval=0.2) as hosts:
        yield hosts["web-01"]


async def test_hosts_show_the_figures_they_declare(tmp_path: Path) -> None:
    async with Hosts(tmp_path, count=3) as hosts:
        assert [spec.hostname for spec in hosts.specs] == ["node-01", "node-02", "node-03"]
        assert len({spec.port for spec in hosts.specs}) == len(hosts) == 3
        code, out, err = await run(hosts[1], "uname -a && free -h && df -h && nproc && hostname")
        assert (code, err) == (0, "")
        lines = out.splitlines()
        assert lines[0].startswith("Linux node-02 5.15.0")
        assert lines[2].split()[:2] == ["Mem:", "16.0Gi"]
        assert lines[5].split() == ["/dev/vda1", "200G", "60G", "140G", "30%", "/"]
        assert lines[6:] == ["8", "node-02"]
        code, out, _ = await run(hosts[2], "free -m; df -Pk /; df --output=avail -BM /; uname -m")
        lines = out.splitlines()
        assert lines[1].split()[1] == "4096"
        assert lines[4].split()[1] == str(40 * 1024 * 1024)
        assert lines[6] == "28672M"
        assert lines[7] == "x86_64"


async def test_a_command_runs_in_a_clean_environment_inside_its_directory(tmp_path: Path) -> None:
    async with one(tmp_path) as host:
        _, out, _ = await run(
            host, "pwd; echo $HOME; env | cut -d= -f1 | sort; cat /etc/os-release"
        )
        lines = out.splitlines()
        assert lines[0] == str(host.root)
        assert lines[1] == str(host.root / "home/ops")
        assert "VIGIL_HOST_ROOT" in lines
        assert not [name for name in lines if name.startswith(("PYTEST", "SSH_", "VIRTUAL"))]
        assert 'PRETTY_NAME="Ubuntu 22.04.4 LTS"' in lines
        code, _, _ = await run(host, "mkdir -p '/opt/a b' && echo x >/opt/a\\ b/f; exit 7")
        assert code == 7
        assert (host.root / "opt/a b/f").read_text() == "x\n"
        assert host.commands[0].startswith("pwd;")


async def test_confining_leaves_other_paths_alone(tmp_path: Path) -> None:
    async with one(tmp_path) as host:
        root = str(host.root)
        for same in (
            "curl http://127.0.0.1:1/opt/x",
            "ls ./etc/x >/dev/null",
            f"ls {root}/opt",
            "ls $VIGIL_HOST_ROOT/opt ${VIGIL_HOST_ROOT}/etc",
            "ls /optional",
        ):
            assert host.confine(same) == same
        assert host.confine('a=/etc/x; ls "/opt"') == f'a={root}/etc/x; ls "{root}/opt"'


async def test_a_public_key_opens_a_host_once_it_is_authorized(tmp_path: Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    public = key.export_public_key().decode()
    async with one(tmp_path) as host:
        with pytest.raises(asyncssh.PermissionDenied):
            async with entered(host, password=None, client_keys=[key]):
                pass
        host.authorize(public)
        async with entered(host, password=None, client_keys=[key]) as conn:
            assert (await conn.run("id -un", check=True)).stdout == "ops\n"
        trusted = asyncssh.import_known_hosts(f"[127.0.0.1]:{host.spec.port} {host.host_key}")
        async with entered(host, known_hosts=trusted):
            pass


@pytest.mark.parametrize(
    ("sudo", "command", "given", "code", "said"),
    [
        (Sudo.FREE, "sudo -n id -u", "", 0, "0\n"),
        (Sudo.FREE, "sudo FOO=bar sh -c 'echo $FOO'", "", 0, "bar\n"),
        (Sudo.PASSWORD, "sudo -S -p '' id -u", "correct horse\n", 0, "0\n"),
        (Sudo.PASSWORD, "sudo -S -p '' cat", "correct horse\nthe rest\n", 0, "the rest\n"),
        (Sudo.PASSWORD, "sudo -n true", "", 1, "a password is required"),
        (Sudo.PASSWORD, "sudo true", "", 1, "a terminal is required"),
        (Sudo.PASSWORD, "sudo -S true", "x\ny\nz\n", 1, "3 incorrect password attempts"),
        (Sudo.PASSWORD, "sudo -S true </dev/null", "", 1, "no password was provided"),
        (Sudo.PASSWORD, "sudo -kSp '' id -u", "correct horse\n", 0, "0\n"),
        (Sudo.PASSWORD, "sudo -k </dev/null", "", 0, ""),
        (Sudo.MISSING, "sudo -n true", "", 127, "sudo: not found"),
    ],
)
async def test_sudo(
    tmp_path: Path, sudo: Sudo, command: str, given: str, code: int, said: str
) -> None:
    async with one(tmp_path, Spec("web-01", password=PASSWORD, sudo=sudo)) as host:
        status, out, err = await run(host, command, given)
        assert status == code
        assert said in out + err
        assert (await run(host, "id -u"))[1] == "1000\n"


async def test_the_bundle_installs_an_agent_that_reports(tmp_path: Path, api: Api) -> None:
    async with one(tmp_path) as host:
        assert await unpack(host) == (0, "")
        asked = f"{INSTALL} --server {api.url} --token vop_1 --hostname 'we\"b'"
        code, _, err = await run(host, asked)
        assert code == 1
        assert "root" in err
        assert host.installs == []
        code, _, err = await run(host, f"sudo {asked}")
        assert (code, err) == (0, "")
        registered = await api.until("register")
        assert registered["hostname"] == 'we"b'
        assert registered["cpu_cores"] == 4
        assert (await api.until("heartbeat"))["host_id"] == 7
        metrics = await api.until("metrics", 2)
        assert metrics["disk_percent"] == 30.0
        assert metrics["memory_percent"] == pytest.approx(37, abs=0.1)
        assert api.tokens == {"bearer vop_1"}
        config = host.root / "etc/vigilops/agent.yaml"
        assert stat.S_IMODE(config.stat().st_mode) == 0o600
        assert len(host.installs) == 1
        assert "vop_1" not in host.installs[0]
        assert (await run(host, "systemctl is-active vigilops-agent"))[1] == "active\n"

        host.set_load(cpu_percent=97.0)
        seen = len(api.seen["metrics"])
        assert (await api.until("metrics", seen + 2))["cpu_percent"] == 97.0

        before = host.agent_pid()
        assert before is not None
        code, _, err = await run(host, f"sudo {INSTALL} --upgrade")
        assert (code, err) == (0, "")
        assert [line.split()[1] for line in host.installs] == ["install", "upgrade"]
        after = host.agent_pid()
        assert after is not None
        assert after != before

        assert (await run(host, "sudo systemctl stop vigilops-agent"))[0] == 0
        assert host.agent_pid() is None
        code, out, _ = await run(host, "systemctl is-active vigilops-agent")
        assert (code, out) == (3, "inactive\n")
        await run(host, "sudo systemctl start vigilops-agent")
        last = host.agent_pid()
        assert last is not None
    assert not runs(last)


async def test_stopping_the_agents_stops_each_of_them(tmp_path: Path, api: Api) -> None:
    async with Hosts(tmp_path, count=2, agent_interval=0.2) as hosts:
        for host in hosts:
            await unpack(host)
            await run(host, f"sudo {INSTALL} -s {api.url} -t vop_{host.spec.name}")
        await api.until("register", 2)
        assert {seen["hostname"] for seen in api.seen["register"]} == {"node-01", "node-02"}
        assert all(host.agent_pid() for host in hosts)
        await hosts.stop_agents()
        assert [host.agent_pid() for host in hosts] == [None, None]


async def test_a_restart_finds_the_same_hosts_and_boots_their_agents(
    tmp_path: Path, api: Api
) -> None:
    async with Hosts(tmp_path, count=1, agent_interval=0.2) as hosts:
        first, key = hosts.specs, hosts[0].host_key
        await unpack(hosts[0])
        await run(hosts[0], f"sudo {INSTALL} -s {api.url} -t vop_1")
        await api.until("register")
    async with Hosts(tmp_path, count=1, agent_interval=0.2) as hosts:
        assert hosts.specs == first
        assert hosts[0].host_key == key
        await api.until("register", 2)
        assert len(hosts[0].installs) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--token x", "--server"),
        ("--server http://127.0.0.1:1", "--token"),
        ("--nonsense", "未知参数"),
        ("--upgrade", "未找到已安装"),
    ],
)
async def test_the_installer_refuses_what_upstream_refuses(
    tmp_path: Path, arguments: str, said: str
) -> None:
    async with one(tmp_path) as host:
        await unpack(host)
        code, _, err = await run(host, f"sudo {INSTALL} {arguments}")
        assert code == 1
        assert said in err


async def test_the_installer_needs_its_tree(tmp_path: Path) -> None:
    async with one(tmp_path) as host:
        await unpack(host)
        code, _, err = await run(
            host, f"rm -r /opt/bundle/agent; sudo {INSTALL} -s http://127.0.0.1:1 -t x"
        )
        assert code == 1
        assert "未找到 agent 目录" in err


async def test_docker_remembers_what_it_was_told(tmp_path: Path) -> None:
    async with one(tmp_path) as host:
        assert "Compose version v2" in (await run(host, "docker compose version"))[1]
        up = "docker compose -p vigilops-acme -f /opt/c.yml up -d"
        assert (await run(host, up))[0] == 14
        assert (await run(host, f"touch /opt/c.yml && {up}"))[0] == 0
        assert "vigilops-acme-backend-1" in (await run(host, "docker ps"))[1]
        dump = "docker exec vigilops-acme-postgres-1 pg_dump -U vigilops"
        assert "PostgreSQL database dump complete" in (await run(host, dump))[1]
        assert "Server Version" in (await run(host, "docker info"))[1]
        assert host.docker_calls[1] == up.replace("/opt", f"{host.root}/opt")
    none = Spec("web-01", password=PASSWORD, docker=False)
    async with one(tmp_path, none) as host:
        assert (await run(host, "docker info"))[0] == 127


async def test_curl_reaches_loopback_alone(tmp_path: Path, api: Api) -> None:
    async with one(tmp_path) as host:
        code, out, _ = await run(host, f"curl -fsS -m 5 -w '%{{http_code}}' {api.url}/health")
        assert (code, out) == (0, '{"host_id": 7, "status": "ok"}200')
        code, _, err = await run(host, "curl -sS https://example.com/")
        assert code == 6
        assert "Could not resolve host" in err


async def test_ss_shows_what_listens(tmp_path: Path, api: Api) -> None:
    port = api.url.rsplit(":", 1)[1]
    async with one(tmp_path, Spec("web-01", password=PASSWORD, ports=(22, 80))) as host:
        _, out, _ = await run(host, "ss -ltn")
        assert {"0.0.0.0:22", "0.0.0.0:80", f"0.0.0.0:{port}"} <= set(out.split())
        assert (await run(host, "ss -Hltn 'sport = :81'"))[1] == ""


async def test_a_host_serves_as_a_bastion(tmp_path: Path) -> None:
    async with (
        Hosts(tmp_path, count=2) as hosts,
        entered(hosts[0]) as bastion,
        entered(hosts[1], tunnel=bastion) as conn,
    ):
        assert (await conn.run("hostname", check=True)).stdout == "node-02\n"


async def test_refusing_and_hanging(tmp_path: Path) -> None:
    async with one(tmp_path) as host:
        await host.inject(Fault.REFUSE)
        with pytest.raises(ConnectionRefusedError):
            await run(host, "true")
        await host.inject(Fault.HANG)
        await host.mend(Fault.REFUSE)
        reader, writer = await asyncio.open_connection(host.spec.host, host.spec.port)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)
        writer.close()
        with pytest.raises(TimeoutError):
            async with entered(host, login_timeout=0.3, connect_timeout=0.3):
                pass
        await host.mend()
        assert (await run(host, "echo back"))[1] == "back\n"


async def test_a_wrong_password_is_denied(tmp_path: Path) -> None:
    async with one(tmp_path) as host:
        with pytest.raises(asyncssh.PermissionDenied):
            async with entered(host, password="guess"):
                pass
        await host.inject(Fault.WRONG_PASSWORD)
        with pytest.raises(asyncssh.PermissionDenied):
            await run(host, "true")
        await host.mend(Fault.WRONG_PASSWORD)
        assert (await run(host, "true"))[0] == 0


async def test_a_full_disk_fails_what_writes(tmp_path: Path) -> None:
    async with one(tmp_path) as host:
        await host.inject(Fault.DISK_FULL)
        assert "100%" in (await run(host, "df -h /"))[1]
        code, err = await unpack(host)
        assert code == 2
        assert (await run(host, "tar -xf /opt/none.tar"))[0] == 2
        assert "No space left on device" in err
        async with entered(host) as conn, conn.start_sftp_client() as sftp:
            with pytest.raises(asyncssh.SFTPError, match="No space left"):
                async with sftp.open("/opt/file", "w") as out:
                    await out.write("text")
        await host.mend()
        assert (await unpack(host))[0] == 0
        async with (
            entered(host) as conn,
            conn.start_sftp_client() as sftp,
            sftp.open("/opt/file", "w") as out,
        ):
            await out.write("text")
        assert (host.root / "opt/file").read_text() == "text"


async def test_sudo_may_go_away(tmp_path: Path) -> None:
    async with one(tmp_path) as host:
        await host.inject(Fault.NO_SUDO)
        assert (await run(host, "sudo -n true"))[0] == 127
        await host.mend()
        assert (await run(host, "sudo -n true"))[0] == 0


async def test_a_dropped_command_has_begun_and_goes_on(tmp_path: Path) -> None:
    async with one(tmp_path) as host:
        done = host.root / "opt/done"
        os.mkfifo(host.root / "opt/go")
        await host.inject(Fault.DROP, match="work", times=1)
        assert (await run(host, "echo other"))[1] == "other\n"
        work = "echo work; read word </opt/go; echo $word >/opt/done.new; echo x; mv /opt/done.new /opt/done"
        assert await loses(host, work)
        assert not done.exists()
        await asyncio.to_thread((host.root / "opt/go").write_text, "finished\n")
        assert (await run(host, "while ! [ -e /opt/done ]; do :; done; cat /opt/done"))[1] == (
            "finished\n"
        )
        assert (await run(host, "echo work"))[1] == "work\n"
        await host.inject(Fault.DROP)
        assert await loses(host, "true")


async def test_a_signal_reaches_the_command(tmp_path: Path) -> None:
    async with one(tmp_path) as host, entered(host) as conn:
        work = "trap 'echo told; exit 3' TERM; echo ready; while :; do /bin/sleep 0.05; done"
        process = await conn.create_process(work)
        assert await asyncio.wait_for(process.stdout.readline(), 30) == "ready\n"
        process.terminate()
        done = await asyncio.wait_for(process.wait(), 30)
        assert (done.exit_status, done.stdout) == (3, "told\n")


async def test_a_changed_host_key_is_seen(tmp_path: Path) -> None:
    async with one(tmp_path) as host:
        line = f"[127.0.0.1]:{host.spec.port} {host.host_key}"
        trusted = asyncssh.import_known_hosts(line)
        await host.inject(Fault.NEW_HOST_KEY)
        with pytest.raises(asyncssh.HostKeyNotVerifiable):
            async with entered(host, known_hosts=trusted):
                pass
        await host.mend()
        async with entered(host, known_hosts=trusted):
            pass


async def test_a_clock_runs_ahead(tmp_path: Path) -> None:
    async with one(tmp_path) as host:
        await host.inject(Fault.CLOCK_SKEW, seconds=7200)
        ahead = int((await run(host, "date +%s"))[1])
        assert ahead - time.time() == pytest.approx(7200, abs=20)
        await host.mend()
        assert int((await run(host, "date +%s"))[1]) == pytest.approx(time.time(), abs=20)


@pytest.mark.parametrize("name", ["../up", "", "a b"])
async def test_a_host_name_cannot_leave_the_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        Hosts(tmp_path, specs=[Spec(name)])


async def test_passwords_are_not_shown(tmp_path: Path) -> None:
    async with one(tmp_path) as host:
        assert "correct horse" not in repr(host)
        assert "correct horse" not in (host.root / ".sandbox/host.sh").read_text()
        assert stat.S_IMODE((tmp_path / "hosts.json").stat().st_mode) == 0o600
