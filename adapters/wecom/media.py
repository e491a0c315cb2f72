"""Files: handed over by pieces of 512 KB (101463), to be posted for three days; and fetched from the
address that a message names, which is sealed and good for five minutes."""

from __future__ import annotations

import base64
import hashlib
from email.message import Message as Headers

import httpx

from adapters.port import InDoubt, Permanent, Transient
from adapters.tls import trusted
from adapters.wecom.crypto import Unsealed, opened_file
from adapters.wecom.socket import Socket
from adapters.wecom.wire import FILE_BYTES, Attached
from adapters.words import File

PIECE = 512 * 1024


async def hand_over(socket: Socket, file: File) -> str:
    """Return the file's media_id. To hand it over twice does no harm: no answer is Transient."""
    pieces = range(0, len(file.content), PIECE)
    first = {
        "type": "file",
        "filename": file.name,
        "total_size": len(file.content),
        "total_chunks": len(pieces),
        "md5": hashlib.md5(file.content, usedforsecurity=False).hexdigest(),
    }
    try:
        told = await socket.call("aibot_upload_media_init", first, doing="上传文件")
        ticket = {"upload_id": str(told.get("upload_id", ""))}
        for number, at in enumerate(pieces):
            data = base64.b64encode(file.content[at : at + PIECE]).decode()
            piece = {**ticket, "chunk_index": number, "base64_data": data}
            await socket.call("aibot_upload_media_chunk", piece, doing="上传文件")
        told = await socket.call("aibot_upload_media_finish", ticket, doing="上传文件")
    except InDoubt as problem:
        raise Transient(problem.reason) from problem
    return str(told.get("media_id", ""))


async def fetched(file: Attached) -> File:
    """Return a file that somebody sent; raises Transient, or Permanent for one that cannot be had."""
    content, name = bytearray(), ""
    try:
        async with (
            httpx.AsyncClient(timeout=20, verify=trusted()) as http,
            http.stream("GET", file.url) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise Permanent(f"企业微信下载文件：HTTP {response.status_code}")
            name = _name(response.headers.get("content-disposition", ""))
            async for piece in response.aiter_bytes():
                content += piece
                if len(content) > FILE_BYTES:
                    raise Permanent("企业微信的文件最多 50 MB")
    except (httpx.HTTPError, httpx.InvalidURL) as problem:
        raise Transient(f"企业微信下载文件：{type(problem).__name__}") from None
    try:
        return File(name, opened_file(bytes(content), file.key))
    except Unsealed as problem:
        raise Permanent("企业微信的文件解不开") from problem


def _name(disposition: str) -> str:
    """Return the name that a header gives a file, plain or by RFC 5987."""
    headers = Headers()
    headers["content-disposition"] = disposition
    return (headers.get_filename() or "file").rpartition("/")[2]
