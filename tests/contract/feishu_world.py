"""Feishu as the contract suite looks at it: the real link and SDK against the simulator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from adapters.card import plain
from adapters.feishu import wire
from adapters.feishu.link import Feishu
from adapters.port import ChatPlatform, UsageError
from adapters.words import Chat, File, Person, Receipt, Secret
from tests.conftest import HandClock
from tests.sim.feishu import Fault, FeishuSim, carried


class _Here(Feishu):
    """The link, with Feishu's servers up for as long as it is open."""

    def __init__(self, sim: FeishuSim, state: Path) -> None:
        super().__init__(sim.app_id, Secret(sim.secret), state=state, clock=sim.clock)
        self._sim = sim

    async def __aenter__(self) -> Self:
        await self._sim.start()
        self._base_url = self._sim.base_url
        return await super().__aenter__()

    async def __aexit__(self, *exc: object) -> None:
        await super().__aexit__(*exc)
        await self._sim.stop()


class FeishuWorld:
    def __init__(self, folder: Path) -> None:
        self._sim = FeishuSim(HandClock())
        self._state = folder / "feishu.sqlite"

    def person(self, name: str) -> Person:
        return Person("feishu", self._sim.person(name), name)

    def platform(self) -> ChatPlatform:
        return _Here(self._sim, self._state)

    def seen(self, chat: Chat) -> list[str]:
        shown = self._sim.seen(chat.id)
        return [one if isinstance(one, str) else plain(one) for one in shown]

    def member_names(self, chat: Chat) -> set[str]:
        return {self._sim.people[one] for one in self._sim.groups[chat.id].members}

    def rung(self, person: Person) -> list[str]:
        return self._sim.rung(person.id)

    def lose_answer(self, *, blind: bool = False) -> None:
        """Feishu has keys for everything: nothing is looked up, so `blind` changes nothing."""
        for deed in ("chats", "messages", "files"):
            self._sim.misbehave(f"POST /open-apis/im/v1/{deed}", Fault.LOST)

    async def say(self, person: Person, chat: Chat, text: str, files: Sequence[File]) -> None:
        await self._sim.say(person.id, chat.id, text, files)

    async def press(self, person: Person, receipt: Receipt, action: str) -> None:
        await self._sim.press(person.id, receipt.id, action)

    async def submit(
        self, person: Person, receipt: Receipt, action: str, values: dict[str, str], file: File
    ) -> None:
        """Post the file, as the form's hint says, and send the form.

        Feishu's client checks all but numbers; those the bot answers in a toast (`test_feishu_link`
        sees it), and here both are told at once.
        """
        _, button = self._sim.form(person.id, receipt.id, action)
        try:
            self._sim.fill(person.id, receipt.id, action, values)
        except UsageError as refused:
            raise UsageError(f"{refused}；{wire.complaint(carried(button), values)}") from refused
        self._sim.post_file(person.id, receipt.chat.id, file)
        await self._sim.submit(person.id, receipt.id, action, values)
