"""A stand-in of a language model: it speaks OpenAI's chat completions and knows a few answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Header
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

ANSWERS = (
    ("磁盘", "磁盘将满，可能是日志没有轮转。先用 du 找出最大的目录，再清理旧日志并启用轮转。"),
    ("内存", "内存占用持续上升，疑似泄漏。先看占用最高的进程，必要时择时重启该服务。"),
    ("CPU", "CPU 突增，先看占用最高的进程和最近的发布，确认是否为正常业务高峰。"),
)
OTHERWISE = "请先确认告警时刻附近的变更，再看相关主机的日志和指标趋势。"

HTTP_UNAUTHORIZED = 401


class Said(BaseModel):
    """One message of a conversation."""

    role: str
    content: str


class Asked(BaseModel):
    """What the stand-in reads of a request."""

    model: str
    messages: list[Said]


@dataclass(slots=True)
class Behaviour:
    """How the stand-in answers; a test may change it while it serves."""

    key: str = "demo-key"
    fail: list[int] = field(default_factory=list)
    """HTTP statuses of the next answers, the first one first."""
    retry_after: str = ""
    hang: asyncio.Event | None = None
    """No answer before it is set."""
    body: bytes | None = None
    """What is answered with HTTP 200, in place of a completion, as `media_type` says that it is."""
    media_type: str = "application/json"
    seen: list[Asked] = field(default_factory=list)


def answer_to(question: str) -> str:
    """Return what the stand-in knows of a question."""
    return next((said for word, said in ANSWERS if word in question), OTHERWISE)


def analysis_of(lines: str) -> str:
    """Return what the stand-in makes of an incident's numbered lines: JSON, with what it leans on."""
    parts = (line.partition(": ") for line in lines.splitlines())
    named = {name: text for name, colon, text in parts if colon}
    cited = (next((name for name in named if name.startswith(kind)), "") for kind in "AMR")
    severities = ("critical", "warning", "info")
    worst = next((s for s in severities if any(f"| {s} |" in line for line in named.values())), "")
    summary, _, advice = answer_to(lines).partition("。")
    said = {
        "severity": worst or "info",
        "summary": f"{summary}。",
        "suggestions": [part for part in advice.split("。") if part],
        "citations": [name for name in cited if name],
    }
    return json.dumps(said, ensure_ascii=False)


def create_app(behaviour: Behaviour | None = None) -> FastAPI:
    """Build the stand-in."""
    how = behaviour or Behaviour()
    app = FastAPI(title="Model stand-in")

    @app.post("/v1/chat/completions")
    async def complete(asked: Asked, authorization: Annotated[str, Header()] = "") -> Response:
        if authorization != f"Bearer {how.key}":
            # The real ones repeat the key that they refuse.
            return _refused(HTTP_UNAUTHORIZED, f"Incorrect API key provided: {authorization}")
        how.seen.append(asked)
        if how.hang:
            await how.hang.wait()
        if how.fail:
            headers = {"retry-after": how.retry_after} if how.retry_after else {}
            return _refused(how.fail.pop(0), f"failing for {authorization}", headers)
        if how.body is not None:
            return Response(how.body, media_type=how.media_type)
        return JSONResponse(_completion(asked))

    return app


def _refused(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "type": "error"}}, status, headers)


def _completion(asked: Asked) -> dict[str, Any]:
    question = asked.messages[-1].content
    wanted = any(each.role == "system" and "JSON" in each.content for each in asked.messages)
    text = analysis_of(question) if wanted else answer_to(question)
    read = sum(len(each.content) for each in asked.messages)
    usage = {"prompt_tokens": read, "completion_tokens": len(text)}
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-demo",
        "object": "chat.completion",
        "created": 0,
        "model": asked.model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {**usage, "total_tokens": read + len(text)},
    }


@contextlib.asynccontextmanager
async def serve(
    behaviour: Behaviour | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[str]:
    """Serve until left, and give the base URL for a client; port 0 takes a free one."""
    config = uvicorn.Config(
        create_app(behaviour),
        lifespan="off",
        log_config=None,
        log_level="critical",
        timeout_graceful_shutdown=1,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        await server.startup(sockets=[listening])
        ticking = asyncio.create_task(server.main_loop())
        try:
            yield f"http://{host}:{listening.getsockname()[1]}/v1"
        finally:
            server.should_exit = True
            await ticking
            await server.shutdown(sockets=[listening])
