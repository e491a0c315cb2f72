"""Servers of a pretend customer: real SSH on loopback, a real shell in a directory of its own.

`async with Hosts(directory, count=3) as hosts` starts them; each `Host` has a `Spec` (how to
reach it, what it declares) and faults that are switched with `inject` and `mend` at run time.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import random
import re
import secrets
import shlex
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncssh

from adapters.words import NOTHING, Secret

STANDINS = Path(__file__).with_name("standins")
AGENT_BUNDLE = Path(__file__).parent.parent / "agent_bundle"
LOOPBACK = "127.0.0.1"
PORTS = range(20_000, 32_000)  # below the range from which outgoing connections take theirs
CONFINED = "opt|etc|home|var|tmp|root|run|srv|data|backup"
FOLDERS = ("opt", "etc", "home", "bin", "var/log", "run", "tmp", "root", ".sandbox")
CHUNK = 65_536


class Sudo(StrEnum):
    FREE = "free"
    PASSWORD = "password"  # noqa: S105 - a mode, not a password
    MISSING = "missing"


class Fault(StrEnum):
    REFUSE = "refuse"  # nothing listens
    HANG = "hang"  # TCP is taken, and never a word
    WRONG_PASSWORD = "wrong password"  # noqa: S105 - a fault, not a password
    DISK_FULL = "disk full"
    NO_SUDO = "no sudo"
    DROP = "drop"  # the connection breaks after a command has begun; the command goes on
    NEW_HOST_KEY = "new host key"
    CLOCK_SKEW = "clock skew"


@dataclass(frozen=True, slots=True)
class Spec:
    """What a host is. Port 0 and an empty password are chosen once and kept in the directory."""

    name: str
    hostname: str = ""
    host: str = LOOPBACK
    port: int = 0
    user: str = "ops"
    password: Secret = NOTHING
    cpu: int = 4
    memory_mb: int = 8192
    disk_gb: int = 100
    sudo: Sudo = Sudo.FREE
    docker: bool = True
    os: str = "Ubuntu 22.04.4 LTS"
    arch: str = "x86_64"
    ports: tuple[int, ...] = (22,)  # shown as taken by `ss`, beside the machine's real ones


@dataclass(slots=True)
class Load:
    """What the host's agent reports; `df` and `free` say the same."""

    cpu_percent: float = 12.5
    memory_percent: float = 37.0
    disk_percent: float = 30.0


@dataclass(slots=True)
class _Faults:
    on: set[Fault] = field(default_factory=set)
    match: str = ""
    times: int | None = None
    seconds: int = 0


def _alive(pid: int, root: str) -> bool:
    try:
        shown = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return f"{root}/".encode() in shown


def _free_port(wanted: int) -> int:
    tried = [wanted] if wanted else []
    for port in [*tried, *random.sample(PORTS, 200)]:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise OSError("no free port for a sandbox host")


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write whole or not at all; an unchanged file is left alone."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.chmod(mode)
    new.replace(path)


class _Files(asyncssh.SFTPServer):
    """SFTP below the host's directory, on a disk that may be full."""

    def __init__(self, chan: asyncssh.SSHServerChannel[bytes], host: Host) -> None:
        super().__init__(chan, chroot=os.fsencode(host.root))
        self._host = host

    def write(self, file_obj: object, offset: int, data: bytes) -> int:
        if self._host.has(Fault.DISK_FULL):
            raise asyncssh.SFTPNoSpaceOnFilesystem("No space left on device")
        written = super().write(file_obj, offset, data)
        assert isinstance(written, int)
        return written


class _Door(asyncssh.SSHServer):
    """Who may come in."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._conn: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._conn = conn
        self._host.connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._conn is not None:
            self._host.connections.discard(self._conn)

    def begin_auth(self, username: str) -> bool:
        keys = self._host.home / ".ssh" / "authorized_keys"
        assert self._conn is not None
        if username == self._host.spec.user and keys.exists():
            good = []
            for line in keys.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError, asyncssh.KeyImportError):
                    asyncssh.import_authorized_keys(line)
                    good.append(line)
            if any(line.strip() and not line.startswith("#") for line in good):
                read = asyncssh.import_authorized_keys("\n".join(good))
                self._conn.set_authorized_keys(read)
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        if self._host.has(Fault.WRONG_PASSWORD) or username != self._host.spec.user:
            return False
        known = self._host.spec.password.reveal()
        return hmac.compare_digest(password.encode(), known.encode())

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> bool:
        """Let this host serve as a bastion, on this machine alone."""
        return dest_host in (LOOPBACK, "localhost")


class Host:
    """One running host."""

    def __init__(self, root: Path, spec: Spec, agent_interval: float | None) -> None:
        self.root = root
        self.spec = spec
        self.load = Load()
        self.commands: list[str] = []  # as the client sent them
        self.connections: set[asyncssh.SSHServerConnection] = set()
        self._agent_interval = agent_interval
        self._lead = 0
        self._faults = _Faults()
        self._listener: asyncssh.SSHAcceptor | asyncio.Server | None = None
        self._running: set[asyncio.subprocess.Process] = set()
        self._silent: set[asyncio.StreamWriter] = set()
        confined = rf"{re.escape(str(root))}|(?<![\w./}}~-])/(?=(?:{CONFINED})(?![\w.-]))"
        self._absolute = re.compile(confined)

    def __repr__(self) -> str:
        return f"Host({self.spec!r})"

    @property
    def home(self) -> Path:
        return self.root / ("root" if self.spec.user == "root" else f"home/{self.spec.user}")

    @property
    def installs(self) -> list[str]:
        """One line for each time that the agent's installer ran to its end of copying."""
        return self._lines("var/log/installs.log")

    @property
    def docker_calls(self) -> list[str]:
        return self._lines("var/log/docker.log")

    @property
    def host_key(self) -> str:
        """The public key that is shown at present, as a line of OpenSSH."""
        return self._key().export_public_key().decode().strip()

    def has(self, fault: Fault) -> bool:
        return fault in self._faults.on

    def authorize(self, public_key: str) -> None:
        """Do what a customer does who pastes the bot's line into authorized_keys."""
        folder = self.home / ".ssh"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (folder / "authorized_keys").open("a", encoding="utf-8") as keys:
            keys.write(public_key.strip() + "\n")

    def agent_pid(self) -> int | None:
        """Return the pid of the agent that runs on this host, if one does."""
        for pid in self._pids():
            return pid
        return None

    def set_load(
        self,
        *,
        cpu_percent: float | None = None,
        memory_percent: float | None = None,
        disk_percent: float | None = None,
    ) -> None:
        """Change what the agent reports from its next round on."""
        now = self.load
        self.load = Load(
            now.cpu_percent if cpu_percent is None else cpu_percent,
            now.memory_percent if memory_percent is None else memory_percent,
            now.disk_percent if disk_percent is None else disk_percent,
        )
        self._declare()

    def keep_time(self, lead: timedelta) -> None:
        """Go by a clock that is so far ahead of the machine's, to the second."""
        self._lead = round(lead.total_seconds())
        self._declare()

    async def inject(
        self, fault: Fault, *, match: str = "", times: int | None = None, seconds: int = 3600
    ) -> None:
        """Switch a fault on.

        `match` and `times` belong to DROP: only commands that contain the text, only so often
        (for ever, when None). `seconds` belongs to CLOCK_SKEW.
        """
        self._faults.on.add(fault)
        if fault is Fault.DROP:
            self._faults.match, self._faults.times = match, times
        if fault is Fault.CLOCK_SKEW:
            self._faults.seconds = seconds
        await self._apply(fault)

    async def mend(self, fault: Fault | None = None) -> None:
        """Switch one fault off, or all of them."""
        for each in list(self._faults.on) if fault is None else [fault]:
            self._faults.on.discard(each)
            await self._apply(each)

    async def start(self) -> None:
        for folder in (*FOLDERS, str(self.home.relative_to(self.root))):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        for standin in STANDINS.iterdir():
            if standin.is_file():
                _write(self.root / "bin" / standin.name, standin.read_text("utf-8"), 0o755)
        python = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -S "$@"\n'
        _write(self.root / "bin/python3", python, 0o755)
        name, _, version = self.spec.os.partition(" ")
        number = version.split(" ", 1)[0]
        release = (
            f'PRETTY_NAME="{self.spec.os}"\nNAME="{name}"\nID={name.lower()}\n'
            f'VERSION_ID="{".".join(number.split(".")[:2])}"\n'
        )
        _write(self.root / "etc/os-release", release)
        _write(self.root / "etc/hostname", self.spec.hostname + "\n")
        self._declare()
        await self._listen()
        await self._boot()

    async def stop(self) -> None:
        await self._deafen()
        for process in list(self._running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        await self.stop_agent()

    async def stop_agent(self) -> None:
        """End the processes of this host's services: asked first, killed after five seconds."""
        pids = self._pids()
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    while pids := [pid for pid in pids if _alive(pid, str(self.root))]:  # noqa: ASYNC110
                        await asyncio.sleep(0.02)
            if not pids:
                break
        for path in (self.root / "run").glob("*.pid"):
            path.unlink(missing_ok=True)

    def confine(self, command: str) -> str:
        """Point /opt, /etc and the like in a command at this host's directory."""
        root = str(self.root)
        return self._absolute.sub(lambda m: root if m[0] == root else f"{root}/", command)

    def environment(self) -> dict[str, str]:
        """Return the whole environment of a command on this host: nothing is inherited."""
        told = {
            "PATH": f"{self.root}/bin:/usr/bin:/bin",
            "HOME": str(self.home),
            "USER": self.spec.user,
            "LOGNAME": self.spec.user,
            "SHELL": "/bin/sh",
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.root / "tmp"),
            "VIGIL_HOST_ROOT": str(self.root),
        }
        if self._agent_interval is not None:
            told["VIGIL_AGENT_INTERVAL"] = str(self._agent_interval)
        return told

    def _lines(self, path: str) -> list[str]:
        try:
            return (self.root / path).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []

    def _pids(self) -> list[int]:
        found = []
        for path in (self.root / "run").glob("*.pid"):
            text = path.read_text(encoding="utf-8").strip()
            if text.isdigit() and _alive(int(text), str(self.root)):
                found.append(int(text))
        return found

    def _key(self) -> asyncssh.SSHKey:
        name = "host_key.new" if self.has(Fault.NEW_HOST_KEY) else "host_key"
        path = self.root / ".sandbox" / name
        if not path.exists():
            text = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
            _write(path, text, 0o600)
        return asyncssh.read_private_key(path)

    def _declare(self) -> None:
        """Write down for the stand-ins and the agent what this host is at this moment."""
        spec, load = self.spec, self.load
        disk_mb = spec.disk_gb * 1024
        full = self.has(Fault.DISK_FULL)
        disk_used = disk_mb if full else int(disk_mb * load.disk_percent / 100)
        memory_used = int(spec.memory_mb * load.memory_percent / 100)
        sudo = Sudo.MISSING if self.has(Fault.NO_SUDO) else spec.sudo
        skew = self._lead + (self._faults.seconds if self.has(Fault.CLOCK_SKEW) else 0)
        password = hashlib.sha256(spec.password.reveal().encode()).hexdigest()
        words: dict[str, object] = {
            "HOSTNAME": spec.hostname,
            "USER": spec.user,
            "ADDRESS": spec.host,
            "CPU": spec.cpu,
            "MEMORY_MB": spec.memory_mb,
            "MEMORY_USED_MB": memory_used,
            "DISK_MB": disk_mb,
            "DISK_USED_MB": disk_used,
            "ARCH": spec.arch,
            "SUDO": sudo.value,
            "SUDO_SUM": password,
            "DOCKER": int(spec.docker),
            "FULL": int(full),
            "SKEW": skew,
        }
        lines = [f"H_{key}={shlex.quote(str(value))}\n" for key, value in words.items()]
        lines.append(f"H_PORTS='{' '.join(map(str, spec.ports))}'\n")
        _write(self.root / ".sandbox/host.sh", "".join(lines), 0o600)
        self._offer("sudo", sudo is not Sudo.MISSING)
        self._offer("docker", spec.docker)
        figures = {
            "address": spec.host,
            "os": spec.os,
            "arch": spec.arch,
            "cpu": spec.cpu,
            "memory_mb": spec.memory_mb,
            "memory_used_mb": memory_used,
            "disk_mb": disk_mb,
            "disk_used_mb": disk_used,
            "cpu_percent": load.cpu_percent,
            "lead": self._lead,
        }
        _write(self.root / ".sandbox/host.json", json.dumps(figures), 0o600)

    def _offer(self, tool: str, there: bool) -> None:
        """Take a stand-in away, unless the machine's own tool would then be found instead."""
        path = self.root / "bin" / tool
        if there or any(Path(real, tool).exists() for real in ("/usr/bin", "/bin")):
            _write(path, (STANDINS / tool).read_text("utf-8"), 0o755)
        else:
            path.unlink(missing_ok=True)

    async def _apply(self, fault: Fault) -> None:
        if fault in (Fault.REFUSE, Fault.HANG, Fault.NEW_HOST_KEY):
            await self._deafen()
            await self._listen()
        else:
            self._declare()

    async def _deafen(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        for writer in list(self._silent):
            writer.close()
        waiting = list(self.connections)
        for conn in waiting:
            conn.abort()
        for conn in waiting:
            await conn.wait_closed()
        if listener is not None:
            await listener.wait_closed()

    async def _listen(self) -> None:
        if self.has(Fault.REFUSE):
            return
        if self.has(Fault.HANG):
            self._listener = await asyncio.start_server(self._hush, LOOPBACK, self.spec.port)
            return
        self._listener = await asyncssh.create_server(
            lambda: _Door(self),
            LOOPBACK,
            self.spec.port,
            server_host_keys=[self._key()],
            process_factory=self._serve,
            sftp_factory=lambda chan: _Files(chan, self),
            encoding=None,
            reuse_address=True,
            login_timeout=30,
        )

    async def _hush(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._silent.add(writer)
        try:
            with contextlib.suppress(ConnectionError):
                while await reader.read(CHUNK):
                    pass
        finally:
            self._silent.discard(writer)
            writer.close()

    async def _boot(self) -> None:
        """Start the enabled services, as a machine does that comes up again."""
        for path in (self.root / "run").glob("*.enabled"):
            process = await self._spawn(f"systemctl start {shlex.quote(path.stem)}")
            await process.communicate()
            self._running.discard(process)

    async def _spawn(self, command: str | None) -> asyncio.subprocess.Process:
        shell = ["/bin/sh"] if command is None else ["/bin/sh", "-c", self.confine(command)]
        process = await asyncio.create_subprocess_exec(
            *shell,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.root,
            env=self.environment(),
            start_new_session=True,
        )
        self._running.add(process)
        return process

    def _to_drop(self, command: str) -> bool:
        faults = self._faults
        if Fault.DROP not in faults.on or faults.match not in command:
            return False
        if faults.times is not None:
            faults.times -= 1
            if faults.times <= 0:
                faults.on.discard(Fault.DROP)
        return True

    async def _serve(self, far: asyncssh.SSHServerProcess[bytes]) -> None:
        """Run one command. A lost connection does not end it, as with a real sshd."""
        command = far.command
        self.commands.append(command or "")
        process = await self._spawn(command)
        assert process.stdout is not None
        assert process.stderr is not None
        dropped = self._to_drop(command or "")

        def broken() -> None:
            conn = far.get_extra_info("connection")
            assert isinstance(conn, asyncssh.SSHServerConnection)
            conn.abort()

        spoke = broken if dropped else None
        feeding = asyncio.create_task(_feed(far, process))
        try:
            await asyncio.gather(
                _pour(process.stdout, far.stdout, spoke), _pour(process.stderr, far.stderr, spoke)
            )
            code = await process.wait()
        finally:
            feeding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await feeding
            self._running.discard(process)
        if dropped:
            broken()
        elif not far.is_closing():
            far.exit(code if code >= 0 else 128 - code)


async def _feed(far: asyncssh.SSHServerProcess[bytes], process: asyncio.subprocess.Process) -> None:
    """Carry the input and the signals over."""
    into = process.stdin
    assert into is not None
    try:
        while True:
            try:
                data = await far.stdin.read(CHUNK)
            except asyncssh.TerminalSizeChanged:
                continue
            except asyncssh.SignalReceived as told:
                number = getattr(signal, f"SIG{told.signal}", signal.SIGTERM)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
                continue
            if not data:
                break
            into.write(data)
            await into.drain()
    except (asyncssh.Error, asyncssh.BreakReceived, OSError):
        pass
    finally:
        into.close()
        with contextlib.suppress(OSError):
            await into.wait_closed()


async def _pour(
    source: asyncio.StreamReader,
    into: asyncssh.SSHWriter[bytes],
    spoke: Callable[[], None] | None,
) -> None:
    """Carry the output over; when nobody listens any more, still let the command finish."""
    heard = True
    while data := await source.read(CHUNK):
        if spoke is not None:
            spoke()
            heard = False
        if heard:
            try:
                into.write(data)
                await into.drain()
            except (asyncssh.Error, OSError):
                heard = False


class Hosts:
    """All hosts of a directory: the same names, ports, passwords and keys at every start."""

    def __init__(
        self,
        directory: Path,
        *,
        count: int = 3,
        specs: Sequence[Spec] | None = None,
        agent_interval: float | None = None,
    ) -> None:
        self.directory = directory.resolve()
        if not re.fullmatch(r"[\w./+-]+", str(self.directory)):
            raise ValueError(f"a shell could misread this directory: {self.directory}")
        self._asked = specs if specs is not None else _declared(count)
        names = [spec.name for spec in self._asked]
        if len(set(names)) != len(names):
            raise ValueError("two hosts have one name")
        for name in names:
            if not re.fullmatch(r"[A-Za-z0-9][\w-]*", name):
                raise ValueError(f"not a name for a host: {name!r}")
        self._agent_interval = agent_interval
        self._hosts: dict[str, Host] = {}

    def __iter__(self) -> Iterator[Host]:
        return iter(self._hosts.values())

    def __len__(self) -> int:
        return len(self._hosts)

    def __getitem__(self, which: str | int) -> Host:
        return self._hosts[which] if isinstance(which, str) else list(self)[which]

    @property
    def specs(self) -> tuple[Spec, ...]:
        return tuple(host.spec for host in self)

    async def __aenter__(self) -> Self:
        self._prepare()
        try:
            await asyncio.gather(*(host.start() for host in self))
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._close()

    async def stop_agents(self) -> None:
        """End every agent process that was started on these hosts, and nothing else."""
        await asyncio.gather(*(host.stop_agent() for host in self))

    async def _close(self) -> None:
        await asyncio.gather(*(host.stop() for host in self))

    def _prepare(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / "hosts.json"
        kept: dict[str, dict[str, Any]] = (
            json.loads(path.read_text("utf-8")) if path.exists() else {}
        )
        taken = {spec.port for spec in self._asked if spec.port}
        for spec in self._asked:
            known = kept.get(spec.name, {})
            port = _free_port(spec.port or int(known.get("port", 0)))
            while port in taken and port != spec.port:
                port = _free_port(0)
            taken.add(port)
            password = spec.password or Secret(known.get("password") or secrets.token_urlsafe(12))
            whole = replace(spec, port=port, password=password, hostname=spec.hostname or spec.name)
            kept[spec.name] = {"port": port, "password": password.reveal()}
            root = self.directory / spec.name
            self._hosts[spec.name] = Host(root, whole, self._agent_interval)
        _write(path, json.dumps(kept, indent=1), 0o600)


def _declared(count: int) -> list[Spec]:
    """Make up servers that differ from one another."""
    sizes = ((4, 8192, 100), (8, 16_384, 200), (2, 4096, 40))
    found = []
    for number in range(count):
        cpu, memory_mb, disk_gb = sizes[number % len(sizes)]
        name = f"node-{number + 1:02d}"
        found.append(Spec(name, cpu=cpu, memory_mb=memory_mb, disk_gb=disk_gb))
    return found
