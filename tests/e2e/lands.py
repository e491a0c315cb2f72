"""The four enterprise chats as somebody sees them who is alarmed there: what a press shows at once,
how a person is named in a group, and what reaches them alone."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from typing import Any, Protocol

from adapters.card import plain
from adapters.words import Chat, Person
from tests.e2e.abroad import Country, DingTalkCountry, FeishuCountry
from tests.e2e.abroad_slack import SlackCountry
from tests.e2e.abroad_wecom import WeComCountry
from tests.sim.feishu import read
from tests.sim.slack import SimClock

RECEIVED = "已收到"
ACKED = "👀 已确认"


class Land(Country, Protocol):
    """A platform on which somebody is alarmed."""

    at_once: str
    """What Li is shown the moment he acknowledged, before anything is edited or said."""

    async def meet(self, person: Person) -> None:
        """Have somebody do what the platform wants before the bot may write to them alone."""
        ...

    def told(self, person: Person, chat: Chat, card: str) -> str:
        """Return what somebody was shown at once, who pressed a card: a toast, the card, or both."""
        ...

    def texts(self, chat: Chat) -> list[str]:
        """Return what can be read in a chat, message by message, with nothing that we only know."""
        ...

    def names(self, person: Person, chat: Chat) -> int:
        """Return how many messages of a chat mention somebody, as the platform notifies of it."""
        ...

    def rung(self, person: Person) -> list[str]:
        """Return what has reached somebody alone, as urgently as the platform can."""
        ...

    def draws(self, chat: Chat, title: str) -> bool:
        """Does a post with this title show a course, as a chart where the platform has those?"""
        ...


class Feishu(FeishuCountry):
    """A press is answered with a toast and the card; whoever is rung has an urgent message."""

    at_once = ACKED

    def person(self, name: str) -> Person:
        """Return somebody with an id as Feishu gives them: only such ones can be mentioned."""
        open_id = f"ou_{name.encode().hex()}"
        self.sim.people[open_id] = name
        return Person("feishu", open_id, name)

    async def meet(self, person: Person) -> None:
        """Feishu lets the bot write to everybody who can use it."""

    def told(self, person: Person, chat: Chat, card: str) -> str:
        """Return the toast and the card that the callback's answer carried."""
        answers = [body for event, _, body in self.sim.acks if self.sim.pressed.get(event) == card]
        if not answers:
            return ""
        shown = answers[-1].get("card", {}).get("data")
        return f"{answers[-1]['toast']['content']}\n{plain(read(shown)) if shown else ''}"

    def texts(self, chat: Chat) -> list[str]:
        return [text for _, text in self.posts(chat)]

    def names(self, person: Person, chat: Chat) -> int:
        return sum(f"<at id={person.id}></at>" in str(card) for card in self._cards(chat))

    def rung(self, person: Person) -> list[str]:
        return self.sim.rung(person.id)

    def draws(self, chat: Chat, title: str) -> bool:
        return any(
            title in card["header"]["title"]["content"]
            and any(element["tag"] == "chart" for element in card["body"]["elements"])
            for card in self._cards(chat)
        )

    def _cards(self, chat: Chat) -> list[Any]:
        here = [one for one in self.sim.posts.values() if one.chat == chat.id]
        return [json.loads(one.content) for one in here if one.kind == "interactive"]


class DingTalk(DingTalkCountry):
    """A press is answered with a line under the card; whoever is rung has a DING."""

    at_once = RECEIVED

    def __init__(self, clock: SimClock) -> None:
        super().__init__(clock)
        self._notices: dict[tuple[str, str], str] = {}

    async def meet(self, person: Person) -> None:
        """DingTalk lets a robot write to everybody of its organisation."""

    async def press(self, person: Person, chat: Chat, card: str, action: str) -> None:
        self._notices[person.id, card] = await self.sim.press(person, card, action)

    def told(self, person: Person, chat: Chat, card: str) -> str:
        return self._notices.get((person.id, card), "")

    def texts(self, chat: Chat) -> list[str]:
        return self.sim.seen(chat)

    def names(self, person: Person, chat: Chat) -> int:
        cards = [card for card in self.sim.cards.values() if card.chat.id == chat.id]
        return sum(person.id in card.at for card in cards)

    def rung(self, person: Person) -> list[str]:
        return [text for user, text in self.sim.dings if user == person.id]

    def draws(self, chat: Chat, title: str) -> bool:
        return spelt(self.texts(chat), title)


class DingTalkWithoutDing(DingTalk):
    """An edition without DING: whoever is rung is written to alone."""

    def __init__(self, clock: SimClock) -> None:
        super().__init__(clock)
        self.sim.edition_has_ding = False

    def rung(self, person: Person) -> list[str]:
        return self.sim.rung(person.id)


class Slack(SlackCountry):
    """A press is answered with a line that nobody else sees; whoever is rung has a direct message."""

    at_once = RECEIVED

    async def meet(self, person: Person) -> None:
        """Slack lets an app open a talk with everybody."""

    def told(self, person: Person, chat: Chat, card: str) -> str:
        seen = [
            text for where, who, text in self.sim.whispers if (where, who) == (chat.id, person.id)
        ]
        return seen[-1] if seen else ""

    def texts(self, chat: Chat) -> list[str]:
        return [text for _, text in self.posts(chat)]

    def names(self, person: Person, chat: Chat) -> int:
        user = {"type": "user", "user_id": person.id}
        return sum(str(user) in str(one.get("blocks")) for one in self.sim.said(chat.id))

    def rung(self, person: Person) -> list[str]:
        return [
            html.unescape(one["text"])
            for channel in self.sim.channels.values()
            if channel.im and person.id in channel.members
            for one in self.sim.said(channel.id)
        ]

    def draws(self, chat: Chat, title: str) -> bool:
        return spelt(self.texts(chat), title)


class WeCom(WeComCountry):
    """A press is answered by another card in its place; whoever is rung is written to alone."""

    at_once = f"{RECEIVED} ✓"

    def person(self, name: str) -> Person:
        """Return somebody as the bot knows them: WeCom tells it accounts, and no names."""
        account = self.sim.user(name)
        return Person("wecom", account, account)

    async def meet(self, person: Person) -> None:
        """Have somebody write to the bot, which may then write to them."""
        await self.say(person, Chat("wecom", f"@{person.id}"), "/whoami")

    def told(self, person: Person, chat: Chat, card: str) -> str:
        shown = self.sim.card(person.id, chat.id, card)
        return str([button["text"] for button in shown["button_list"]])

    def texts(self, chat: Chat) -> list[str]:
        return self.sim.texts(chat.id)

    def names(self, person: Person, chat: Chat) -> int:
        """Count where the account is written: in what a bot says WeCom knows no mention."""
        return sum(f"@{person.id}" in text for text in self.texts(chat))

    def rung(self, person: Person) -> list[str]:
        return self.sim.texts(f"@{person.id}")

    def draws(self, chat: Chat, title: str) -> bool:
        return spelt(self.texts(chat), title)


def spelt(texts: list[str], title: str) -> bool:
    """Is a course written with signs in a text of this title?"""
    return any(title in text.partition("\n")[0] and "▇" in text for text in texts)


LANDS: dict[str, Callable[[SimClock], Land]] = {
    "feishu": Feishu,
    "dingtalk": DingTalk,
    "dingtalk-without-ding": DingTalkWithoutDing,
    "slack": Slack,
    "wecom": WeCom,
}
