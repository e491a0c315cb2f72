"""Servers over SSH: every connection is pinned, takes nothing from the user's own ~/.ssh, and
fails only as Transient, Permanent or InDoubt, with a reason in which no secret can be read.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shlex
import socket
from collections.abc import AsyncIterator
from typing import cast, final

import asyncssh
from asyncssh.encryption import get_default_encryption_algs
from asyncssh.public_key import get_default_public_key_algs

from adapters.port import Fault, InDoubt, Login, OutsideError, Permanent, Ran, Shell, Transient
from adapters.words import Secret

asyncssh.set_log_level("WARNING")  # at INFO it logs every command line, and those may hold tokens

# ChaCha20 has first place by default, and costs twice the time of AES in hardware for a bundle.
_CIPHERS = sorted(
    (name.decode("ascii") for name in get_default_encryption_algs()),
    key=lambda name: not name.startswith("aes128-gcm"),
)

_CLOSING = 2.0
_CLEANING = 5.0
_PROBING = 20.0
_SHOWN = 300
_NOT_FOUND = 127


def make_key(comment: str = "vigilbot") -> tuple[Secret, str]:
    """Make an Ed25519 pair: the private key in OpenSSH format, and the public line."""
    key = asyncssh.generate_private_key("ssh-ed25519", comment=comment)
    return Secret(key.export_private_key().decode()), key.export_public_key().decode().strip()


@final
class SshKeys:
    """The `Keys` port."""

    def make(self, comment: str) -> tuple[Secret, str]:
        return make_key(comment)


@final
class SshServers:
    """The `Servers` port over asyncssh."""

    def __init__(self, *, connect_timeout: float = 15.0, keepalive: float = 15.0) -> None:
        self._connect_timeout = connect_timeout
        self._keepalive = keepalive

    @contextlib.asynccontextmanager
    async def shell(self, login: Login) -> AsyncIterator[Shell]:
        async with self._connection(login) as conn:
            yield SshShell(conn, login)

    @contextlib.asynccontextmanager
    async def _connection(self, login: Login) -> AsyncIterator[asyncssh.SSHClientConnection]:
        async with contextlib.AsyncExitStack() as stack:
            tunnel = None
            if login.via is not None:
                tunnel = await stack.enter_async_context(self._connection(login.via))
            conn = await self._connect(login, tunnel)
            stack.push_async_callback(_close, conn)
            yield conn

    async def _connect(
        self, login: Login, tunnel: asyncssh.SSHClientConnection | None
    ) -> asyncssh.SSHClientConnection:
        if not login.host:  # asyncio would take it for this very machine
            raise Permanent(f"{_where(login)}：没有登记主机地址")
        key = _private_key(login)
        pinned = _pinned_key(login)
        client = _Client(pinned)
        # The pinned kind of key comes first, else a server with several would show another one.
        known = [] if pinned is None else [*pinned.sig_algorithms]
        algorithms = [*known, *(a for a in get_default_public_key_algs() if a not in known)]
        failure: Exception
        try:
            async with asyncio.timeout(self._connect_timeout):
                return await asyncssh.connect(
                    login.host,
                    login.port,
                    config=None,
                    tunnel=tunnel,
                    client_factory=lambda: client,
                    known_hosts=([], [], []),  # nothing is trusted but what _Client says
                    x509_trusted_certs=None,
                    server_host_key_algs=[name.decode("ascii") for name in algorithms],
                    encryption_algs=_CIPHERS,
                    username=login.user,
                    password=login.password.reveal() or None,
                    client_keys=[key] if key else None,
                    agent_path=None,
                    gss_auth=False,
                    gss_kex=False,
                    host_based_auth=False,
                    keepalive_interval=self._keepalive,
                )
        except (asyncssh.Error, OSError, ValueError, OverflowError) as error:
            failure = error
        # Raised out here, so that not even __context__ carries the library's own text.
        raise _not_connected(failure, login, client, self._connect_timeout)


@final
class SshShell:
    """The `Shell` port on one connection."""

    def __init__(self, conn: asyncssh.SSHClientConnection, login: Login) -> None:
        self._conn = conn
        self._login = login
        self._where = _where(login)
        self._sudo: str | None = None
        key = conn.get_server_host_key()
        self._host_key = "" if key is None else key.export_public_key("openssh").decode().strip()

    @property
    def host_key(self) -> str:
        return self._host_key

    async def run(
        self, command: str, *, stdin: bytes = b"", timeout: float = 60.0, root: bool = False
    ) -> Ran:
        if not root or self._login.user == "root":
            return await self._run(command, stdin, timeout)
        if self._sudo is None:
            self._sudo = await self._way_to_root()
        ran = await self._as_root(self._sudo, command, stdin, timeout)
        if isinstance(ran, Ran):
            return ran
        self._sudo = None
        raise self._refusal(ran.ran)

    async def unpack(self, archive: bytes, to: str, *, timeout: float = 120.0) -> None:
        target = shlex.quote(f"./{to}" if to.startswith("-") else to)
        ran = await self._run(f"mkdir -p {target} && tar -xzf - -C {target}", archive, timeout)
        if ran.exit == 0:
            return
        full = "No space left" in ran.err
        what = "磁盘空间不足" if full else f"退出码 {ran.exit}"
        raise Permanent(
            f"{self._where}：解包到 {to} 失败（{what}）：{self._shown(ran.err)}",
            fault=Fault.DISK if full else Fault.COMMAND,
        )

    # -- root -----------------------------------------------------------------------------

    async def _way_to_root(self) -> str:
        """Find which form of sudo works here, before any command's own stdin is at stake."""
        ran = await self._probe(_SUDO_FREE)
        if isinstance(ran, Ran):
            return _SUDO_FREE
        hopeless = ran.ran.exit == _NOT_FOUND or "have a tty" in ran.ran.err
        if hopeless or not self._login.sudo_password:
            raise self._refusal(ran.ran)
        ran = await self._probe(_SUDO_ASKING)
        if isinstance(ran, Ran):
            return _SUDO_ASKING
        raise self._refusal(ran.ran, asked=True)

    async def _probe(self, sudo: str) -> Ran | _Refused:
        with contextlib.suppress(InDoubt):
            return await self._as_root(sudo, ":", b"", _PROBING)
        raise Transient(f"{self._where}：检查 sudo 时连接断开或没有回应，命令没有执行，可以重试")

    async def _as_root(
        self, sudo: str, command: str, stdin: bytes, timeout: float
    ) -> Ran | _Refused:
        # The mark on stderr proves that sudo let us through: without it nothing has run.
        mark = f"vigilbot-{secrets.token_hex(8)}"
        inner = shlex.quote(f"echo {mark} $$ >&2\n{command}")
        if sudo == _SUDO_ASKING:
            stdin = self._login.sudo_password.reveal().encode() + b"\n" + stdin
        ran = await self._run(f"{sudo} /bin/sh -c {inner}", stdin, timeout, mark=mark)
        _, found, after = ran.err.partition(f"{mark} ")
        if not found:
            return _Refused(ran)
        return Ran(ran.exit, ran.out, after.partition("\n")[2])

    def _refusal(self, ran: Ran, *, asked: bool = False) -> Permanent:
        said = self._shown(ran.err)
        lower = ran.err.lower()
        user = self._login.user
        if ran.exit == _NOT_FOUND:
            why = "服务器上没有安装 sudo，请安装，或改用 root 登录"
        elif "have a tty" in lower:
            why = f"sudo 要求终端（requiretty），请为用户 {user} 关闭该选项（{said}）"
        elif any(w in lower for w in ("not in the sudoers", "not allowed", "may not run")):
            why = f"用户 {user} 没有 sudo 权限，请在 sudoers 中授权（{said}）"
        elif asked:
            why = f"sudo 拒绝了登记的 sudo 密码，请核对（{said}）"
        elif "password" in lower and not self._login.sudo_password:
            why = f"sudo 要求输入密码，但没有登记 sudo 密码，请登记或配置 NOPASSWD（{said}）"
        else:
            why = f"sudo 拒绝执行（退出码 {ran.exit}）：{said}"
        return Permanent(f"{self._where}：{why}", fault=Fault.SUDO)

    # -- one command ------------------------------------------------------------------------

    async def _run(self, command: str, stdin: bytes, timeout: float, *, mark: str = "") -> Ran:
        process = await self._start(command, timeout)
        late = False
        out = err = b""
        try:
            async with asyncio.timeout(timeout):
                with contextlib.suppress(OSError):  # it ended without reading: its exit will tell
                    if stdin:
                        process.stdin.write(stdin)
                    process.stdin.write_eof()
                # asyncssh keeps what came before a lost connection and only leaves no exit code
                out, err = await process.communicate()
        except TimeoutError:
            late = True
        except (asyncssh.Error, OSError):
            pass
        finally:
            if process.returncode is None:
                _, seen = process.collect_output()
                with contextlib.suppress(OSError):
                    process.kill()
                process.close()
                if late and mark:
                    await self._kill_as_root(mark, seen or b"")
            elif late:  # it has ended, only something that it left behind holds its output open
                out, err = process.collect_output()
                process.close()
                late = False
        if late:
            raise InDoubt(
                f"{self._where}：命令 {timeout:g} 秒内没有结束，已尝试终止；"
                "它可能已部分执行，请上机确认后再决定是否重试",
                fault=Fault.DROPPED,
            )
        code = process.returncode
        if code is None:
            raise self._dropped()
        return Ran(code if code >= 0 else 128 - code, _text(out), _text(err))

    async def _start(self, command: str, timeout: float) -> asyncssh.SSHClientProcess[bytes]:
        if self._conn.is_closed():
            raise self._not_sent()
        failure: Exception
        try:
            async with asyncio.timeout(timeout):
                return await self._conn.create_process(command, encoding=None)
        except (asyncssh.Error, OSError) as error:
            failure = error
        if isinstance(failure, TimeoutError):
            self._conn.abort()
            raise self._dropped()
        if not isinstance(failure, asyncssh.ChannelOpenError):
            raise self._dropped()
        if failure.code == asyncssh.OPEN_REQUEST_SESSION_FAILED:
            if self._conn.is_closed():
                raise self._dropped()
            raise Permanent(
                f"{self._where}：服务器不允许执行命令（账号可能只限 SFTP 或被限制 shell）",
                fault=Fault.REFUSED,
            )
        if self._conn.is_closed():
            raise self._not_sent()
        raise Transient(
            f"{self._where}：服务器拒绝打开新的会话（可能达到 MaxSessions），命令未执行：{self._shown(failure.reason)}"
        )

    async def _kill_as_root(self, mark: str, seen: bytes) -> None:
        """Best effort: sshd signals as the login user, which what sudo started ignores."""
        pid = _text(seen).partition(f"{mark} ")[2].partition("\n")[0].strip()
        if not pid.isdecimal() or self._sudo is None:
            return
        # The shell first: one that outlives its child would go on to its next command.
        kill = f"kill -KILL {pid} $(pgrep -P {pid})"
        stdin = b""
        if self._sudo == _SUDO_ASKING:
            stdin = self._login.sudo_password.reveal().encode() + b"\n"
        with contextlib.suppress(OutsideError):
            await self._run(f"{self._sudo} /bin/sh -c {shlex.quote(kill)}", stdin, _CLEANING)

    def _not_sent(self) -> Transient:
        return Transient(f"{self._where}：SSH 连接已断开，命令没有发出，可以重试")

    def _dropped(self) -> InDoubt:
        return InDoubt(
            f"{self._where}：命令执行中 SSH 连接断开，命令可能已执行也可能没有，请上机确认",
            fault=Fault.DROPPED,
        )

    def _shown(self, text: str) -> str:
        return _scrubbed(text, self._login)


_SUDO_FREE = "sudo -n"
# A cached credential would leave the password unread, for the command to read: so forget it first.
_SUDO_ASKING = "sudo -k </dev/null >/dev/null 2>&1; sudo -S -p ''"


@final
class _Refused:
    """What sudo said instead of running the command."""

    def __init__(self, ran: Ran) -> None:
        self.ran = ran


@final
class _Client(asyncssh.SSHClient):
    """Decides on the host key, and remembers why a login failed."""

    def __init__(self, pinned: asyncssh.SSHKey | None) -> None:
        self.pinned = pinned
        self.presented: asyncssh.SSHKey | None = None
        self.expired = False

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        self.presented = key
        return self.pinned is None or key.public_data == self.pinned.public_data

    def password_change_requested(self, prompt: str, lang: str) -> tuple[str, str]:
        self.expired = True
        return cast("tuple[str, str]", NotImplemented)  # asyncssh's way to decline


async def _close(conn: asyncssh.SSHClientConnection) -> None:
    conn.close()
    try:
        async with asyncio.timeout(_CLOSING):
            await conn.wait_closed()
    except (asyncssh.Error, OSError):
        conn.abort()


def _private_key(login: Login) -> asyncssh.SSHKey | None:
    if not login.key:
        return None
    why = "登记的私钥无法读取，请提供 OpenSSH 格式的私钥"
    try:
        return asyncssh.import_private_key(login.key.reveal())
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError) as error:
        if "passphrase" in str(error).lower():
            why = "登记的私钥带有口令，请提供不带口令的私钥"
    raise Permanent(f"{_where(login)}：{why}", fault=Fault.SSH_AUTH)


def _pinned_key(login: Login) -> asyncssh.SSHKey | None:
    if not login.pinned:
        return None
    with contextlib.suppress(asyncssh.KeyImportError, ValueError):
        return asyncssh.import_public_key(login.pinned)
    raise Permanent(
        f"{_where(login)}：记录的主机密钥无法读取，请核对服务器后重新登记主机密钥",
        fault=Fault.HOST_KEY,
    )


def _not_connected(
    error: Exception, login: Login, client: _Client, timeout: float
) -> Transient | Permanent:
    where = _where(login)
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return Permanent(f"{where}：{_changed(client)}", fault=Fault.HOST_KEY)
    if isinstance(error, asyncssh.PermissionDenied) or "authentication fail" in str(error).lower():
        return Permanent(f"{where}：{_refused_login(login, client)}", fault=Fault.SSH_AUTH)
    if isinstance(error, asyncssh.ChannelOpenError):
        return _not_tunnelled(error, login)
    if isinstance(error, asyncssh.KeyExchangeFailed | asyncssh.ProtocolNotSupported):
        return Permanent(
            f"{where}：与服务器没有共同的 SSH 算法或协议版本，服务器的 SSH 可能过旧",
            fault=Fault.REFUSED,
        )
    if isinstance(error, ValueError | OverflowError):
        return Permanent(f"{where}：主机地址、端口或用户名的格式不正确", fault=Fault.OTHER)
    return Transient(f"{where}：{_unreachable(error, login, timeout)}", fault=Fault.NETWORK)


def _unreachable(error: Exception, login: Login, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"连接超时（{timeout:g} 秒内没有完成），请检查防火墙、安全组和网络"
    if isinstance(error, ConnectionRefusedError):
        return "连接被拒绝，请确认 SSH 服务已启动、端口正确"
    if isinstance(error, socket.gaierror):
        return "主机名无法解析，请检查主机名或 DNS"
    if isinstance(error, asyncssh.DisconnectError | ConnectionResetError | BrokenPipeError):
        return (
            "登录完成前连接被对方断开，请检查 SSH 服务、黑名单（fail2ban）和 MaxStartups："
            + _scrubbed(str(error), login)
        )
    return "无法连接：" + _scrubbed(str(error), login)


def _not_tunnelled(error: asyncssh.ChannelOpenError, login: Login) -> Transient | Permanent:
    where = _where(login)
    if error.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
        return Permanent(
            f"{where}：跳板机不允许转发，请打开 AllowTcpForwarding", fault=Fault.REFUSED
        )
    said = _scrubbed(error.reason, login)
    return Transient(f"{where}：跳板机连不到这台服务器：{said}", fault=Fault.NETWORK)


def _changed(client: _Client) -> str:
    if client.pinned is None or client.presented is None:
        return "无法读取服务器的主机密钥"
    return (
        f"主机密钥变了：记录的是 {client.pinned.get_fingerprint()}，"
        f"现在是 {client.presented.get_fingerprint()}；可能被冒充，也可能重装过，请核对后再继续"
    )


def _refused_login(login: Login, client: _Client) -> str:
    if client.expired:
        return f"用户 {login.user} 的密码已过期，服务器要求先修改密码"
    match bool(login.key), bool(login.password):
        case True, True:
            return f"用户 {login.user} 的密钥和密码都被拒绝，请核对用户名、密码和 authorized_keys"
        case True, False:
            return f"用户 {login.user} 的密钥被拒绝，请确认公钥已加入 authorized_keys"
        case False, True:
            return f"用户 {login.user} 的密码被拒绝，请核对用户名和密码，并确认允许密码登录"
        case _:
            return f"没有登记用户 {login.user} 的密码或密钥"


def _where(login: Login) -> str:
    place = f"{login.host}:{login.port}"
    return f"{place}（经跳板机 {login.via.host}:{login.via.port}）" if login.via else place


def _scrubbed(text: str, login: Login | None) -> str:
    """Cut what the far side said to a readable length, with every secret we know masked."""
    while login is not None:
        for secret in (login.password, login.sudo_password, login.key):
            if secret:
                text = text.replace(secret.reveal(), "***")
        login = login.via
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else "…" + text[-_SHOWN:]


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
