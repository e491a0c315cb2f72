"""What every route leans on: bodies, who is asking, the recorded error shapes."""

from __future__ import annotations

import re
from typing import Annotated, Any, cast

from fastapi import Depends, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import AwareDatetime, BaseModel, Field, field_validator

from bot.demo.vigilops.state import Row
from bot.demo.vigilops.world import World

BROKEN = {
    "error": "internal_server_error",
    "message": "服务器内部错误，请稍后重试 (Internal server error, please try again later)",
    "detail": None,
    "status_code": 500,
}
SPECIAL = (".local", ".test", ".localhost", ".invalid", ".example")
RANK = {"viewer": 0, "operator": 1, "admin": 2}


class Broken(Exception):
    """An unhandled error of the real one: 500, and the connection is closed."""


class TooMany(Exception):
    """The rate limit answered."""

    def __init__(self, window: int) -> None:
        super().__init__(window)
        self.window = window


async def say_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    body = {"error": "http_error", "message": error.detail, "detail": None}
    return JSONResponse({**body, "status_code": error.status_code}, error.status_code)


async def say_too_many(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TooMany)
    body = {
        "error": "Rate limit exceeded",
        "message": f"Too many requests. Try again in {error.window} seconds.",
        "retry_after": str(error.window),
    }
    return JSONResponse(body, 429, {"Retry-After": str(error.window)})


async def say_broken(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse(BROKEN, 500)


WORLD = "vigilops.world"
"""Where a request carries the world that it is made to."""


def world_of(request: Request) -> World:
    return cast("World", request.scope[WORLD])


W = Annotated[World, Depends(world_of)]


def bearer(request: Request) -> str:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token if kind.lower() == "bearer" else ""


def signed_in(request: Request, world: W) -> Row:
    """Return the user whose token this is, or 401."""
    token = bearer(request)
    if not token:
        raise HTTPException(401, "Not authenticated")
    read = world.read_token(token, "access")
    if read is None:
        raise HTTPException(401, "Invalid token")
    user, theirs = read
    if not theirs:
        raise HTTPException(401, "Your account logged in elsewhere")
    if not user["is_active"]:
        raise HTTPException(403, "User disabled")
    if world.traps.take_kick():
        world.kick(user["email"])
        raise HTTPException(401, "Your account logged in elsewhere")
    return user


Anyone = Annotated[Row, Depends(signed_in)]


def at_least_operator(user: Anyone) -> Row:
    if RANK.get(user["role"], 0) < RANK["operator"]:
        raise HTTPException(403, "Operator or admin only")
    return user


def only_admin(user: Anyone) -> Row:
    if user["role"] != "admin":
        raise HTTPException(403, "Admin only")
    return user


def agent(request: Request, world: W) -> Row:
    """Return the row of the agent token, or 403 without one and 401 with a bad one."""
    token = bearer(request)
    if not token:
        raise HTTPException(403, "Not authenticated")
    row = world.agent_token(token)
    if row is None:
        raise HTTPException(401, "Invalid or revoked agent token")
    return row


Operator = Annotated[Row, Depends(at_least_operator)]
Admin = Annotated[Row, Depends(only_admin)]
Agent = Annotated[Row, Depends(agent)]


def found(world: World, table: str, row_id: int, what: str) -> Row:
    row = world.tables[table].get(row_id)
    if row is None:
        raise HTTPException(404, f"{what} not found")
    return row


def paged(rows: list[Row], page: int, page_size: int) -> Row:
    start = (page - 1) * page_size
    part = rows[start : start + page_size]
    return {"items": part, "total": len(rows), "page": page, "page_size": page_size}


class Email(BaseModel):
    email: str

    @field_validator("email")
    @classmethod
    def _plausible(cls, value: str) -> str:
        if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s.]+", value) or value.endswith(SPECIAL):
            raise ValueError("value is not a valid email address")
        return value


class Registration(Email):
    name: str
    password: str = Field(min_length=8)

    @field_validator("password")
    @classmethod
    def _strong(cls, value: str) -> str:
        if not re.search(r"\d", value) or not re.search("[A-Za-z]", value):
            raise ValueError("password must contain a letter and a digit")
        return value


class SignIn(BaseModel):
    email: str
    password: str


class Refresh(BaseModel):
    refresh_token: str | None = None


class NewUser(Email):
    name: str
    password: str
    role: str = "viewer"


class UserChange(BaseModel):
    name: str | None = None
    role: str | None = None
    is_active: bool | None = None


class NewPassword(BaseModel):
    new_password: str


class Named(BaseModel):
    name: str


class HostTold(BaseModel):
    hostname: str
    display_name: str | None = None
    ip_address: str | None = None
    private_ip: str | None = None
    public_ip: str | None = None
    network_info: dict[str, Any] | None = None
    os: str | None = None
    os_version: str | None = None
    arch: str | None = None
    cpu_cores: int | None = None
    memory_total_mb: int | None = None
    agent_version: str | None = None
    tags: dict[str, Any] | None = None
    group_name: str | None = None


class Beat(BaseModel):
    host_id: int


class Figures(BaseModel, extra="allow"):
    host_id: int
    cpu_percent: float | None = None
    cpu_load_1: float | None = None
    cpu_load_5: float | None = None
    cpu_load_15: float | None = None
    memory_percent: float | None = None
    disk_percent: float | None = None
    timestamp: AwareDatetime | None = None


class RuleChange(BaseModel):
    name: str | None = None
    description: str | None = None
    severity: str | None = None
    metric: str | None = None
    operator: str | None = None
    threshold: float | None = None
    duration_seconds: int | None = None
    is_enabled: bool | None = None
    target_type: str | None = None
    target_filter: dict[str, Any] | None = None
    rule_type: str | None = None
    log_keyword: str | None = None
    log_level: str | None = None
    log_service: str | None = None
    db_metric_name: str | None = None
    db_id: int | None = None
    cooldown_seconds: int | None = None
    continuous_alert: bool | None = None
    silence_start: str | None = None
    silence_end: str | None = None
    notification_channel_ids: list[int] | None = None


class NewRule(RuleChange):
    name: str


class NewChannel(BaseModel):
    name: str
    type: str
    config: dict[str, Any]
    is_enabled: bool = True


class ChannelChange(BaseModel):
    name: str | None = None
    config: dict[str, Any] | None = None
    is_enabled: bool | None = None


class AiConfig(BaseModel):
    feature_key: str = "ops_assistant"
    name: str
    base_url: str
    model: str
    api_key: str | None = None
    max_output_tokens: int = 4000
    enabled: bool = True


class AiConfigChange(BaseModel):
    name: str | None = None
    base_url: str | None = None
    model: str | None = None
    api_key: str | None = None
    max_output_tokens: int | None = None
    enabled: bool | None = None


class Retention(BaseModel):
    host_metrics: int = Field(ge=1, le=3650)
    db_metrics: int = Field(ge=1, le=3650)
    log_entries: int = Field(ge=1, le=365)
    ai_insights: int = Field(ge=1, le=3650)
    audit_logs: int = Field(ge=1, le=3650)
