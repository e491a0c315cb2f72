"""The four platforms as places: the link with the vendor's SDK, its simulator, and Li in a group. What
each can and cannot do is in the tables of those who use them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from adapters.card import Form
from adapters.dingtalk.link import DingTalk
from adapters.feishu.link import Feishu
from adapters.port import Clock
from adapters.slack.link import Slack
from adapters.wecom import wire as wecom_wire
from adapters.wecom.app import App
from adapters.wecom.link import WeCom
from adapters.words import Chat, File, Person, Receipt, Secret
from tests.sim.dingtalk import DingTalkSim, Wrong
from tests.sim.feishu import Fault, FeishuSim
from tests.sim.place import Place
from tests.sim.slack import APP_TOKEN, BOT_TOKEN, SlackSim
from tests.sim.wecom import (
    AES_KEY,
    AGENT,
    APP_SECRET,
    BOT_ID,
    CORP,
    NAME,
    SECRET,
    TOKEN,
    WeComSim,
    read,
)


class FeishuPlace(Place):
    def __init__(self, sim: FeishuSim, platform: Feishu, li: Person) -> None:
        self.sim, self.platform, self.li = sim, platform, li
        self.outgoing = sim.outgoing

    async def room(self, title: str) -> Chat:
        return await self.platform.open_chat(title, [self.li], key=title)

    def seen(self, chat: Chat) -> list[str]:
        return [x if isinstance(x, str) else x.title for x in self.sim.seen(chat.id)]

    def rung(self) -> list[str]:
        return self.sim.rung(self.li.id)

    def groups(self, title: str) -> int:
        return sum(one.title == title for one in self.sim.groups.values())

    def wrong(self, deed: str, fault: Any) -> None:
        self.sim.misbehave(deed, fault)

    async def say(self, chat: Chat, text: str) -> None:
        await self.sim.say(self.li.id, chat.id, text)

    async def press(self, card: Receipt, action: str) -> None:
        await self.sim.press(self.li.id, card.id, action)

    async def answered(self, card: Receipt, action: str) -> None:
        event = (await self.sim.press(self.li.id, card.id, action))["header"]["event_id"]
        await self.until(lambda: event in self.sim.acked)

    async def submit(self, card: Receipt, form: Form, values: Mapping[str, str]) -> None:
        await self.sim.submit(self.li.id, card.id, form.action, values)

    async def hand_over(self, card: Receipt, file: File) -> None:
        self.sim.post_file(self.li.id, card.chat.id, file)

    def dialled(self) -> int:
        return self.sim.calls["GET /ws"]

    def linked(self) -> int:
        return len(self.sim.links)

    async def until(self, true: Callable[[], object]) -> None:
        await self.sim.until(lambda: bool(true()), 100)

    async def close(self) -> None:
        await self.sim.close_links()

    def cut(self) -> None:
        self.sim.abort()

    def freeze(self) -> None:
        self.sim.freeze()

    async def forget_token(self) -> None:
        self.sim.tokens.clear()
        self.sim.misbehave("tenant_access_token", Fault.HANGS)

    def release(self) -> None:
        self.sim.release()


class DingTalkPlace(Place):
    def __init__(self, sim: DingTalkSim, platform: DingTalk, li: Person) -> None:
        self.sim, self.platform, self.li = sim, platform, li
        self.outgoing = sim.outgoing

    async def room(self, title: str) -> Chat:
        return await self.platform.open_chat(title, [self.li], key=title)

    def seen(self, chat: Chat) -> list[str]:
        return [text.strip("【】").partition("】")[0] for text in self.sim.seen(chat)]

    def rung(self) -> list[str]:
        return self.sim.rung(self.li.id)

    def groups(self, title: str) -> int:
        return sum(one.chat.title == title for one in self.sim.groups.values())

    def wrong(self, deed: str, fault: Any) -> None:
        self.sim.go_wrong(deed, fault)

    async def say(self, chat: Chat, text: str) -> None:
        await self.sim.say(self.li, chat, f"@{self.sim.bot_name} {text}")

    async def press(self, card: Receipt, action: str) -> None:
        await self.sim.press(self.li, card.id, action)

    async def answered(self, card: Receipt, action: str) -> None:
        await self.press(card, action)

    async def submit(self, card: Receipt, form: Form, values: Mapping[str, str]) -> None:
        await self.sim.submit(self.li, card.id, form.action, values)

    async def hand_over(self, card: Receipt, file: File) -> None:
        await self.sim.hand_over(self.li, file)

    def dialled(self) -> int:
        return self.sim.connections

    def linked(self) -> int:
        return len(self.sim._sockets)

    async def until(self, true: Callable[[], object]) -> None:
        await self.sim.until(lambda: bool(true()), 100)

    async def close(self) -> None:
        await self.sim.close_sockets()

    def cut(self) -> None:
        self.sim.abort_sockets()

    def freeze(self) -> None:
        self.sim.freeze()

    async def forget_token(self) -> None:
        self.sim.go_wrong("/v1.0/robot/ding", Wrong.TOKEN)
        self.sim.go_wrong("/v1.0/oauth2", Wrong.HANG)

    def release(self) -> None:
        self.sim.release()


class SlackPlace(Place):
    def __init__(self, sim: SlackSim, platform: Slack, li: Person) -> None:
        self.sim, self.platform, self.li = sim, platform, li
        self.outgoing = sim.outgoing
        self._file: tuple[File, ...] = ()

    async def room(self, title: str) -> Chat:
        return await self.platform.open_chat(title, [self.li], key=title)

    def seen(self, chat: Chat) -> list[str]:
        return [_head(one) for one in self.sim.said(chat.id)]

    def rung(self) -> list[str]:
        direct = [one for one in self.sim.channels.values() if one.im]
        return [one["text"] for channel in direct for one in channel.messages]

    def groups(self, title: str) -> int:
        return sum(one.purpose == title for one in self.sim.channels.values())

    def wrong(self, deed: str, fault: Any) -> None:
        self.sim.misbehave(deed, fault)

    def land(self) -> None:
        self.sim.land()

    async def say(self, chat: Chat, text: str) -> None:
        await self.sim.say(self.li.id, chat.id, f"@vigilbot {text}")

    async def press(self, card: Receipt, action: str) -> None:
        await self.sim.press(self.li.id, card.chat.id, card.id.partition("#")[0], action)

    async def answered(self, card: Receipt, action: str) -> None:
        ts = card.id.partition("#")[0]
        await (await self.sim.press(self.li.id, card.chat.id, ts, action)).acked

    async def submit(self, card: Receipt, form: Form, values: Mapping[str, str]) -> None:
        ts = card.id.partition("#")[0]
        view = await self.sim.open_form(self.li.id, card.chat.id, ts)
        await self.sim.submit(self.li.id, view, values, self._file)

    async def hand_over(self, card: Receipt, file: File) -> None:
        self._file = (file,)

    def dialled(self) -> int:
        return self.sim.dialled

    def linked(self) -> int:
        return len(self.sim.sockets)

    async def until(self, true: Callable[[], object]) -> None:
        await self.sim.until(true, 100)

    async def close(self) -> None:
        await self.sim.hang_up()

    def cut(self) -> None:
        self.sim.abort()

    def freeze(self) -> None:
        self.sim.freeze()

    async def forget_token(self) -> None:
        self.sim.misbehave("apps.connections.open", "silent")
        await self.sim.hang_up()

    def release(self) -> None:
        return  # the bot gives up and asks again

    async def told_again(self) -> None:
        await self.sim.redeliver()


class WeComPlace(Place):
    def __init__(self, sim: WeComSim, platform: WeCom, li: Person) -> None:
        self.sim, self.platform, self.li = sim, platform, li
        self.outgoing = sim.outgoing
        self._link = platform
        self._file: tuple[File, ...] = ()

    async def room(self, title: str) -> Chat:
        room = self.sim.found(title, self.li.id)
        await self._hear(room.id)
        return Chat("wecom", room.id, title)

    async def meet(self) -> None:
        """Have Li write to the bot alone, as who is to be rung must have done."""
        await self._hear(f"@{self.li.id}")

    async def _hear(self, room: str) -> None:
        self._link._arrived.clear()
        await self.sim.say(self.li.id, room, f"@{NAME}", kind="image")
        await self._link._arrived.wait()

    def seen(self, chat: Chat) -> list[str]:
        rooms = self.sim.app_rooms if chat.id.startswith("app:") else self.sim.rooms
        shown = rooms[chat.id.removeprefix("app:")].shown
        return [text.strip("【】").partition("】")[0] for text in map(read, shown)]

    def rung(self) -> list[str]:
        return self.sim.texts(f"@{self.li.id}")

    def groups(self, title: str) -> int:
        rooms = [*self.sim.rooms.values(), *self.sim.app_rooms.values()]
        return sum(one.title == title for one in rooms)

    def wrong(self, deed: str, fault: Any) -> None:
        self.sim.misbehave(deed, fault)

    async def say(self, chat: Chat, text: str) -> None:
        await self.sim.say(self.li.id, chat.id, f"@{NAME} {text}")

    async def press(self, card: Receipt, action: str) -> None:
        await self._press(card, action)

    async def _press(self, card: Receipt, action: str) -> str:
        key = f"{wecom_wire.PRESS}{action}"
        return await self.sim.press(self.li.id, card.chat.id, f"{card.id}-0", key)

    async def answered(self, card: Receipt, action: str) -> None:
        req = await self._press(card, action)
        await self.until(lambda: self.sim.is_answered(req))

    async def submit(self, card: Receipt, form: Form, values: Mapping[str, str]) -> None:
        """Have the page opened, and send it: it takes its files along."""
        self.sim.updated.clear()
        task = f"{card.id}-0"
        await self.sim.press(self.li.id, card.chat.id, task, f"{wecom_wire.ASK}{form.action}")
        await self.until(self.sim.updated.is_set)
        shown = self.sim.card(self.li.id, card.chat.id, task)
        token = shown["jump_list"][0]["url"].rpartition("/")[2]
        await self._link.filled(token, values, self._file)

    async def hand_over(self, card: Receipt, file: File) -> None:
        self._file = (file,)

    def dialled(self) -> int:
        return self.sim.dialled

    def linked(self) -> int:
        return int(self.sim.subscribed.is_set())

    async def until(self, true: Callable[[], object]) -> None:
        await self.sim.until(true, 100)

    async def close(self) -> None:
        await self.sim.shut()

    def cut(self) -> None:
        self.sim.abort()

    def freeze(self) -> None:
        self.sim.freeze()

    async def forget_token(self) -> None:
        self.sim.forget_tokens()
        self.sim.misbehave("gettoken", "silent")

    def release(self) -> None:
        self.sim.released.set()


def _head(message: Mapping[str, Any]) -> str:
    if message.get("files"):
        return str(message["files"][0]["title"])
    return str(message["text"]).strip("【】").partition("】")[0]


@asynccontextmanager
async def in_feishu(folder: Path, clock: Clock, timeout: float) -> AsyncIterator[Place]:
    async with FeishuSim(clock) as sim:
        li = Person("feishu", sim.person("Li"), "Li")
        secret = Secret(sim.secret)
        async with Feishu(
            sim.app_id,
            secret,
            state=folder / "feishu.sqlite",
            clock=clock,
            base_url=sim.base_url,
            timeout=timeout,
        ) as feishu:
            yield FeishuPlace(sim, feishu, li)


@asynccontextmanager
async def in_dingtalk(folder: Path, clock: Clock, timeout: float) -> AsyncIterator[Place]:
    sim = DingTalkSim(now=clock.now)
    li = Person("dingtalk", "staff-li", "Li")
    sim.people[li.id] = li
    await sim.start()
    try:
        async with DingTalk(
            sim.client_id,
            Secret(sim.secret),
            robot_code=sim.robot,
            state=folder / "dingtalk.sqlite",
            clock=clock,
            card_template=sim.template,
            group_template=sim.group_template,
            api_url=sim.url,
            oapi_url=sim.url,
            timeout=timeout,
        ) as ding:
            yield DingTalkPlace(sim, ding, li)
    finally:
        await sim.stop()


@asynccontextmanager
async def in_slack(folder: Path, clock: Clock, timeout: float) -> AsyncIterator[Place]:
    async with SlackSim(lambda: clock.now().timestamp()) as sim:
        li = Person("slack", sim.user("Li"), "Li")
        async with Slack(
            Secret(BOT_TOKEN),
            Secret(APP_TOKEN),
            clock=clock,
            base_url=sim.base_url,
            timeout=timeout,
        ) as slack:
            yield SlackPlace(sim, slack, li)


@asynccontextmanager
async def in_wecom(folder: Path, clock: Clock, timeout: float) -> AsyncIterator[Place]:
    """The bot alone: people make its groups."""
    async with WeComSim(clock.now) as sim, wecom(sim, folder, clock, timeout) as place:
        await place.meet()
        yield place


@asynccontextmanager
async def in_wecom_with_app(folder: Path, clock: Clock, timeout: float) -> AsyncIterator[Place]:
    """With a self-built app beside the bot, which makes groups and writes to people."""
    async with WeComSim(clock.now) as sim:
        app = App(
            CORP,
            AGENT,
            Secret(APP_SECRET),
            token=Secret(TOKEN),
            aes_key=Secret(AES_KEY),
            clock=clock,
            base_url=sim.base_url,
        )
        async with wecom(sim, folder, clock, timeout, app=app) as place:
            place.others = (Person("wecom", sim.user("Wang"), "Wang"),)
            yield place


@asynccontextmanager
async def wecom(
    sim: WeComSim, folder: Path, clock: Clock, timeout: float, **more: Any
) -> AsyncIterator[WeComPlace]:
    li = Person("wecom", sim.user("Li"), "Li")
    async with WeCom(
        BOT_ID,
        Secret(SECRET),
        state=folder / "wecom.sqlite",
        clock=clock,
        ws_url=sim.ws_url,
        public_url="http://bot",
        ack=timeout,
        **more,
    ) as link:
        yield WeComPlace(sim, link, li)
