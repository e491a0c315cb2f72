"""A platform as a place where one story can be told: what the story may ask of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from adapters.card import Form
from adapters.port import ChatPlatform, Clock
from adapters.words import Chat, File, Person, Receipt
from tests.sim.outgoing import Outgoing


class Place(ABC):
    """A platform, its far side, and Li."""

    platform: ChatPlatform
    li: Person
    outgoing: Outgoing
    others: tuple[Person, ...] = ()
    """Who must be there, too, where a group of two is none."""

    @abstractmethod
    async def room(self, title: str) -> Chat:
        """Return a new group with Li in which the bot may speak."""

    @abstractmethod
    def seen(self, chat: Chat) -> list[str]:
        """Return what a chat shows: the titles of cards, and the names of files."""

    @abstractmethod
    def rung(self) -> list[str]:
        """Return what reached Li alone."""

    @abstractmethod
    def groups(self, title: str) -> int:
        """Return how many groups have a title."""

    @abstractmethod
    def wrong(self, deed: str, fault: Any) -> None:
        """Have the next call of a kind go wrong."""

    def land(self) -> None:
        """Have done what came late."""
        return

    # -- what Li does; each is over when the far side has its answer, or wants none -----------------

    @abstractmethod
    async def say(self, chat: Chat, text: str) -> None: ...

    @abstractmethod
    async def press(self, card: Receipt, action: str) -> None: ...

    @abstractmethod
    async def answered(self, card: Receipt, action: str) -> None:
        """Press, and wait until the platform has its answer."""

    @abstractmethod
    async def submit(self, card: Receipt, form: Form, values: Mapping[str, str]) -> None: ...

    @abstractmethod
    async def hand_over(self, card: Receipt, file: File) -> None:
        """Send the file that the next form takes along, where a form itself has no place for it."""

    # -- the way in between -----------------------------------------------------------------------

    @abstractmethod
    def dialled(self) -> int:
        """Return how often the bot has connected."""

    @abstractmethod
    def linked(self) -> int:
        """Return how many connections are open."""

    @abstractmethod
    async def until(self, true: Callable[[], object]) -> None: ...

    @abstractmethod
    async def close(self) -> None: ...

    @abstractmethod
    def cut(self) -> None: ...

    @abstractmethod
    def freeze(self) -> None: ...

    @abstractmethod
    async def forget_token(self) -> None:
        """Have the platform know our token no more, and its token server hang until `release`; where
        there are no tokens to fetch, the ticket for a new connection."""

    @abstractmethod
    def release(self) -> None: ...

    async def told_again(self) -> None:
        """Do as the platform does with what was never acknowledged, where it does anything."""
        return


Enter = Callable[[Path, Clock, float], AbstractAsyncContextManager[Place]]
"""(folder of the bot's own files, clock of both sides, seconds of patience with silence)."""
