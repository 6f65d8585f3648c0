"""CORS for the paths that browsers may call."""

from typing import Any

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.errors import RequestError
from millimetric_mcp.web.errors import respond


class Cors(CORSMiddleware):
    """Starlette's CORS for paths that start with ``prefix``; a refusal has an error body."""

    def __init__(self, app: ASGIApp, /, *, prefix: str, **policy: Any) -> None:  # noqa: ANN401
        super().__init__(app, allow_headers=["*"], allow_private_network=True, **policy)
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_concerned = (
            scope["type"] == "http"
            and scope["path"].startswith(self._prefix)
            and b"origin" in dict(scope["headers"])
        )
        await (super().__call__ if is_concerned else self.app)(scope, receive, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        if not self.is_allowed_origin(request_headers["origin"]):
            return respond(RequestError(ErrorCode.ORIGIN_NOT_ALLOWED), {})
        return respond(RequestError(ErrorCode.METHOD_NOT_ALLOWED), {}, self.preflight_headers)
