"""Bodies of requests: their type, their size, and what large ones may cost everybody else."""

import asyncio
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from pydantic import BaseModel
from starlette.requests import Request

from millimetric_mcp.api.ingest.validate import read_body
from millimetric_mcp.api.judge import judge_apart
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.events import MAX_BODY_BYTES
from millimetric_mcp.errors import RequestError

LARGE_BODY_BYTES = 256 * 1024
MAX_WAITING_BYTES = 8 * MAX_BODY_BYTES
MAX_VALUES_HERE = 200_000
"""More make the parser, which lets nobody in between, take longer than a tenth of a second."""

MAX_GZIP_MEMBERS = 100
NOT_GZIP = f"The body is not whole gzip, of {MAX_GZIP_MEMBERS} members at most."

_GZIP = frozenset({"gzip", "x-gzip"})
_ENCODINGS = _GZIP | {"", "identity"}
_DIGITS = re.compile("[0-9]{1,20}")

ModelT = TypeVar("ModelT", bound=BaseModel)


class BodyReader:
    """Reads bodies as models of the contract.

    Large ones are inflated and judged one after another, in a thread or, where they hold very
    many values, in a process of their own, so that small requests are answered meanwhile. Those
    waiting hold at most ``max_waiting_bytes``, as they were sent.
    """

    def __init__(self, *, max_waiting_bytes: int = MAX_WAITING_BYTES) -> None:
        self._max_waiting_bytes = max_waiting_bytes
        self._waiting_bytes = 0
        self._one_large = asyncio.Lock()

    async def read(
        self, model: type[ModelT], request: Request, headers: Mapping[str, str]
    ) -> ModelT:
        """The model that the request's JSON describes, inflated where it came as gzip.

        Raises:
            RequestError: unsupported_media_type, payload_too_large, invalid_payload, or
                upstream_failed while too many large bodies wait.
        """
        is_gzip = _read_media_type(headers)
        declared = headers.get("content-length", "0")
        if _DIGITS.fullmatch(declared) and int(declared) > MAX_BODY_BYTES:
            raise RequestError(ErrorCode.PAYLOAD_TOO_LARGE)
        body = bytearray()
        with self._waiting() as hold:
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise RequestError(ErrorCode.PAYLOAD_TOO_LARGE)
                if len(body) > LARGE_BODY_BYTES:
                    hold(len(body))
            return await self._judge(model, bytes(body), is_gzip=is_gzip)

    async def _judge(self, model: type[ModelT], body: bytes, *, is_gzip: bool) -> ModelT:
        if len(body) <= LARGE_BODY_BYTES:
            text = inflate(body, max_bytes=LARGE_BODY_BYTES) if is_gzip else body
            if text is not None:
                return read_body(model, text)
        async with self._one_large:
            return await _judge_large(model, body, is_gzip=is_gzip)

    @contextmanager
    def _waiting(self) -> Iterator[Callable[[int], None]]:
        """Gives a function that notes how long this body has become."""
        own_bytes = 0

        def hold(size_bytes: int) -> None:
            nonlocal own_bytes
            self._waiting_bytes += size_bytes - own_bytes
            own_bytes = size_bytes
            if self._waiting_bytes > self._max_waiting_bytes:
                raise RequestError(ErrorCode.UPSTREAM_FAILED, status=503, retry_after_s=1)

        try:
            yield hold
        finally:
            self._waiting_bytes -= own_bytes


async def _judge_large(model: type[ModelT], body: bytes, *, is_gzip: bool) -> ModelT:
    text = await asyncio.to_thread(inflate, body, max_bytes=MAX_BODY_BYTES) if is_gzip else body
    if text is None:
        raise RequestError(ErrorCode.PAYLOAD_TOO_LARGE)
    if sum(map(text.count, (b",", b"[", b"{"))) <= MAX_VALUES_HERE:
        return await asyncio.to_thread(read_body, model, text)
    return await judge_apart(model, text)


def _read_media_type(headers: Mapping[str, str]) -> bool:
    """Whether the body is gzip; it has to be JSON in UTF-8, whatever else its type says."""
    media_type, *parameters = headers.get("content-type", "").lower().split(";")
    charsets = [
        parameter.partition("=")[2].strip(' "')
        for parameter in parameters
        if parameter.partition("=")[0].strip() == "charset"
    ]
    encoding = headers.get("content-encoding", "").strip().lower()
    if (
        media_type.strip() != "application/json"
        or any(charset not in {"utf-8", "utf8"} for charset in charsets)
        or encoding not in _ENCODINGS
    ):
        raise RequestError(ErrorCode.UNSUPPORTED_MEDIA_TYPE)
    return encoding in _GZIP


def inflate(body: bytes, *, max_bytes: int) -> bytes | None:
    """What gzip members, one behind the other, hold together; None where that is more.

    Zeros behind a member are padding, as for gzip itself.

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
