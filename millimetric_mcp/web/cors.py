"""CORS for the paths that browsers may call."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.errors import RequestError
from millimetric_mcp.web.errors import respond


@dataclass(frozen=True, slots=True)
class CorsPolicy:
    """Which browser pages may call the paths that start with ``prefix``, and how."""

    prefix: str
    methods: Sequence[str]
    exposed_headers: Sequence[str]
    origins: Sequence[str] = ()
    origin_pattern: str | None = None
    max_age_s: int = 600


class Cors(CORSMiddleware):
    """Applies a policy; a refused preflight gets an error body."""

    def __init__(self, app: ASGIApp, policy: CorsPolicy) -> None:
        super().__init__(
            app,
            allow_origins=policy.origins,
            allow_origin_regex=policy.origin_pattern,
            allow_methods=policy.methods,
            allow_headers=["*"],
            allow_private_network=True,
            expose_headers=policy.exposed_headers,
            max_age=policy.max_age_s,
        )
        self._prefix = policy.prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_concerned = (
            scope["type"] == "http"
            and scope["path"].startswith(self._prefix)
            and any(name == b"origin" for name, _ in scope["headers"])
        )
        await (super().__call__ if is_concerned else self.app)(scope, receive, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        if not self.is_allowed_origin(request_headers["origin"]):
            return respond(RequestError(ErrorCode.ORIGIN_NOT_ALLOWED))
        return respond(RequestError(ErrorCode.METHOD_NOT_ALLOWED), self.preflight_headers)
