"""Request bodies, read whole: each up to a limit, and all of them up to another."""

import re
from collections.abc import Mapping

from starlette.requests import ClientDisconnect, Request

from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.errors import RequestError

_DIGITS = re.compile("[0-9]{1,20}")


class BodyBuffer:
    """Reads whole bodies, as sent; those being read or parsed take ``max_held_bytes`` at most."""

    def __init__(self, *, max_held_bytes: int) -> None:
        self._max_held_bytes = max_held_bytes
        self._held_bytes = 0

    async def read(self, request: Request, headers: Mapping[str, str], *, max_bytes: int) -> bytes:
        """Return the body; its memory counts until `release` gets it.

        Raises:
            RequestError: payload_too_large, or upstream_failed (503) without memory for it.
            ClientDisconnect: the caller has left.
        """
        declared = headers.get("content-length", "0")
        if _DIGITS.fullmatch(declared) and int(declared) > max_bytes:
            raise RequestError(ErrorCode.PAYLOAD_TOO_LARGE)
        chunks: list[bytes] = []
        read_bytes, has_more = 0, True
        try:
            while has_more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                chunks.append(message.get("body", b""))
                has_more = message.get("more_body", False)
                read_bytes += len(chunks[-1])
                self._held_bytes += len(chunks[-1])
                if read_bytes > max_bytes:
                    raise RequestError(ErrorCode.PAYLOAD_TOO_LARGE)
                if self._held_bytes > self._max_held_bytes:
                    raise RequestError(ErrorCode.UPSTREAM_FAILED, status=503, retry_after_s=1)
        except BaseException:
            self._held_bytes -= read_bytes
            raise
        return b"".join(chunks)

    def release(self, body: bytes) -> None:
        """Count the memory of a body no longer."""
        self._held_bytes -= len(body)
