"""Slack as one of the places where the whole program is at work."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from pathlib import Path

from adapters.port import ChatPlatform, Clock
from adapters.slack import draw, marks
from adapters.slack.link import Slack
from adapters.words import Chat, File, Person, Secret
from tests.e2e.abroad import MACHINE
from tests.sim.slack import APP_TOKEN, BOT_TOKEN, SlackSim


class SlackCountry:
    """A workspace and the people in it."""

    def __init__(self, clock: Clock = MACHINE) -> None:
        self.clock = clock
        self.sim = SlackSim()

    async def start(self) -> None:
        await self.sim.__aenter__()

    async def stop(self) -> None:
        await self.sim.__aexit__(None)

    def platform(self, folder: Path) -> ChatPlatform:
        return Slack(
            Secret(BOT_TOKEN),
            Secret(APP_TOKEN),
            clock=self.clock,
            base_url=self.sim.base_url,
        )

    def person(self, name: str) -> Person:
        its_id = f"U{name.encode().hex().upper()}"
        self.sim.users[its_id] = name
        return Person("slack", its_id, name)

    def found(self, title: str, *people: Person) -> Chat:
        return Chat("slack", self.sim.channel(title, *(one.id for one in people)), title)

    def find(self, title: str) -> Chat | None:
        known = [one.id for one in self.sim.channels.values() if one.purpose == title]
        return Chat("slack", known[0], title) if known else None

    def join(self, chat: Chat, *people: Person) -> None:
        self.sim.channels[chat.id].members.update(one.id for one in people)

    async def until(self, true: Callable[[], bool], within: float) -> None:
        await self.sim.until(true, within)

    def posts(self, chat: Chat) -> list[tuple[str, str]]:
        return [
            (one["ts"], html.unescape(one["text"]) or one["files"][0]["title"])
            for one in self.sim.said(chat.id)
        ]

    async def say(self, person: Person, chat: Chat, text: str) -> None:
        await self.sim.say(person.id, chat.id, f"@vigilbot {text}")

    async def press(self, person: Person, chat: Chat, card: str, action: str) -> None:
        envelope = await self.sim.press(person.id, chat.id, card, action)
        await envelope.acked

    async def submit(
        self,
        person: Person,
        chat: Chat,
        card: str,
        action: str,
        values: Mapping[str, str],
        file: File | None,
    ) -> None:
        shown = next(one for one in self.sim.said(chat.id) if one["ts"] == card)
        forms = [
            block["block_id"]
            for block in shown["blocks"]
            if block["type"] == "actions" and block["elements"][0]["action_id"].startswith("form:")
        ]
        place = forms.index(f"{draw.FORM}:{marks.stamp(action)}")
        view = await self.sim.open_form(person.id, chat.id, card, place)
        envelope = await self.sim.submit(person.id, view, values, [file] if file else [])
        assert not await envelope.acked
