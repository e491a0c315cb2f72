"""Routes about who may come in: auth, users, agent tokens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request

from bot.demo.vigilops.state import Row, hashed, z
from bot.demo.vigilops.traps import Generation
from bot.demo.vigilops.wire import (
    RANK,
    Admin,
    Anyone,
    Broken,
    Named,
    NewPassword,
    NewUser,
    Refresh,
    Registration,
    SignIn,
    TooMany,
    UserChange,
    W,
    found,
    paged,
)
from bot.demo.vigilops.world import World

router = APIRouter()
PLAIN = ("id", "email", "name", "role", "is_active")
TOKEN = ("id", "name", "token_prefix", "is_active", "created_by")


def limited(request: Request, world: World, what: str, limit: int, window: int) -> None:
    ip = request.client.host if request.client else "-"
    if world.too_many(what, ip, limit, window):
        raise TooMany(window)


def me_of(user: Row) -> Row:
    return {**{k: user[k] for k in PLAIN}, "created_at": z(user["created_at"])}


def user_of(user: Row) -> Row:
    return {**me_of(user), "updated_at": z(user["updated_at"])}


def token_of(row: Row) -> Row:
    told = {k: row[k] for k in TOKEN}
    return {**told, "created_at": z(row["created_at"]), "last_used_at": z(row["last_used_at"])}


@router.post("/auth/register", status_code=201)
async def register(body: Registration, request: Request, world: W) -> Row:
    limited(request, world, "register", world.limits.register, 600)
    if world.traps.generation is Generation.OLD:
        raise Broken
    if world.user_by_email(body.email):
        raise HTTPException(409, "Email already registered")
    role = "operator" if world.rows("users") else "admin"
    return world.sign_in(world.insert_user(body.email, body.name, body.password, role))


@router.post("/auth/login")
async def login(body: SignIn, request: Request, world: W) -> Row:
    limited(request, world, "login", world.limits.login, 300)
    user = world.user_by_email(body.email)
    if user is None or not world.knows_password(user, body.password):
        raise HTTPException(401, "Invalid credentials")
    if not user["is_active"]:
        raise HTTPException(403, "User disabled")
    return world.sign_in(user)


@router.post("/auth/refresh")
async def refresh(body: Refresh, request: Request, world: W) -> Row:
    limited(request, world, "refresh", world.limits.refresh, 300)
    if not body.refresh_token:
        raise HTTPException(401, "Refresh token missing")
    read = world.read_token(body.refresh_token, "refresh")
    if read is None:
        raise HTTPException(401, "Invalid refresh token")
    user, theirs = read
    if not theirs:
        raise HTTPException(401, "Your account logged in elsewhere")
    return world.sign_in(user, sid=user["sid"])


@router.get("/auth/me")
async def me(user: Anyone) -> Row:
    return me_of(user)


@router.post("/auth/logout", status_code=204)
async def logout(user: Anyone, world: W) -> None:
    world.kick(user["email"])


@router.get("/users")
async def users(
    _: Admin,
    world: W,
    page: Annotated[int, Query(ge=1)] = 1,
    page_size: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Row:
    return paged([user_of(u) for u in world.rows("users")], page, page_size)


@router.post("/users", status_code=201)
async def create_user(body: NewUser, _: Admin, world: W) -> Row:
    if body.role not in RANK:
        raise HTTPException(400, "Invalid role")
    if world.user_by_email(body.email):
        raise HTTPException(409, "Email already exists")
    return user_of(world.insert_user(body.email, body.name, body.password, body.role))


@router.put("/users/{user_id}")
async def change_user(user_id: int, body: UserChange, _: Admin, world: W) -> Row:
    user = found(world, "users", user_id, "User")
    if body.role is not None and body.role not in RANK:
        raise HTTPException(400, "Invalid role")
    user.update(body.model_dump(exclude_none=True), updated_at=world.stamp())
    return user_of(user)


@router.put("/users/{user_id}/password")
async def change_password(user_id: int, body: NewPassword, _: Admin, world: W) -> Row:
    user = found(world, "users", user_id, "User")
    user["hash"] = hashed(body.new_password, user["salt"])
    return {"status": "ok"}


@router.delete("/users/{user_id}", status_code=204)
async def delete_user(user_id: int, _: Admin, world: W) -> None:
    found(world, "users", user_id, "User")
    del world.tables["users"][user_id]


@router.get("/agent-tokens")
async def agent_tokens(_: Admin, world: W) -> list[Row]:
    return [token_of(t) for t in world.rows("agent_tokens")]


@router.post("/agent-tokens", status_code=201)
async def create_agent_token(body: Named, user: Admin, world: W) -> Row:
    made = world.make_agent_token(body.name, user["id"])
    return {**token_of(made), "token": made["token"]}


@router.delete("/agent-tokens/{token_id}", status_code=204)
async def revoke_agent_token(token_id: int, _: Admin, world: W) -> None:
    found(world, "agent_tokens", token_id, "Agent token")["is_active"] = False
