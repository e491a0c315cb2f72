"""Our SSH against the real OpenSSH server: what a stand-in of our own might forgive."""

from __future__ import annotations

import io
import os
import signal
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from adapters.port import Fault, InDoubt, OutsideError, Permanent, Transient
from adapters.ssh import SshServers, make_key
from adapters.words import Secret
from tests import needs
from tests.sim.openssh import USUAL, OpenSsh, serving


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OpenSsh]:
    with serving(tmp_path, needs.program("sshd", USUAL)) as made:
        yield made


async def test_a_command_its_exit_and_its_words(server: OpenSsh) -> None:
    async with SshServers().shell(server.login) as shell:
        ran = await shell.run("echo 出来; echo 错误 >&2; exit 7")
        assert (ran.exit, ran.out, ran.err) == (7, "出来\n", "错误\n")
        read = await shell.run("cat", stdin="甲\n".encode() * 100_000)
        assert read.out == "甲\n" * 100_000


async def test_a_bundle_is_laid_and_unpacked(server: OpenSsh, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        info = tarfile.TarInfo("agent/blob")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    there = tmp_path / "there"
    async with SshServers().shell(server.login) as shell:
        ran = await shell.run(f"mkdir -p {there} && tar -xzf - -C {there}", stdin=packed.getvalue())
    assert ran.exit == 0, ran.err
    assert (there / "agent/blob").read_bytes() == content


async def test_the_host_key_is_learnt_once_and_a_change_stops_it(server: OpenSsh) -> None:
    first = replace(server.login, pinned="")
    async with SshServers().shell(first) as shell:
        assert " ".join(shell.host_key.split()[:2]) == server.login.pinned
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    changed = replace(server.login, pinned=" ".join(other.split()[:2]))
    with pytest.raises(Permanent) as refused:
        async with SshServers().shell(changed) as shell:
            await shell.run("true")
    assert refused.value.fault is Fault.HOST_KEY


async def test_a_key_that_it_does_not_know_is_named(server: OpenSsh) -> None:
    key, _ = make_key()
    with pytest.raises(Permanent) as refused:
        async with SshServers().shell(replace(server.login, key=key)) as shell:
            await shell.run("true")
    assert refused.value.fault is Fault.SSH_AUTH
    assert key.reveal() not in str(refused.value)


async def test_it_goes_through_a_bastion(server: OpenSsh) -> None:
    through = replace(server.login, via=server.login)
    async with SshServers().shell(through) as shell:
        ran = await shell.run("echo $SSH_CONNECTION")
    assert ran.out.split()[0] == "127.0.0.1"


async def test_a_session_that_dies_in_the_middle_is_in_doubt(server: OpenSsh) -> None:
    async with SshServers().shell(server.login) as shell:
        with pytest.raises(InDoubt):
            await shell.run(f"kill -{signal.SIGKILL.value} $PPID; cat", stdin=b"")


async def test_a_server_that_has_gone_is_tried_again(server: OpenSsh) -> None:
    server.process.terminate()
    server.process.wait()
    with pytest.raises(Transient):
        async with SshServers().shell(server.login) as shell:
            await shell.run("true")


async def test_a_wrong_password_is_not_shown(server: OpenSsh) -> None:
    word = Secret("Geheim-1a2b3c")
    wrong = replace(server.login, key=Secret(""), password=word)
    with pytest.raises(OutsideError) as refused:
        async with SshServers().shell(wrong) as shell:
            await shell.run("true")
    assert word.reveal() not in str(refused.value)
