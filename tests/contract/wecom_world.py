"""WeCom as the contract suite looks at it: the real link against the simulator."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from adapters.card import Button, Buttons, Card, Form, loads, plain
from adapters.port import ChatPlatform
from adapters.wecom import wire
from adapters.wecom.link import WeCom
from adapters.words import Chat, File, Person, Receipt, Secret
from tests.sim.slack import SimClock
from tests.sim.wecom import BOT_ID, NAME, SECRET, Shown, WeComSim, read

_DEEDS = ("aibot_send_msg", "aibot_respond_msg")


class _Here(WeCom):
    """The link, with the enterprise up for as long as it is open."""

    def __init__(self, sim: WeComSim, clock: SimClock, state: Path) -> None:
        super().__init__(
            BOT_ID, Secret(SECRET), state=state, clock=clock, public_url="http://bot", ack=2.0
        )
        self._sim = sim

    async def __aenter__(self) -> Self:
        await self._sim.__aenter__()
        self._socket._url = self._sim.ws_url
        await super().__aenter__()
        for user in self._sim.users:
            await self.hear(user, f"@{user}")
        return self

    async def __aexit__(self, *exc: object) -> None:
        await super().__aexit__(*exc)
        await self._sim.__aexit__(None)

    async def hear(self, user: str, room: str) -> None:
        """Have somebody speak to the bot and ask for nothing: from now on it may speak there."""
        self._arrived.clear()
        await self._sim.say(user, room, f"@{NAME}", kind="image")
        await self._arrived.wait()


class WeComWorld:
    def __init__(self, folder: Path) -> None:
        self._clock = SimClock()
        self._sim = WeComSim(self._clock.now)
        self._state = folder / "wecom.sqlite"
        self._link = _Here(self._sim, self._clock, self._state)

    def person(self, name: str) -> Person:
        return Person("wecom", self._sim.user(name), name)

    def platform(self) -> ChatPlatform:
        self._link = _Here(self._sim, self._clock, self._state)
        return self._link

    async def found(self, title: str, people: Sequence[Person]) -> Chat:
        """Make a group by hand, as somebody must, and have one of it speak to the bot."""
        room = self._sim.found(title, *(person.id for person in people))
        await self._link.hear(people[0].id, room.id)
        return Chat("wecom", room.id, title)

    def lose_answer(self, *, blind: bool = False) -> None:
        for cmd in _DEEDS:
            self._sim.misbehave(cmd, "lost", *([] if blind else ["lost"]))

    def seen(self, chat: Chat) -> list[str]:
        """Return what was said; the cards under a text, and the page of a form, are part of it."""
        said: list[str] = []
        for one in self._sim.rooms[chat.id].shown:
            if one.kind == "template_card":
                card = self._known(one)
                if said and said[-1].partition("\n")[0] == f"【{card.title}】":
                    said.pop()
                said.append(plain(card) if _offers(card, one) else "?")
            else:
                said.append(read(one))
        return said

    def _known(self, one: Shown) -> Card:
        found = self._link._memory.get("card", one.body["task_id"])
        assert found
        return loads(json.loads(found[0])[2])

    def member_names(self, chat: Chat) -> set[str]:
        return {self._sim.users[one] for one in self._sim.rooms[chat.id].members}

    def rung(self, person: Person) -> list[str]:
        return self._sim.texts(f"@{person.id}")

    async def say(self, person: Person, chat: Chat, text: str, files: Sequence[File]) -> None:
        """Write to the bot; in a group nobody can hand it a file."""
        said = text if f"@{NAME}" in text else f"@{NAME} {text}"
        await self._sim.say(person.id, chat.id, said)

    async def press(self, person: Person, receipt: Receipt, action: str) -> None:
        """Press, and be sure of it where that is asked."""
        task = f"{receipt.id}-0"
        await self._pressed(person, receipt.chat, task, f"{wire.PRESS}{action}")
        card = self._sim.card(person.id, receipt.chat.id, task)
        sure = f"{wire.SURE}{action}"
        if any(button["key"] == sure for button in card["button_list"]):
            await self._sim.press(person.id, receipt.chat.id, task, sure)

    async def submit(
        self, person: Person, receipt: Receipt, action: str, values: dict[str, str], file: File
    ) -> None:
        """Have the form's page opened, which only the presser is shown, and send it."""
        task = f"{receipt.id}-0"
        await self._pressed(person, receipt.chat, task, f"{wire.ASK}{action}")
        card = self._sim.card(person.id, receipt.chat.id, task)
        token = card["jump_list"][0]["url"].rpartition("/")[2]
        assert await self._link.asked(token)
        sending = asyncio.ensure_future(self._link.filled(token, values, (file,)))
        await asyncio.wait({sending, asyncio.ensure_future(self._link._arrived.wait())}, timeout=2)
        if sending.done():
            sending.result()

    async def _pressed(self, person: Person, chat: Chat, task: str, key: str) -> None:
        self._sim.updated.clear()
        await self._sim.press(person.id, chat.id, task, key)
        async with asyncio.timeout(5):
            await self._sim.updated.wait()


def _offers(card: Card, one: Shown) -> bool:
    """Does a template card offer all the buttons and forms that its card has?"""
    shown = {button["key"] for button in one.body.get("button_list", ())}
    wanted = {f"{wire.PRESS}{b.action}" for b in _buttons(card) if not b.url}
    wanted |= {f"{wire.ASK}{block.action}" for block in card.blocks if isinstance(block, Form)}
    return shown == wanted


def _buttons(card: Card) -> list[Button]:
    return [b for block in card.blocks if isinstance(block, Buttons) for b in block.buttons]
