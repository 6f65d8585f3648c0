"""Request bodies, read whole: each up to a limit, and all of them up to another."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from starlette.requests import Request

from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.errors import RequestError

_DIGITS = re.compile("[0-9]{1,20}")


class BodyBuffer:
    """Reads whole bodies, as sent; those being read or parsed take ``max_held_bytes`` at most."""

    def __init__(self, *, max_held_bytes: int) -> None:
        self._max_held_bytes = max_held_bytes
        self._held_bytes = 0

    @asynccontextmanager
    async def read(
        self, request: Request, headers: Mapping[str, str], *, max_bytes: int
    ) -> AsyncIterator[bytes]:
        """Yield the body; its memory counts until the block ends.

        Raises:
            RequestError: payload_too_large, or upstream_failed (503) without memory for it.
        """
        declared = headers.get("content-length", "0")
        if _DIGITS.fullmatch(declared) and int(declared) > max_bytes:
            raise RequestError(ErrorCode.PAYLOAD_TOO_LARGE)
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                self._held_bytes += len(chunk)
                if len(body) > max_bytes:
                    raise RequestError(ErrorCode.PAYLOAD_TOO_LARGE)
                if self._held_bytes > self._max_held_bytes:
                    raise RequestError(ErrorCode.UPSTREAM_FAILED, status=503, retry_after_s=1)
            yield bytes(body)
        finally:
            self._held_bytes -= len(body)


def count_json_values(text: bytes) -> int:
    """Return how many values the JSON text has, roughly and quickly: texts count too."""
    return sum(map(text.count, (b",", b"[", b"{")))
