"""OpenSSH's own server on the loopback, for this user and one fresh key."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import psutil

from adapters.port import Login
from adapters.ssh import make_key

GREETING = b"SSH-2.0-"
USUAL = "/usr/sbin/sshd"


@dataclass(frozen=True, slots=True)
class OpenSsh:
    """A server that runs, and how to log in to it."""

    process: subprocess.Popen[bytes]
    login: Login

    def sessions(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@contextmanager
def serving(folder: Path, program: str = USUAL) -> Iterator[OpenSsh]:
    """Run `program`, an sshd, with its files in `folder`; it listens when this is entered."""
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    own, public = make_key()
    host = asyncssh.generate_private_key("ssh-ed25519")
    files = {"host": host.export_private_key().decode(), "authorized": public}
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
        (folder / name).chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = (
        *("ListenAddress=127.0.0.1", f"Port={port}", f"HostKey={folder / 'host'}"),
        *("PidFile=none", f"AuthorizedKeysFile={folder / 'authorized'}", "StrictModes=no"),
        *("UsePAM=no", "MaxStartups=2000", "LogLevel=QUIET", "UseDNS=no", "PrintMotd=no"),
        *("PermitRootLogin=prohibit-password", "Subsystem=sftp internal-sftp"),
        f"SetEnv=HOME={folder}",  # else the user's own files are read for every command
    )
    flags = [flag for option in options for flag in ("-o", option)]
    process = subprocess.Popen([program, "-D", "-f", "/dev/null", *flags])
    line = " ".join(host.export_public_key().decode().split()[:2])
    made = OpenSsh(process, Login("127.0.0.1", port, getpass.getuser(), key=own, pinned=line))
    try:
        _greeted(made)
        yield made
    finally:
        if process.poll() is None:
            for session in made.sessions():
                session.kill()
            process.terminate()
            process.wait()


def _greeted(server: OpenSsh) -> None:
    while server.process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", server.login.port), timeout=10) as asked:
                if asked.recv(len(GREETING)) == GREETING:
                    return
        except ConnectionRefusedError:
            continue
    raise RuntimeError("sshd ended before it listened")
