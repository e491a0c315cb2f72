"""The pages of forms: who holds the address may fill it in, once."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI

from adapters.card import Entry, Form, Input
from adapters.port import UsageError
from adapters.words import File
from bot.web import forms, sealed
from runbooks.kit import Kit
from tests.conftest import HandClock

NOBODY = cast("Any", None)
FORM = Form(
    "onboard",
    (
        Input("company", "公司<名>", value='海"蓝', required=True),
        Input("note", "备注", Entry.TEXT, value="一"),
        Input(
            "tier",
            "套餐",
            Entry.CHOICE,
            (("basic", "基础版"), ("pro", "专业版")),
            "pro",
            required=True,
        ),
        Input("channels", "渠道", Entry.CHOICES, (("dd", "钉钉"), ("fs", "飞书")), "fs"),
        Input("password", "密码", Entry.SECRET, value="never-shown"),
        Input("file", "清单", Entry.FILE),
    ),
    "提交登记",
)


class Asking:
    """A platform with one form to fill in; it takes what is right, once."""

    def __init__(self) -> None:
        self.open = True
        self.took: list[tuple[Mapping[str, str], Sequence[File]]] = []
        self.refusal = ""

    async def asked(self, token: str) -> Form | None:
        return FORM if token == "good" and self.open else None

    async def filled(
        self, token: str, values: Mapping[str, str], files: Sequence[File]
    ) -> tuple[bool, str]:
        if not values["company"]:
            raise UsageError("请填写：公司\n<b>必填</b>")
        if self.refusal:
            return False, self.refusal
        self.took.append((values, files))
        self.open = False
        return True, "已收到"

    async def sealed_call(self, query: Mapping[str, str], body: bytes) -> tuple[int, str]:
        return 200, f"{query.get('echostr', '')}{body.decode()}"


@pytest.fixture
def asking() -> Asking:
    return Asking()


@pytest.fixture
async def web(asking: Asking, clock: HandClock) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    kit = Kit(clock, NOBODY, {"wecom": cast("Any", asking)}, NOBODY, NOBODY, NOBODY)
    app.include_router(forms.router(kit))
    app.include_router(sealed.router(kit))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://bot") as client:
        yield client


async def test_a_form_is_shown_as_it_is_and_without_secrets(web: httpx.AsyncClient) -> None:
    """Prefilled where it may be, escaped everywhere, kept by no cache and told to no other site."""
    page = await web.get("/forms/good")
    assert page.status_code == 200
    assert "公司&lt;名&gt;" in page.text
    assert 'value="海&quot;蓝"' in page.text
    assert re.search(r'value="pro" selected', page.text)
    assert re.search(r'value="fs" checked', page.text)
    assert "never-shown" not in page.text
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"


async def test_what_is_entered_arrives_once(web: httpx.AsyncClient, asking: Asking) -> None:
    """Several choices are joined, lines end as in a chat, the file comes along; then it is over."""
    told = {"company": "甲", "note": "一\r\n二", "tier": "pro", "channels": ["dd", "fs"]}
    sent = await web.post("/forms/good", data=told, files={"file": ("a.csv", b"\x00\xff")})
    assert sent.status_code == 200
    ((values, files),) = asking.took
    expected = {"company": "甲", "note": "一\n二", "tier": "pro", "channels": "dd,fs"}
    assert values == {**expected, "password": ""}
    assert files == (File("a.csv", b"\x00\xff"),)
    assert (await web.get("/forms/good")).status_code == 410
    assert (await web.post("/forms/good", data=told)).status_code == 410


@pytest.mark.parametrize("refusal", ["", "这一步需要负责人来操作"])
async def test_what_is_wrong_can_be_mended(
    web: httpx.AsyncClient, asking: Asking, refusal: str
) -> None:
    """The page comes back with what was entered and what is wrong with it."""
    asking.refusal = refusal
    told = {"company": "甲" if refusal else "", "note": "写了很久", "tier": "basic"}
    sent = await web.post("/forms/good", data=told)
    assert sent.status_code == 409
    assert "写了很久" in sent.text
    assert (refusal or "&lt;b&gt;必填&lt;/b&gt;") in sent.text
    assert re.search(r'value="basic" selected', sent.text)
    assert not asking.took


async def test_an_address_that_was_guessed_shows_nothing(web: httpx.AsyncClient) -> None:
    page = await web.get("/forms/guess")
    assert page.status_code == 410
    assert "公司" not in page.text


async def test_more_than_is_allowed_is_not_read(web: httpx.AsyncClient, asking: Asking) -> None:
    headers = {"content-length": str(forms.MOST + 1)}
    sent = await web.post("/forms/good", content=b"x", headers=headers)
    assert sent.status_code == 413
    assert not asking.took


async def test_a_sealed_call_goes_to_its_platform(web: httpx.AsyncClient) -> None:
    """By GET with its query, by POST with its body; to nobody else, and not without end."""
    assert (await web.get("/callbacks/wecom/app?echostr=7")).text == "7"
    assert (await web.post("/callbacks/wecom/app", content=b"x")).text == "x"
    assert (await web.get("/callbacks/other/app")).status_code == 404
    large = b"x" * (sealed.MOST + 1)
    assert (await web.post("/callbacks/wecom/app", content=large)).status_code == 413
