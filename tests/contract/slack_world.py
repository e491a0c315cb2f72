"""Slack as the contract suite looks at it: the real link and SDK against the simulator."""

from __future__ import annotations

import html
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import Any, Self, cast

from fastapi import FastAPI

from adapters.port import ChatPlatform, UsageError
from adapters.slack import draw
from adapters.slack.link import Slack
from adapters.words import Chat, File, Person, Receipt, Secret
from bot.web import callbacks
from bot.web.site import listening, serving
from tests.sim.slack import APP_TOKEN, BOT_TOKEN, SimClock, SlackSim
from tests.sim.slack_calls import SIGNING_SECRET

_DEEDS = ("chat.postMessage", "files.completeUploadExternal", "conversations.create")


class _Here(Slack):
    """The link, with the workspace up for as long as it is open."""

    def __init__(self, sim: SlackSim) -> None:
        super().__init__(Secret(BOT_TOKEN), Secret(APP_TOKEN), clock=SimClock())
        self._sim = sim

    async def __aenter__(self) -> Self:
        await self._sim.__aenter__()
        self._calls._base = self._sim.base_url
        return await super().__aenter__()

    async def __aexit__(self, *exc: object) -> None:
        await super().__aexit__(*exc)
        await self._sim.__aexit__(None)


class _Called(_Here):
    """The link without a socket, and the web server whose address Slack calls instead."""

    def __init__(self, sim: SlackSim) -> None:
        super().__init__(sim)
        self._app, self._signing_secret = None, Secret(SIGNING_SECRET)
        self._served = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._sim.address = await self._served.enter_async_context(called(self))
        await self._sim.redeliver()
        return self

    async def __aexit__(self, *exc: object) -> None:
        # What is still asked is answered with "not kept" before the server goes.
        await Slack.__aexit__(self, *exc)
        await self._served.aclose()
        await self._sim.__aexit__(None)


@asynccontextmanager
async def called(slack: Slack) -> AsyncIterator[str]:
    """Serve the bot's callbacks until left; the address is what is told to Slack."""
    site = FastAPI()
    site.include_router(callbacks.router(cast("Any", SimpleNamespace(chats={"slack": slack}))))
    taken = listening("127.0.0.1", 0)
    with taken:
        async with serving(site, taken):
            yield f"http://127.0.0.1:{taken.getsockname()[1]}/callbacks/slack"


class SlackWorld:
    def __init__(self) -> None:
        self._sim = SlackSim()

    def person(self, name: str) -> Person:
        return Person("slack", self._sim.user(name), name)

    def platform(self) -> ChatPlatform:
        return _Here(self._sim)

    def lose_answer(self, *, blind: bool = False) -> None:
        for method in _DEEDS:
            self._sim.misbehave(method, "lost")
        if blind:
            self._sim.misbehave("conversations.history", "500")

    def seen(self, chat: Chat) -> list[str]:
        return [_shown(one) for one in self._sim.channels[chat.id].messages]

    def member_names(self, chat: Chat) -> set[str]:
        members = self._sim.channels[chat.id].members - {"UBOT"}
        return {self._sim.users[one] for one in members}

    def rung(self, person: Person) -> list[str]:
        return [
            _shown(one)
            for channel in self._sim.channels.values()
            if channel.im and person.id in channel.members
            for one in channel.messages
        ]

    async def say(self, person: Person, chat: Chat, text: str, files: Sequence[File]) -> None:
        """Write to the bot: in a channel Slack tells it of mentions alone."""
        said = text if "@Vigilbot" in text else f"@Vigilbot {text}"
        await self._sim.say(person.id, chat.id, said, files=files)

    async def press(self, person: Person, receipt: Receipt, action: str) -> None:
        ts = receipt.id.partition("#")[0]
        await self._sim.press(person.id, receipt.chat.id, ts, action)

    async def submit(
        self, person: Person, receipt: Receipt, action: str, values: dict[str, str], file: File
    ) -> None:
        """Open the form's modal, fill it in and send it."""
        ts = receipt.id.partition("#")[0]
        forms = _forms(self._sim, receipt.chat.id, ts)
        if action not in forms:
            raise UsageError("这张卡片已更新，上面没有这个表单了")
        view = await self._sim.open_form(person.id, receipt.chat.id, ts, forms.index(action))
        await self._sim.submit(person.id, view, values, [file])


class SlackCalledWorld(SlackWorld):
    """The same workspace, where the app has an address instead of a socket."""

    def platform(self) -> ChatPlatform:
        return _Called(self._sim)


def _forms(sim: SlackSim, channel: str, ts: str) -> list[str]:
    (shown,) = [one for one in sim.channels[channel].messages if one["ts"] == ts]
    return [
        draw.unpack(element["value"]).action
        for block in shown["blocks"]
        if block["type"] == "actions"
        for element in block["elements"]
        if element["action_id"].startswith("form:")
    ]


def _shown(message: dict[str, Any]) -> str:
    if message.get("files"):
        return ",".join(file["title"] for file in message["files"])
    return html.unescape(message["text"])
