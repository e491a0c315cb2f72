"""What the hooks take and answer, as OpenAPI: for senders, and for those who test us with rubbish."""

from __future__ import annotations

_TOLD = {
    "type": "object",
    "required": ["ok"],
    "properties": {"ok": {"type": "boolean"}, "error": {"type": "string"}},
}


def _answer(meaning: str) -> dict[str, object]:
    return {"description": meaning, "content": {"application/json": {"schema": _TOLD}}}


ANSWERS = {
    "200": _answer("Kept: it survives whatever happens to us now"),
    "400": _answer("It cannot be read"),
    "404": _answer("There is no such hook"),
    "405": _answer("It must be posted"),
    "413": _answer("It is too large"),
    "503": _answer("It was not kept, or took too long to come in: try again"),
}

_PLACES = [
    {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    for name in ("source", "token")
]

_BODY = {
    "content": {
        "application/json": {"schema": {}},
        "application/x-www-form-urlencoded": {"schema": {"type": "object"}},
    }
}

SCHEMA = {
    "openapi": "3.1.0",
    "info": {"title": "Vigilbot hooks", "version": "1"},
    "paths": {
        "/hooks/{source}/{token}": {
            "parameters": _PLACES,
            "get": {"operationId": "look", "responses": ANSWERS},
            "post": {"operationId": "post", "requestBody": _BODY, "responses": ANSWERS},
        }
    },
}
