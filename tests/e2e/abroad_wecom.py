"""WeCom as one of the places where the whole program is at work."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx

from adapters.card import Card, loads, plain
from adapters.port import ChatPlatform, Clock
from adapters.wecom import wire
from adapters.wecom.link import WeCom
from adapters.words import Chat, File, Person, Secret
from tests.e2e.abroad import MACHINE
from tests.sim.wecom import BOT_ID, NAME, SECRET, Shown, WeComSim, read


class WeComCountry:
    """An enterprise and its people; the page of a form is opened with a browser of theirs."""

    def __init__(self, clock: Clock = MACHINE) -> None:
        self.clock = clock
        self.sim = WeComSim(clock.now)

    async def start(self) -> None:
        await self.sim.__aenter__()

    async def stop(self) -> None:
        await self.sim.__aexit__(None)

    def platform(self, folder: Path) -> ChatPlatform:
        self.link = WeCom(
            BOT_ID,
            Secret(SECRET),
            state=folder / "wecom.sqlite",
            clock=self.clock,
            ws_url=self.sim.ws_url,
        )
        return self.link

    def person(self, name: str) -> Person:
        return Person("wecom", self.sim.user(name), name)

    def found(self, title: str, *people: Person) -> Chat:
        room = self.sim.found(title, *(one.id for one in people))
        return Chat("wecom", room.id, title)

    def find(self, title: str) -> Chat | None:
        rooms = [room for room in self.sim.rooms.values() if room.title == title]
        return Chat("wecom", rooms[0].id, title) if rooms else None

    def join(self, chat: Chat, *people: Person) -> None:
        self.sim.rooms[chat.id].members |= {one.id for one in people}

    async def until(self, true: Callable[[], bool], within: float) -> None:
        await self.sim.until(true, within)

    def posts(self, chat: Chat) -> list[tuple[str, str]]:
        """Return what was said; what can be pressed and filled in is read off its card."""
        return [self._read(one) for one in self.sim.rooms[chat.id].shown]

    def _read(self, one: Shown) -> tuple[str, str]:
        if one.kind != "template_card":
            return "", read(one)
        task = one.body["task_id"]
        return task, plain(self._card(task)) if "✓" not in str(one.body) else read(one)

    def _card(self, task: str) -> Card:
        found = self.link._memory.get("card", task)
        assert found
        return loads(json.loads(found[0])[2])

    async def say(self, person: Person, chat: Chat, text: str) -> None:
        alone = chat.id.startswith("@")
        await self.sim.say(person.id, chat.id, text if alone else f"@{NAME} {text}")

    async def press(self, person: Person, chat: Chat, card: str, action: str) -> None:
        await self._press(person, chat, card, f"{wire.PRESS}{action}")
        sure = f"{wire.SURE}{action}"
        seen = self.sim.card(person.id, chat.id, card)
        if any(button["key"] == sure for button in seen["button_list"]):
            await self.sim.press(person.id, chat.id, card, sure)

    async def submit(
        self,
        person: Person,
        chat: Chat,
        card: str,
        action: str,
        values: Mapping[str, str],
        file: File | None,
    ) -> None:
        """Have the page opened that only the presser is shown, and send what it asks."""
        await self._press(person, chat, card, f"{wire.ASK}{action}")
        url = self.sim.card(person.id, chat.id, card)["jump_list"][0]["url"]
        async with httpx.AsyncClient(trust_env=False, timeout=30) as browser:
            page = await browser.get(url)
            assert page.status_code == 200, page.text
            told = _filled(page.text) | {
                name: value.split(",") if name == "channels" else value
                for name, value in values.items()
            }
            posted = [("file", (file.name, file.content))] if file else []
            sent = await browser.post(url, data=told, files=posted or {"": ("", b"")})
            assert sent.status_code == 200, sent.text
            again = await browser.get(url)
            assert again.status_code == 410

    async def _press(self, person: Person, chat: Chat, card: str, key: str) -> None:
        self.sim.updated.clear()
        await self.sim.press(person.id, chat.id, card, key)
        async with asyncio.timeout(10):
            await self.sim.updated.wait()


def _filled(page: str) -> dict[str, str | list[str]]:
    """Return what the page is prefilled with, as a browser would send it."""
    boxes = re.findall(r'<input type="(?:text|number)" name="(\w+)" value="([^"]*)"', page)
    areas = re.findall(r'<textarea name="(\w+)"[^>]*>([^<]*)</textarea>', page)
    chosen: dict[str, str | list[str]] = dict(boxes + areas)
    for name, options in re.findall(r'<select name="(\w+)">(.*?)</select>', page):
        picked = re.findall(r'value="([^"]*)" selected', options)
        chosen[name] = picked[0] if picked else ""
    return chosen
