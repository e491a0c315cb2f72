"""The built bot with all that it remembers on PostgreSQL, the engine's journal included."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

import sqlalchemy as sa

from adapters.words import Person, Role
from storage.records import Member
from storage.store import Store
from storage.vault import Seal
from tests.chaos.mother import ROOT
from tests.chaos.test_kill import fresh

LI = Person("web", "li", "李工")
ZHAO = Person("web", "zhao", "赵主管")
CONFIG = """
[database]
url = "{url}"
[vault]
key = "env:KEY"
[web]
port = {port}
password = "env:PASSWORD"
"""
SCRIPT = """
title: 到合同确认为止
within: 30s
people: {li: {name: 李工}, zhao: {name: 赵主管}}
groups:
  ops: {title: 运营群, members: [li, zhao]}
steps:
  - {say: /onboard 海蓝科技, as: li, chat: ops}
  - fill: 客户接入登记
    as: li
    chat: ops
    values: {contacts: "王经理，13800000000", channels: feishu, servers: "web-01,127.0.0.1,1"}
  - {expect: {title: 客户接入, item: 确认合同已签, mark: waiting}, chat: 海蓝科技 监控交付}
  - {restart: true}
  - {press: 确认合同已签, card: 客户接入, as: zhao, chat: 海蓝科技 监控交付}
  - {expect: {title: 客户接入, item: 确认合同已签, mark: done}, chat: 海蓝科技 监控交付}
"""


async def test_a_bot_on_postgresql_walks_to_the_gate_and_behind_it(
    tmp_path: Path, postgres: str
) -> None:
    """Started again at the gate; and no database is a file."""
    url, key = fresh(postgres, "built"), Seal.new_key()
    async with Store(url, Seal(key)) as store:
        await store.create()
        async with store.unit() as unit:
            await unit.people.put(Member(LI, Role.ENGINEER))
            await unit.people.put(Member(ZHAO, Role.LEAD))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config, script = tmp_path / "vigilbot.toml", tmp_path / "gate.yaml"
    # The server of the tests asks for no password, and a configuration takes none in an address.
    text = CONFIG.format(url=url.replace(":@", "@"), port=port)
    await asyncio.to_thread(config.write_text, text, "utf-8")
    await asyncio.to_thread(script.write_text, SCRIPT, "utf-8")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", "play", str(script), "--config", str(config)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
        env={**os.environ, "KEY": key.reveal(), "PASSWORD": "芝麻开门"},
    )
    told, _ = await process.communicate()
    assert process.returncode == 0, told.decode()[-3000:]
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        segments = connection.execute(
            sa.text("SELECT workflow_uuid FROM dbos.workflow_status WHERE name = 'segment'")
        )
        assert [row[0].partition(":")[0] for row in segments][:1] == ["run"]
    engine.dispose()
    kept = {path.name.removesuffix("-journal") for path in (tmp_path / "data").iterdir()}
    assert kept == {"replica", "webchat.sqlite"}
