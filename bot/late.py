"""A model whose SDK is imported when it is first asked: nobody waits a second for it at the start."""

from __future__ import annotations

import asyncio
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Self, final

from adapters.port import Answer
from adapters.words import Secret

if TYPE_CHECKING:
    from adapters.llm import OpenAiModel


@final
class LateModel:
    """The port `Model`. Leaving it closes the connections of the one that it opened."""

    def __init__(
        self, base_url: str, model: str, api_key: Secret, *, timeout: float = 60.0
    ) -> None:
        self._base_url = base_url
        self._model = model
        self._api_key = api_key
        self._timeout = timeout
        self._real: OpenAiModel | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._real:
            await self._real.__aexit__(kind, error, trace)

    @property
    def name(self) -> str:
        return self._model

    async def ask(self, system: str, question: str, *, timeout: float = 30.0) -> Answer:
        """Ask once; raises Transient or Permanent."""
        llm = await asyncio.to_thread(import_module, "adapters.llm")
        if self._real is None:
            self._real = llm.OpenAiModel(
                self._base_url, self._model, self._api_key, timeout=self._timeout
            )
        return await self._real.ask(system, question, timeout=timeout)
