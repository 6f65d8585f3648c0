"""Error responses: ``{"error": code}``, and with a 5xx the reference of its line in the log."""

import asyncio
from collections.abc import Mapping, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.errors import (
    RequestError,
    StoreUnavailable,
    StoreUncertain,
    describe_failure,
)

_HTTP_CODES = {404: ErrorCode.NOT_FOUND, 405: ErrorCode.METHOD_NOT_ALLOWED}


EXPECTED_ERRORS = (HTTPException, RequestError, StoreUnavailable, StoreUncertain)
"""They are answered where Starlette would answer them itself; `CatchAll` answers the others."""
ANY_ERROR = (Exception, asyncio.CancelledError)
"""What a request may raise. Nothing outside waits for a cancelled one."""


def respond(
    error: BaseException, scope: MutableMapping[str, Any], headers: Mapping[str, str] | None = None
) -> Response:
    """Return the response to a failed request.

    That of a 5xx has a reference. The request's line in the log has the same one, with the
    error's type and place, but without its text, which may quote the request.
    """
    sent = dict(headers or {})
    if isinstance(error, HTTPException):
        sent |= error.headers or {}
    refusal = _find_refusal(error)
    body = refusal.body()
    if refusal.status >= 500:
        noted = describe_failure(error)
        scope.setdefault("state", {}).update(noted)
        body["reference"] = noted["reference"]
    if refusal.retry_after_s is not None:
        sent["Retry-After"] = str(refusal.retry_after_s)
    if refusal.status == 401:
        sent["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, refusal.status, headers=sent)


def _find_refusal(error: BaseException) -> RequestError:
    match error:
        case RequestError():
            return error
        case HTTPException():
            return RequestError(_HTTP_CODES.get(error.status_code, ErrorCode.INTERNAL_ERROR))
        case StoreUnavailable():
            return RequestError(
                ErrorCode.UPSTREAM_FAILED, status=503, retry_after_s=error.retry_after_s
            )
        case StoreUncertain() | asyncio.CancelledError():
            return RequestError(ErrorCode.UPSTREAM_FAILED, status=502)
        case _:
            return RequestError(ErrorCode.INTERNAL_ERROR)


class CatchAll:
    """Answers an unexpected error with ``internal_error``.

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
        except ANY_ERROR as error:
            response = respond(error, scope)
        if response is not None and not is_begun:
            await response(scope, receive, send)
        elif is_open:  # the server's end stops an event stream anywhere
            await send({"type": "http.response.body", "body": b""})
