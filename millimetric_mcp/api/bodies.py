"""Request bodies: media type, size limits, gzip, and parsing that leaves the event loop free."""

import asyncio
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar
from weakref import WeakValueDictionary

from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request

from millimetric_mcp.api.ingest.validate import read_body
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.events import MAX_BODY_BYTES
from millimetric_mcp.contract.json_text import has_too_many_values
from millimetric_mcp.errors import RequestError
from millimetric_mcp.web.bodies import BodyBuffer

LARGE_BODY_BYTES = 256 * 1024
"""Larger bodies are inflated and parsed in a thread."""
MAX_HELD_BYTES = 8 * MAX_BODY_BYTES
"""For all requests together: the bodies that are being received or parsed, as sent."""
MAX_PARSING_THREADS = 4
MAX_GZIP_MEMBERS = 100
NOT_GZIP = f"The body is not complete gzip data with at most {MAX_GZIP_MEMBERS} members."

JSON_TYPES = frozenset({"application/json"})
BEACON_TYPES = JSON_TYPES | {"text/plain"}
"""``navigator.sendBeacon`` sends a text as text/plain; JSON would need a preflight."""
_GZIP = frozenset({"gzip", "x-gzip"})
_ENCODINGS = _GZIP | {"", "identity"}

ModelT = TypeVar("ModelT", bound=BaseModel)
ResultT = TypeVar("ResultT")


class BodyReader:
    """Reads request bodies as models of the contract.

    Each project's large bodies are parsed one at a time. Projects do not wait for each other.
    """

    def __init__(self, *, max_held_bytes: int = MAX_HELD_BYTES) -> None:
        self._buffer = BodyBuffer(max_held_bytes=max_held_bytes)
        # Not the loop's own threads: those may all wait for a locked database.
        self._threads = ThreadPoolExecutor(MAX_PARSING_THREADS, "body")
        # By project; an entry lives as long as a request of the project is read.
        self._turns: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    async def read(
        self,
        model: type[ModelT],
        request: Request,
        headers: Mapping[str, str],
        *,
        project_id: int,
        finish: Callable[[ModelT], ResultT],
        media_types: frozenset[str] = JSON_TYPES,
        large_bytes: int = LARGE_BODY_BYTES,
    ) -> ResultT:
        """Return what ``finish`` makes of the request's JSON; a gzip body is inflated first.

        A body of more than ``large_bytes`` is parsed and finished in a thread.

        Raises:
            RequestError: unsupported_media_type, payload_too_large, invalid_payload, or
                upstream_failed (503) while bodies hold `MAX_HELD_BYTES`.
        """
        is_gzip = _read_media_type(headers, allowed=media_types)
        body = await self._buffer.read(request, headers, max_bytes=MAX_BODY_BYTES)
        try:
            if len(body) <= large_bytes:
                text = inflate(body, max_bytes=large_bytes) if is_gzip else body
                if text is not None:
                    return finish(_parse(model, text))
            async with self._turns.setdefault(project_id, asyncio.Lock()):
                if await request.is_disconnected():  # many may wait whose senders have left
                    raise ClientDisconnect
                read = partial(_read_large, model, body, finish, is_gzip=is_gzip)
                return await asyncio.get_running_loop().run_in_executor(self._threads, read)
        finally:
            self._buffer.release(body)


def _read_large(
    model: type[ModelT], body: bytes, finish: Callable[[ModelT], ResultT], *, is_gzip: bool
) -> ResultT:
    text = inflate(body, max_bytes=MAX_BODY_BYTES) if is_gzip else body
    if text is None:
        raise RequestError(ErrorCode.PAYLOAD_TOO_LARGE)
    return finish(_parse(model, text))


def _parse(model: type[ModelT], text: bytes) -> ModelT:
    if has_too_many_values(text):
        raise RequestError(ErrorCode.PAYLOAD_TOO_LARGE)
    return read_body(model, text)


def _read_media_type(headers: Mapping[str, str], *, allowed: frozenset[str]) -> bool:
    """Return whether the body is gzip.

    Raises:
        RequestError: unsupported_media_type, unless it is JSON in UTF-8, plain or gzip.
    """
    if headers.get("content-type") in allowed and "content-encoding" not in headers:
        return False  # nearly always
    media_type, *parameters = headers.get("content-type", "").lower().split(";")
    charsets = [
        parameter.partition("=")[2].strip(' "')
        for parameter in parameters
        if parameter.partition("=")[0].strip() == "charset"
    ]
    encoding = headers.get("content-encoding", "").strip().lower()
    if (
        media_type.strip() not in allowed
        or any(charset not in {"utf-8", "utf8"} for charset in charsets)
        or encoding not in _ENCODINGS
    ):
        raise RequestError(ErrorCode.UNSUPPORTED_MEDIA_TYPE)
    return encoding in _GZIP


def inflate(body: bytes, *, max_bytes: int) -> bytes | None:
    """Return the content of all gzip members together; None if it is over ``max_bytes``.

    Zero bytes after a member are padding, as in the gzip tool.

    Raises:
        RequestError: invalid_payload.
    """
    inflated: list[bytes] = []
    left_bytes = max_bytes
    for _ in range(MAX_GZIP_MEMBERS):
        member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        try:
            inflated.append(member.decompress(body, left_bytes + 1))
        except zlib.error:
            break
        left_bytes -= len(inflated[-1])
        if left_bytes < 0:
            return None
        body = member.unused_data.lstrip(b"\0")
        if not member.eof:
            break
        if not body:
            return b"".join(inflated)
    details = {"fieldErrors": {}, "formErrors": [NOT_GZIP]}
    raise RequestError(ErrorCode.INVALID_PAYLOAD, details=details)
