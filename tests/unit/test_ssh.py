"""Every case runs against real SSH servers on the loopback and real /bin/sh processes."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import shutil
import signal
import socket
import tarfile
import traceback
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from asyncssh.packet import UInt32

from adapters.port import Fault, InDoubt, Login, OutsideError, Permanent, Servers, Shell, Transient
from adapters.ssh import SshServers, make_key
from adapters.words import Secret

GOOD = "p4ss-of-the-login"
SUDO = "p4ss-of-sudo"
WRONG = "wr0ng-and-secret"

NO_PASSWORD = """#!/bin/sh
printf '%s\\n' "$*" >> sudo.log
case "$1" in -n) shift; exec "$@" ;; esac
exit 1
"""
ASKING = """#!/bin/sh
printf '%s\\n' "$*" >> sudo.log
case "$1" in
-k) exit 0 ;;
-n) echo 'sudo: a password is required' >&2; exit 1 ;;
-S) [ "$2" = -p ] && [ -z "$3" ] || exit 9
    IFS= read -r word
    shift 3
    [ "$word" = 'p4ss-of-sudo' ] && exec "$@"
    echo "Sorry, try again: $word. sudo: 1 incorrect password attempt" >&2
    exit 1 ;;
esac
"""


class _Process(asyncssh.SSHServerProcess[bytes]):
    """A session whose signals reach the real process, as sshd's do."""

    def __init__(self, place: Place) -> None:
        super().__init__(place.execute, None, 3, False)
        self.place = place
        self.child: asyncio.subprocess.Process | None = None

    def exec_requested(self, command: str) -> bool:
        if self.place.drops_on_exec:
            self.channel.get_connection().abort()
        return self.place.executes

    def signal_received(self, signal: str) -> None:
        if not self.place.deaf:
            _kill(self.child)


class _Server(asyncssh.SSHServer):
    def __init__(self, place: Place) -> None:
        self.place = place

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.place.connections.append(conn)

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        self.place.passwords.append(password)
        if self.place.expired:
            raise asyncssh.PasswordChangeRequired("expired")
        return password == GOOD

    def kbdint_auth_supported(self) -> bool:
        return not self.place.expired

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return self.place.authorized.split()[:2] == key.export_public_key().decode().split()[:2]

    def session_requested(self) -> Any:
        if not self.place.sessions:
            return False
        conn = self.place.connections[-1]
        return conn.create_server_channel(encoding=None), _Process(self.place)

    def connection_requested(self, *where: object) -> bool:
        if not self.place.forwards:  # as OpenSSH says it
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "prohibited")
        return True


@dataclass
class Place:
    """A server: what it permits, and what happened on it."""

    home: Path
    port: int = 0
    key: asyncssh.SSHKey = field(
        default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519")
    )
    authorized: str = ""
    expired: bool = False
    sessions: bool = True
    forwards: bool = True
    executes: bool = True
    deaf: bool = False
    lingers: bool = False
    drops_on_exec: bool = False
    drops_on: bytes = b""
    connections: list[asyncssh.SSHServerConnection] = field(default_factory=list)
    passwords: list[str] = field(default_factory=list)
    children: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def host_key(self) -> str:
        return " ".join(self.key.export_public_key().decode().split()[:2])

    def login(self) -> Login:
        return Login("127.0.0.1", self.port, "ops", Secret(GOOD))

    def install(self, script: str) -> None:
        sudo = self.home / "bin" / "sudo"
        sudo.write_text(script)
        sudo.chmod(0o755)

    @property
    def sudo_log(self) -> str:
        return (self.home / "sudo.log").read_text()

    async def execute(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        child = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            process.command or "",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": str(self.home / "bin")},
            cwd=self.home,
            start_new_session=True,
        )
        self.children.append(child)
        assert isinstance(process, _Process)
        process.child = child
        assert child.stdout is not None
        assert child.stderr is not None
        with contextlib.suppress(asyncssh.Error, OSError):
            feeding = asyncio.create_task(_feed(process, child))
            await asyncio.gather(
                self._pass(process, child.stdout, process.stdout),
                self._pass(process, child.stderr, process.stderr),
            )
            code = await child.wait()
            feeding.cancel()
            if self.lingers:  # what sshd does while a daemon holds the output open
                process.channel._send_request(b"exit-status", UInt32(code))
            elif code < 0:
                process.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
            else:
                process.exit(code)

    async def _pass(
        self,
        process: asyncssh.SSHServerProcess[bytes],
        source: asyncio.StreamReader,
        target: asyncssh.SSHWriter[bytes],
    ) -> None:
        while data := await source.read(65536):
            if self.drops_on and self.drops_on in data:
                process.channel.get_connection().abort()
                return
            target.write(data)


async def _feed(process: _Process, child: asyncio.subprocess.Process) -> None:
    assert child.stdin is not None
    with contextlib.suppress(asyncssh.Error, OSError):
        while data := await process.stdin.read(65536):
            child.stdin.write(data)
            await child.stdin.drain()
    child.stdin.close()


def _kill(child: asyncio.subprocess.Process | None) -> None:
    if child is not None and child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


@contextlib.asynccontextmanager
async def serving(home: Path) -> AsyncIterator[Place]:
    (home / "bin").mkdir(parents=True)
    for tool in ("sh", "tar", "gzip", "mkdir", "cat", "tail", "pgrep"):
        found = shutil.which(tool)
        assert found
        (home / "bin" / tool).symlink_to(found)
    place = Place(home)
    acceptor = await asyncssh.listen(
        "127.0.0.1", 0, server_factory=lambda: _Server(place), server_host_keys=[place.key]
    )
    place.port = acceptor.get_port()
    try:
        yield place
    finally:
        for child in place.children:
            _kill(child)
            await child.wait()
        acceptor.close()
        for conn in place.connections:
            conn.abort()
            await conn.wait_closed()
        await acceptor.wait_closed()


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with serving(tmp_path / "server") as it:
        yield it


@pytest.fixture
async def bastion(tmp_path: Path) -> AsyncIterator[Place]:
    async with serving(tmp_path / "bastion") as it:
        yield it


@pytest.fixture
def servers() -> Servers:
    return SshServers(connect_timeout=10)


@pytest.fixture
def free_port() -> Iterator[int]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))  # bound and not listening: it refuses
        yield sock.getsockname()[1]


async def failing(servers: Servers, login: Login) -> OutsideError:
    with pytest.raises(OutsideError) as caught:
        async with servers.shell(login):
            pass
    return _clean(caught.value)


async def running(shell: Shell, command: str, **how: Any) -> OutsideError:
    with pytest.raises(OutsideError) as caught:
        await shell.run(command, **how)
    return _clean(caught.value)


def _clean(error: OutsideError) -> OutsideError:
    """No failure of any test may show a secret, wherever a log would look for its text."""
    text = error.reason + "".join(traceback.format_exception(error)) + repr(error)
    link: BaseException | None = error.__context__
    while link is not None:
        text += repr(link)
        link = link.__context__
    for secret in (GOOD, SUDO, WRONG, "PRIVATE KEY"):
        assert secret not in text
    return error


# -- getting in -------------------------------------------------------------------------------


async def test_a_password_opens_a_shell_and_the_host_key_is_shown(
    servers: Servers, place: Place
) -> None:
    async with servers.shell(place.login()) as shell:
        assert " ".join(shell.host_key.split()[:2]) == place.host_key
        ran = await shell.run("echo out; echo err >&2; exit 3")
    assert (ran.exit, ran.out, ran.err) == (3, "out\n", "err\n")


async def test_a_key_opens_a_shell_without_any_password(servers: Servers, place: Place) -> None:
    key, place.authorized = make_key("acme@vigilbot")
    login = replace(place.login(), password=Secret(""), key=key)
    async with servers.shell(login) as shell:
        assert (await shell.run("cat", stdin=b"hello")).out == "hello"
    assert place.passwords == []


def test_a_made_key_is_openssh_with_its_comment_and_hides_its_private_half() -> None:
    key, public = make_key("acme@vigilbot")
    assert key.reveal().startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert public.startswith("ssh-ed25519 ")
    assert public.endswith(" acme@vigilbot")
    assert "PRIVATE" not in repr(key)
    assert make_key("acme@vigilbot")[1] != public


async def test_the_pinned_key_lets_us_in_again(servers: Servers, place: Place) -> None:
    async with servers.shell(place.login()) as shell:
        pinned = shell.host_key
    async with servers.shell(replace(place.login(), pinned=pinned)) as shell:
        assert shell.host_key == pinned


async def test_a_changed_host_key_stops_us_before_the_password_is_told(
    servers: Servers, place: Place
) -> None:
    _, other = make_key("other")
    error = await failing(servers, replace(place.login(), pinned=other))
    assert isinstance(error, Permanent)
    assert error.fault is Fault.HOST_KEY
    assert "主机密钥变了" in error.reason
    assert place.key.get_fingerprint() in error.reason
    assert place.passwords == []


async def test_a_pinned_key_of_another_kind_counts_as_changed(
    servers: Servers, place: Place
) -> None:
    other = asyncssh.generate_private_key("ecdsa-sha2-nistp256").export_public_key().decode()
    error = await failing(servers, replace(place.login(), pinned=other))
    assert error.fault is Fault.HOST_KEY


async def test_a_pinned_line_that_is_no_key_is_not_taken_for_a_first_contact(
    servers: Servers, place: Place
) -> None:
    error = await failing(servers, replace(place.login(), pinned="ssh-ed25519 nonsense"))
    assert isinstance(error, Permanent)
    assert error.fault is Fault.HOST_KEY
    assert place.connections == []


async def test_a_wrong_password_is_permanent_and_says_so(servers: Servers, place: Place) -> None:
    error = await failing(servers, replace(place.login(), password=Secret(WRONG)))
    assert isinstance(error, Permanent)
    assert error.fault is Fault.SSH_AUTH
    assert "ops 的密码被拒绝" in error.reason


async def test_a_wrong_key_is_permanent_and_says_so(servers: Servers, place: Place) -> None:
    login = replace(place.login(), password=Secret(""), key=make_key()[0])
    error = await failing(servers, login)
    assert isinstance(error, Permanent)
    assert error.fault is Fault.SSH_AUTH
    assert "密钥被拒绝" in error.reason


async def test_a_wrong_key_and_a_wrong_password_are_both_named(
    servers: Servers, place: Place
) -> None:
    login = replace(place.login(), password=Secret(WRONG), key=make_key()[0])
    assert "密钥和密码都被拒绝" in (await failing(servers, login)).reason


async def test_a_login_with_neither_key_nor_password_says_what_is_missing(
    servers: Servers, place: Place
) -> None:
    error = await failing(servers, replace(place.login(), password=Secret("")))
    assert error.fault is Fault.SSH_AUTH
    assert "没有登记" in error.reason


async def test_an_expired_password_is_told_from_a_wrong_one(servers: Servers, place: Place) -> None:
    place.expired = True
    error = await failing(servers, place.login())
    assert error.fault is Fault.SSH_AUTH
    assert "已过期" in error.reason


@pytest.mark.parametrize("encrypted", [False, True])
async def test_a_private_key_that_cannot_be_read_is_a_fault_of_login(
    servers: Servers, place: Place, encrypted: bool
) -> None:
    text = "-----BEGIN OPENSSH PRIVATE KEY-----\nwr0ng-and-secret\n"
    if encrypted:
        made = asyncssh.generate_private_key("ssh-ed25519")
        text = made.export_private_key("pkcs8-pem", passphrase="x").decode()
    error = await failing(servers, replace(place.login(), key=Secret(text)))
    assert isinstance(error, Permanent)
    assert error.fault is Fault.SSH_AUTH
    assert ("带有口令" if encrypted else "私钥无法读取") in error.reason


async def test_a_refused_connection_is_transient(servers: Servers, free_port: int) -> None:
    error = await failing(servers, Login("127.0.0.1", free_port, password=Secret(GOOD)))
    assert isinstance(error, Transient)
    assert error.fault is Fault.NETWORK
    assert "连接被拒绝" in error.reason


async def test_a_name_that_is_not_found_is_transient(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*asked: object, **how: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = await failing(servers, Login("nowhere.invalid", password=Secret(GOOD)))
    assert isinstance(error, Transient)
    assert error.fault is Fault.NETWORK
    assert "主机名无法解析" in error.reason


@pytest.mark.parametrize(
    ("host", "port", "meant"),
    [
        ("x" * 70 + ".invalid", 22, "格式不正确"),
        ("127.0.0.1", 70_000, "格式不正确"),
        ("", 22, "没有登记主机地址"),
    ],
)
async def test_an_address_that_cannot_be_one_is_permanent(
    servers: Servers, host: str, port: int, meant: str
) -> None:
    error = await failing(servers, Login(host, port, password=Secret(GOOD)))
    assert isinstance(error, Permanent)
    assert meant in error.reason


@contextlib.asynccontextmanager
async def mute(*, hangs_up: bool) -> AsyncIterator[int]:
    left: list[asyncio.Event] = []

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left.append(asyncio.Event())
        with contextlib.suppress(OSError):
            if not hangs_up:
                await reader.read()
            writer.close()
            await writer.wait_closed()
        left[-1].set()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for gone in left:
            await gone.wait()


async def test_a_server_that_never_speaks_is_a_time_out() -> None:
    async with mute(hangs_up=False) as port:
        login = Login("127.0.0.1", port, password=Secret(GOOD))
        error = await failing(SshServers(connect_timeout=0.1), login)
    assert isinstance(error, Transient)
    assert error.fault is Fault.NETWORK
    assert "连接超时" in error.reason


async def test_a_server_that_hangs_up_before_login_is_transient(servers: Servers) -> None:
    async with mute(hangs_up=True) as port:
        error = await failing(servers, Login("127.0.0.1", port, password=Secret(GOOD)))
    assert isinstance(error, Transient)
    assert error.fault is Fault.NETWORK
    assert "断开" in error.reason


# -- through a bastion ------------------------------------------------------------------------


async def test_a_bastion_leads_to_the_server_and_both_are_pinned(
    servers: Servers, place: Place, bastion: Place
) -> None:
    via = replace(bastion.login(), pinned=bastion.host_key)
    async with servers.shell(replace(place.login(), pinned=place.host_key, via=via)) as shell:
        assert (await shell.run("echo here")).out == "here\n"
        assert " ".join(shell.host_key.split()[:2]) == place.host_key
    assert len(bastion.connections) == 1
    assert bastion.children == []


async def test_a_changed_bastion_stops_us_before_the_server_is_asked(
    servers: Servers, place: Place, bastion: Place
) -> None:
    via = replace(bastion.login(), pinned=place.host_key)
    error = await failing(servers, replace(place.login(), via=via))
    assert error.fault is Fault.HOST_KEY
    assert str(bastion.port) in error.reason
    assert place.connections == []


async def test_a_server_that_the_bastion_cannot_reach_is_transient(
    servers: Servers, bastion: Place, free_port: int
) -> None:
    login = Login("127.0.0.1", free_port, password=Secret(GOOD), via=bastion.login())
    error = await failing(servers, login)
    assert isinstance(error, Transient)
    assert error.fault is Fault.NETWORK
    assert "跳板机连不到" in error.reason


async def test_a_bastion_that_forbids_forwarding_is_permanent(
    servers: Servers, place: Place, bastion: Place
) -> None:
    bastion.forwards = False
    error = await failing(servers, replace(place.login(), via=bastion.login()))
    assert isinstance(error, Permanent)
    assert "AllowTcpForwarding" in error.reason


# -- commands ---------------------------------------------------------------------------------


async def test_many_commands_run_on_one_connection(servers: Servers, place: Place) -> None:
    async with servers.shell(place.login()) as shell:
        outs = [(await shell.run(f"echo {n}")).out for n in range(5)]
    assert outs == [f"{n}\n" for n in range(5)]
    assert len(place.connections) == 1


async def test_a_command_that_ignores_a_large_stdin_still_tells_its_exit(
    servers: Servers, place: Place
) -> None:
    async with servers.shell(place.login()) as shell:
        assert (await shell.run("exit 4", stdin=b"x" * 8_000_000)).exit == 4


async def test_large_output_and_broken_utf8_come_back(servers: Servers, place: Place) -> None:
    async with servers.shell(place.login()) as shell:
        ran = await shell.run("cat", stdin=b"\xff" + b"x" * 5_000_000)
    assert len(ran.out) == 5_000_001
    assert ran.out[0] == "\ufffd"


async def test_a_command_killed_by_a_signal_exits_as_a_shell_would_say(
    servers: Servers, place: Place
) -> None:
    async with servers.shell(place.login()) as shell:
        assert (await shell.run("kill -KILL $$")).exit == 137


async def test_a_connection_dropped_in_mid_command_is_in_doubt(
    servers: Servers, place: Place
) -> None:
    place.drops_on = b"now"
    async with servers.shell(place.login()) as shell:
        error = await running(shell, "echo now; tail -f /dev/null")
        assert isinstance(error, InDoubt)
        assert error.fault is Fault.DROPPED
        assert "连接断开" in error.reason
        again = await running(shell, "echo later")
    assert isinstance(again, Transient)
    assert "命令没有发出" in again.reason


async def test_a_command_that_runs_too_long_is_killed_and_in_doubt(
    servers: Servers, place: Place
) -> None:
    async with servers.shell(place.login()) as shell:
        error = await running(shell, "tail -f /dev/null", timeout=0.5)
        assert isinstance(error, InDoubt)
        assert error.fault is Fault.DROPPED
        assert "0.5 秒内没有结束" in error.reason
        assert await place.children[0].wait() == -signal.SIGKILL
        assert (await shell.run("echo fine")).out == "fine\n"


async def test_a_connection_dropped_while_a_command_is_asked_for_is_in_doubt(
    servers: Servers, place: Place
) -> None:
    place.drops_on_exec = True
    async with servers.shell(place.login()) as shell:
        error = await running(shell, "echo x")
    assert isinstance(error, InDoubt)
    assert error.fault is Fault.DROPPED


async def test_a_command_that_ended_and_left_a_daemon_behind_is_a_result(
    servers: Servers, place: Place
) -> None:
    place.lingers = True
    async with servers.shell(place.login()) as shell:
        ran = await shell.run("echo started; exit 3", timeout=1)
    assert (ran.exit, ran.out) == (3, "started\n")


async def test_a_server_that_runs_no_commands_is_permanent(servers: Servers, place: Place) -> None:
    place.executes = False
    async with servers.shell(place.login()) as shell:
        error = await running(shell, "echo x")
    assert isinstance(error, Permanent)
    assert error.fault is Fault.REFUSED
    assert "不允许执行命令" in error.reason


async def test_a_server_without_sessions_is_transient_for_nothing_has_run(
    servers: Servers, place: Place
) -> None:
    place.sessions = False
    async with servers.shell(place.login()) as shell:
        error = await running(shell, "echo x")
    assert isinstance(error, Transient)
    assert "命令未执行" in error.reason


# -- root -------------------------------------------------------------------------------------


async def test_root_runs_commands_as_they_are(servers: Servers, place: Place) -> None:
    async with servers.shell(replace(place.login(), user="root")) as shell:
        assert (await shell.run("echo plain", root=True)).out == "plain\n"
    assert not (place.home / "sudo.log").exists()


async def test_sudo_without_a_password_passes_quotes_stdin_output_and_exit(
    servers: Servers, place: Place
) -> None:
    place.install(NO_PASSWORD)
    async with servers.shell(replace(place.login(), sudo_password=Secret(SUDO))) as shell:
        command = """cat; echo "it's $((1+1))"; echo 'bad one' >&2; exit 5"""
        ran = await shell.run(command, stdin=b"body\n", root=True)
    assert (ran.exit, ran.out, ran.err) == (5, "body\nit's 2\n", "bad one\n")
    assert "-S" not in place.sudo_log


async def test_a_sudo_password_goes_through_stdin_before_the_commands_own_and_never_in_argv(
    servers: Servers, place: Place
) -> None:
    place.install(ASKING)
    async with servers.shell(replace(place.login(), sudo_password=Secret(SUDO))) as shell:
        first = await shell.run("cat", stdin=b"one\ntwo", root=True)
        second = await shell.run("cat", stdin=b"three", root=True)
    assert (first.out, second.out, first.err) == ("one\ntwo", "three", "")
    assert SUDO not in place.sudo_log
    assert place.sudo_log.count("-n ") == 1


async def test_a_connection_dropped_before_sudo_is_known_is_transient_for_nothing_has_run(
    servers: Servers, place: Place
) -> None:
    place.install(NO_PASSWORD)
    place.drops_on = b"vigilbot-"
    async with servers.shell(place.login()) as shell:
        error = await running(shell, "echo x > ran", root=True)
    assert isinstance(error, Transient)
    assert error.fault is Fault.NETWORK
    assert not (place.home / "ran").exists()


async def test_a_wrong_sudo_password_is_a_fault_of_sudo_and_nothing_has_run(
    servers: Servers, place: Place
) -> None:
    place.install(ASKING)
    async with servers.shell(replace(place.login(), sudo_password=Secret(WRONG))) as shell:
        error = await running(shell, "echo x > ran", root=True)
    assert isinstance(error, Permanent)
    assert error.fault is Fault.SUDO
    assert "拒绝了登记的 sudo 密码" in error.reason
    assert "***" in error.reason
    assert not (place.home / "ran").exists()


async def test_a_sudo_that_asks_for_a_password_we_do_not_have_is_a_fault_of_sudo(
    servers: Servers, place: Place
) -> None:
    place.install(ASKING)
    async with servers.shell(place.login()) as shell:
        error = await running(shell, "id", root=True)
    assert isinstance(error, Permanent)
    assert error.fault is Fault.SUDO
    assert "没有登记 sudo 密码" in error.reason


async def test_a_missing_sudo_is_a_fault_of_sudo(servers: Servers, place: Place) -> None:
    async with servers.shell(replace(place.login(), sudo_password=Secret(SUDO))) as shell:
        error = await running(shell, "id", root=True)
    assert isinstance(error, Permanent)
    assert error.fault is Fault.SUDO
    assert "没有安装 sudo" in error.reason


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("ops is not in the sudoers file.", "没有 sudo 权限"),
        ("sudo: sorry, you must have a tty to run sudo", "requiretty"),
        ("sudo: unknown trouble", "sudo 拒绝执行"),
    ],
)
async def test_a_sudo_that_refuses_is_explained(
    servers: Servers, place: Place, said: str, meant: str
) -> None:
    place.install(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
    async with servers.shell(place.login()) as shell:
        error = await running(shell, "id", root=True)
    assert isinstance(error, Permanent)
    assert error.fault is Fault.SUDO
    assert meant in error.reason


async def test_a_root_command_that_fails_by_itself_is_a_result_not_a_fault_of_sudo(
    servers: Servers, place: Place
) -> None:
    place.install(NO_PASSWORD)
    async with servers.shell(place.login()) as shell:
        ran = await shell.run("echo 'a password is required' >&2; exit 1", root=True)
    assert (ran.exit, ran.err) == (1, "a password is required\n")


async def test_a_root_command_that_runs_too_long_is_killed_as_root(
    servers: Servers, place: Place
) -> None:
    place.install(NO_PASSWORD)
    place.deaf = True  # sshd may not signal what runs as root
    async with servers.shell(place.login()) as shell:
        error = await running(shell, "tail -f /dev/null; echo > on", timeout=1, root=True)
        assert isinstance(error, InDoubt)
        assert await place.children[1].wait() in {-signal.SIGKILL, 128 + signal.SIGKILL}
    assert "kill -KILL" in place.sudo_log
    assert not (place.home / "on").exists()


# -- archives ---------------------------------------------------------------------------------


def archive(name: str, content: bytes) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return target.getvalue()


@pytest.mark.parametrize("to", ["deep/er", "it's a $(dir); name", "-dash"])
async def test_an_archive_is_unpacked_into_a_directory_that_is_made(
    servers: Servers, place: Place, to: str
) -> None:
    content = os.urandom(3_000_000)
    async with servers.shell(place.login()) as shell:
        await shell.unpack(archive("a.bin", content), to)
    assert (place.home / to / "a.bin").read_bytes() == content


async def test_a_broken_archive_is_permanent(servers: Servers, place: Place) -> None:
    async with servers.shell(place.login()) as shell:
        with pytest.raises(Permanent, match="解包到 there 失败") as caught:
            await shell.unpack(b"no archive", "there")
    assert caught.value.fault is Fault.COMMAND


async def test_a_full_disk_is_told_from_a_broken_archive(servers: Servers, place: Place) -> None:
    tar = place.home / "bin" / "tar"
    tar.unlink()
    tar.write_text("#!/bin/sh\necho 'tar: write: No space left on device' >&2\nexit 2\n")
    tar.chmod(0o755)
    async with servers.shell(place.login()) as shell:
        with pytest.raises(Permanent, match="磁盘空间不足") as caught:
            await shell.unpack(archive("a", b"a"), "there")
    assert caught.value.fault is Fault.DISK


# -- nothing of the user's own ------------------------------------------------------------------


async def test_the_users_own_ssh_configuration_keys_and_agent_are_not_consulted(
    servers: Servers, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, place.authorized = make_key()
    own = tmp_path / "home" / ".ssh"
    own.mkdir(parents=True)
    (own / "id_ed25519").write_text(key.reveal())
    (own / "id_ed25519").chmod(0o600)
    (own / "config").write_text("Host *\n  User somebody\n  Port 1\n  ProxyCommand false\n")
    (own / "known_hosts").write_text(f"* {make_key()[1]}\n")
    monkeypatch.setenv("HOME", str(own.parent))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "no-agent"))
    async with servers.shell(place.login()) as shell:
        assert (await shell.run("echo in")).out == "in\n"
    assert place.passwords == [GOOD]
    assert (
        "没有登记" in (await failing(servers, replace(place.login(), password=Secret("")))).reason
    )
