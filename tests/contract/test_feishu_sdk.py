"""What of lark-oapi is leaned on: its private names, and its models of the requests that we write."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import lark_oapi.api.application.v6 as application
import lark_oapi.api.auth.v3 as auth
import lark_oapi.api.im.v1 as im
import lark_oapi.ws.client as sdk
import pytest
from lark_oapi.core.enum import LogLevel
from lark_oapi.ws.pb.pbbp2_pb2 import Frame

from adapters.card import say
from adapters.feishu import wire
from adapters.feishu.socket import Socket
from adapters.feishu.wire import Attached, Call
from adapters.words import File, Secret

CHAT = "oc_1"
CALLS: list[tuple[Call, str, str]] = [
    (wire.create_chat("客户甲", "ou_1", "u"), "CreateChatRequest", "CreateChatRequestBody"),
    (
        wire.add_members(CHAT, ["ou_1"]),
        "CreateChatMembersRequest",
        "CreateChatMembersRequestBody",
    ),
    (wire.members_of(CHAT, "p"), "GetChatMembersRequest", ""),
    (wire.post_card(CHAT, say("?"), "u"), "CreateMessageRequest", "CreateMessageRequestBody"),
    (wire.post_text("ou_1", "?", "u"), "CreateMessageRequest", "CreateMessageRequestBody"),
    (wire.post_file(CHAT, "f", "u"), "CreateMessageRequest", "CreateMessageRequestBody"),
    (wire.patch_card("om_1", say("?")), "PatchMessageRequest", "PatchMessageRequestBody"),
    (wire.upload(File("a", b"1")), "CreateFileRequest", "CreateFileRequestBody"),
    (wire.urgent("om_1", "ou_1"), "UrgentAppMessageRequest", "UrgentReceivers"),
    (wire.urgent("om_1", "ou_1", "sms"), "UrgentSmsMessageRequest", "UrgentReceivers"),
    (wire.urgent("om_1", "ou_1", "phone"), "UrgentPhoneMessageRequest", "UrgentReceivers"),
    (wire.pin("om_1"), "CreatePinRequest", "CreatePinRequestBody"),
    (wire.ask_message("om_1"), "GetMessageRequest", ""),
    (wire.history(CHAT, datetime(2026, 11, 25, tzinfo=UTC), "p"), "ListMessageRequest", ""),
    (wire.resource(Attached("om_1", "f", "a")), "GetMessageResourceRequest", ""),
    (wire.ask_scopes(), "ListScopeRequest", ""),
    (
        wire.ask_token("cli_1", Secret("s")),
        "InternalTenantAccessTokenRequest",
        "InternalTenantAccessTokenRequestBody",
    ),
]
"""All but `ask_bot`, of which the SDK has no model."""
MODELS = vars(im) | vars(application) | vars(auth)


@pytest.mark.parametrize(
    ("call", "request_name", "body_name"), CALLS, ids=[f"{c.method} {c.uri}" for c, _, _ in CALLS]
)
def test_a_request_is_what_the_sdk_would_send(
    call: Call, request_name: str, body_name: str
) -> None:
    """Method, path, parameters and body fields are ones that the vendor's own models know."""
    builder: Any = MODELS[request_name].builder()
    model = builder.build()
    assert (call.method, call.uri) == (model.http_method.name, model.uri)
    for name in (*call.paths, *call.query):
        assert callable(getattr(builder, name)), name
    if body_name:
        known = set(MODELS[body_name]._types)
        assert set(call.body or {}) <= known
        assert ("file" in known) == (call.file is not None)
    else:
        assert call.body is None


def test_the_private_names_are_there() -> None:
    """The SDK's version is pinned, and so is every name behind its back that the socket uses."""
    assert version("lark-oapi") == "1.7.5"
    for name in ("_write_message", "_disconnect", "_handle_control_frame", "_configure"):
        assert callable(getattr(sdk.Client, name))
        assert name not in vars(Socket)
    for name in ("run", "settle", "_open", "_discover", "_listen", "_ping", "_hear", "_answer"):
        assert not hasattr(sdk.Client, name), "our method would replace the SDK's"
    assert list(inspect.signature(sdk._new_ping_frame).parameters) == ["service_id"]
    assert list(inspect.signature(sdk._parse_ws_conn_exception).parameters) == ["e"]


async def test_a_new_client_holds_what_the_socket_reads() -> None:
    """The attributes are there after construction, the reaper's task among them; it can be ended."""
    client = sdk.Client("cli_1", "", log_level=LogLevel.CRITICAL, auto_reconnect=False)
    client._cache._cron.cancel()
    assert client._conn is None
    assert client._service_id == client._conn_id == ""
    assert client._ping_interval == 120
    assert not client._lock.locked()


def test_a_frame_has_the_fields_of_the_protocol() -> None:
    """The vendored protobuf still has the names that the socket and the simulator fill in."""
    names = {one.name for one in Frame.DESCRIPTOR.fields}
    assert {"SeqID", "LogID", "service", "method", "headers", "payload"} <= names
