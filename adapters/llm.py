"""A language model behind an OpenAI-compatible interface: DeepSeek, or whatever speaks it."""

from __future__ import annotations

import asyncio
import json
import re
from types import TracebackType
from typing import Self

import openai
from openai.types.chat import ChatCompletion, ChatCompletionMessage, ChatCompletionMessageParam

from adapters.port import Answer, Fault, Permanent, Transient
from adapters.tls import trusted
from adapters.words import Secret

MOST_TOKENS = 800
"""Of an answer: it stands on a card."""

REFUSALS = {
    401: "不接受密钥：请检查配置里的密钥",
    403: "不允许这个密钥使用：请检查账号权限",
    404: "不存在，或模型地址不对：请检查配置",
}
"""What an HTTP status means for who configured the model."""

LARGEST = 128 * 1024
"""Bytes of an answer that are read: many times what `MOST_TOKENS` come to, also where the far side writes
down how it thought. Without an end one answer would take the memory of all else."""

FIELDS = ("choices", "model", "usage")
"""What is read of an answer."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}(?:[:/][A-Za-z0-9_.-]{1,64}){0,3}")
"""How models are called. What an answer says of it stands on a card: no link and no @ is a name."""


class OpenAiModel:
    """The port `Model`. Leaving it closes its connections; the key is in no error that it raises."""

    def __init__(
        self, base_url: str, model: str, api_key: Secret, *, timeout: float = 60.0
    ) -> None:
        self._model = model
        self._client = openai.AsyncOpenAI(
            base_url=base_url,
            api_key=api_key.reveal(),
            timeout=timeout,
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(verify=trusted()),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.close()

    @property
    def name(self) -> str:
        return self._model

    async def ask(self, system: str, question: str, *, timeout: float = 30.0) -> Answer:
        """Ask once, and wait at most `timeout` seconds for the whole answer; raises Transient or
        Permanent, whatever comes back."""
        messages: list[ChatCompletionMessageParam] = [
            {"role": "system", "content": system},
            {"role": "user", "content": question},
        ]
        try:
            async with asyncio.timeout(timeout):
                body = await self._body(messages)
        except TimeoutError:
            raise Transient(f"模型 {self._model} 没有在 {timeout:g} 秒内回答，稍后再试") from None
        except openai.OpenAIError as error:
            # What the far side wrote may hold the key: only its number is told.
            raise self._told(error) from None
        try:
            whole = json.loads(body)
        except (ValueError, RecursionError):
            # No JSON, no UTF-8, nested too deeply.
            raise self._misread() from None
        if not isinstance(whole, dict):
            raise self._misread()
        return self._read(ChatCompletion.construct(**{name: whole.get(name) for name in FIELDS}))

    async def _body(self, messages: list[ChatCompletionMessageParam]) -> bytes:
        """Ask, and return the answer's body; Permanent when it has no end."""
        body = bytearray()
        asked = self._client.chat.completions.with_streaming_response.create(
            model=self._model, messages=messages, max_tokens=MOST_TOKENS
        )
        async with asked as response:
            parts = response.iter_bytes()
            while len(body) <= LARGEST:
                try:
                    body += await anext(parts)
                except StopAsyncIteration:
                    return bytes(body)
                except Exception as error:  # whichever HTTP library the SDK speaks through
                    raise openai.APIConnectionError(request=response.http_request) from error
        raise Permanent(f"模型 {self._model} 的应答过长：请检查模型地址", fault=Fault.REFUSED)

    def _read(self, said: ChatCompletion) -> Answer:
        """Return what the far side said. The SDK validates nothing: every field may be anything at
        all."""
        if not isinstance(said.choices, list):
            raise self._misread()
        if not said.choices:
            raise Permanent(
                f"模型 {self._model} 的应答里没有内容：请检查模型地址", fault=Fault.REFUSED
            )
        message = getattr(said.choices[0], "message", None)
        if not isinstance(message, ChatCompletionMessage):
            raise self._misread()
        text: object = message.content
        if not isinstance(text, str | None):
            raise self._misread()
        tokens = getattr(said.usage, "total_tokens", 0)
        named = isinstance(said.model, str) and _NAME.fullmatch(said.model)
        return Answer(
            text or "", said.model if named else self._model, tokens if type(tokens) is int else 0
        )

    def _misread(self) -> Permanent:
        return Permanent(f"模型 {self._model} 的应答不是预期的格式：请检查模型地址")

    def _told(self, error: openai.OpenAIError) -> Transient | Permanent:
        name = self._model
        match error:
            case openai.APITimeoutError():
                return Transient(f"模型 {name} 没有在限定时间内回答，稍后再试")
            case openai.APIResponseValidationError():
                return self._misread()
            case openai.APIConnectionError():
                return Transient(f"连不上模型 {name} 的地址：请检查网络和模型地址")
            case openai.RateLimitError():
                wait = _seconds(error.response.headers.get("retry-after", ""))
                return Transient(f"模型 {name} 的调用过于频繁或额度用完", retry_after=wait)
            case openai.InternalServerError():
                return Transient(f"模型 {name} 的服务出错（HTTP {error.status_code}），稍后再试")
            case openai.APIStatusError():
                why = REFUSALS.get(error.status_code, f"拒绝了请求（HTTP {error.status_code}）")
                return Permanent(f"模型 {name} {why}", fault=Fault.REFUSED)
        return Permanent(f"模型 {name} 调用失败（{type(error).__name__}）：请检查模型配置")


def _seconds(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdecimal() else None
