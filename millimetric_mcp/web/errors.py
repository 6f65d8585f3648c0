"""Error responses: ``{"error": code}``, and a reference where the error was unexpected."""

import asyncio
from collections.abc import Mapping
from secrets import token_hex

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.errors import (
    RequestError,
    StoreUnavailable,
    StoreUncertain,
    describe_exception,
    trace_exception,
)

MAX_TRACE = 20
"""The innermost calls of a traceback; the log has so many."""

_HTTP_CODES = {404: ErrorCode.NOT_FOUND, 405: ErrorCode.METHOD_NOT_ALLOWED}


EXPECTED_ERRORS = (HTTPException, RequestError, StoreUnavailable, StoreUncertain)
"""They are answered by `respond`."""


def respond(error: Exception, headers: Mapping[str, str] | None = None) -> Response:
    """Return the response to a request that failed with one of `EXPECTED_ERRORS`."""
    sent = dict(headers or {})
    if isinstance(error, HTTPException):
        sent |= error.headers or {}
        error = RequestError(_HTTP_CODES.get(error.status_code, ErrorCode.INTERNAL_ERROR))
    elif isinstance(error, StoreUnavailable):
        error = RequestError(
            ErrorCode.UPSTREAM_FAILED, status=503, retry_after_s=error.retry_after_s
        )
    elif not isinstance(error, RequestError):
        error = RequestError(ErrorCode.UPSTREAM_FAILED, status=502)
    if error.retry_after_s is not None:
        sent["Retry-After"] = str(error.retry_after_s)
    if error.status == 401:
        sent["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error.body(), error.status, headers=sent)


class CatchAll:
    """Answers an unexpected error with ``internal_error`` and a reference to its line in the log.

    The line has the error's type and traceback, without its text, which may quote the request.
    A request that the server's end interrupts gets 502: a write may have happened.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_begun = is_open = False
        response: Response | None = None

        async def note_progress(message: Message) -> None:
            nonlocal is_begun, is_open
            is_begun, is_open = True, message.get("more_body", "status" in message)
            await send(message)

        try:
            await self._app(scope, receive, note_progress)
        except ClientDisconnect:
            return
        except asyncio.CancelledError:  # not raised again: nothing outside waits for the request
            response = respond(RequestError(ErrorCode.UPSTREAM_FAILED, status=502))
        except Exception as error:  # noqa: BLE001 - it is in the log
            reference = token_hex(4)
            scope.setdefault("state", {}).update(
                error=describe_exception(error),
                trace=trace_exception(error)[-MAX_TRACE:],
                reference=reference,
            )
            body = RequestError(ErrorCode.INTERNAL_ERROR).body() | {"reference": reference}
            response = JSONResponse(body, 500)
        if response is not None and not is_begun:
            await response(scope, receive, send)
        elif is_open:  # the server's end stops an event stream anywhere
            await send({"type": "http.response.body", "body": b""})
