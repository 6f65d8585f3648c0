"""The HTTP API as one ASGI application: endpoints, error envelope, CORS, log, life span."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from millimetric_mcp.api.bodies import BodyReader
from millimetric_mcp.api.control import Control, KeyCache, Secrets
from millimetric_mcp.api.maintenance import Maintenance
from millimetric_mcp.api.openapi import render_openapi
from millimetric_mcp.api.ratelimit import RateLimiter
from millimetric_mcp.api.routes import Endpoints, Services
from millimetric_mcp.api.store import EventStore
from millimetric_mcp.contract.codes import ERRORS, ErrorCode
from millimetric_mcp.contract.endpoints import OPENAPI_PATH
from millimetric_mcp.errors import RequestError, StoreUnavailable, StoreUncertain
from millimetric_mcp.settings import ApiSettings
from millimetric_mcp.web.log import RequestLog

CORS_MAX_AGE_S = 86_400


@dataclass(frozen=True, slots=True)
class Backends:
    """What the application stands on, already open; it closes them when it ends."""

    control: Control
    store: EventStore
    secrets: Secrets


def build_app(
    settings: ApiSettings,
    backends: Backends,
    *,
    country_of: Callable[[str], str],
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    clock_ns: Callable[[], int] = time.monotonic_ns,
    write_log: Callable[[str], object] = sys.stderr.write,
) -> Starlette:
    """The API over its backends; everything it does beside answering begins with its life span."""
    control, store, secrets = backends.control, backends.store, backends.secrets
    keys = KeyCache(control.find_keys)
    maintenance = Maintenance(
        control=control,
        store=store,
        clock=clock,
        default_retention_days=settings.retention_days,
    )
    services = Services(
        store=store,
        deletions=control.deletions,
        find_key=keys.find,
        pepper=secrets.pepper,
        ip_salt=secrets.ip_salt or b"",
        limiter=RateLimiter(settings.rate_limits, clock=clock_ns),
        bodies=BodyReader(),
        clock=clock,
        country_of=country_of,
        wake_maintenance=maintenance.wake,
    )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:  # noqa: ARG001
        store.start()
        maintenance.start()
        try:
            yield
        finally:
            await maintenance.close()
            await store.close()
            await keys.close()
            control.close()

    app = Starlette(
        routes=[*Endpoints(services).list_routes(), Route(OPENAPI_PATH, _serve_openapi)],
        middleware=[
            Middleware(RequestLog, write_log),
            Middleware(VersionedCors),
            Middleware(LastResort),
        ],
        exception_handlers={
            HTTPException: _answer_http_error,
            RequestError: _answer_request_error,
            StoreUnavailable: _answer_unavailable,
            StoreUncertain: _answer_uncertain,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # another path is another path: 404, not 307
    return app


async def _serve_openapi(request: Request) -> Response:  # noqa: ARG001
    return Response(render_openapi(), media_type="application/json")


class VersionedCors:
    """CORS for ``/v1/*``, open to every origin: the key and its allowlist authorise."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._cors = _Cors(
            app,
            allow_origins=["*"],
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            allow_private_network=True,
            expose_headers=["Retry-After"],
            max_age=CORS_MAX_AGE_S,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from_browser = (
            scope["type"] == "http"
            and scope["path"].startswith("/v1/")
            and any(name == b"origin" for name, _ in scope["headers"])
        )
        await (self._cors if from_browser else self._app)(scope, receive, send)


class _Cors(CORSMiddleware):
    """Origins and headers are all allowed: a preflight is refused for its method alone."""

    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        if answer.status_code == HTTPStatus.OK:
            return answer
        return _envelope(RequestError(ErrorCode.METHOD_NOT_ALLOWED), self.preflight_headers)


class LastResort:
    """Answers what no handler foresaw with ``internal_error``, and leaves the fault to the log.

    Nobody answers a caller who hung up. A request that the end of the server cuts off is told
    that its fate is unknown.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def note_begin(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, note_begin)
        except ClientDisconnect:
            return
        except asyncio.CancelledError:
            if scope["type"] != "http":
                raise
            if not has_begun:
                answer = _envelope(RequestError(ErrorCode.UPSTREAM_FAILED, status=502))
                await answer(scope, receive, send)
        except Exception as error:
            if scope["type"] != "http":
                raise
            scope.setdefault("state", {})["fault"] = error
            if not has_begun:
                answer = _envelope(RequestError(ErrorCode.INTERNAL_ERROR))
                await answer(scope, receive, send)


def _envelope(error: RequestError, headers: Mapping[str, str] | None = None) -> Response:
    extra = dict(headers or {})
    if error.retry_after_s is not None:
        extra["Retry-After"] = str(error.retry_after_s)
    if error.status == ERRORS[ErrorCode.INVALID_API_KEY].statuses[0]:
        extra["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error.body(), error.status, headers=extra)


async def _answer_request_error(request: Request, error: Exception) -> Response:  # noqa: ARG001
    assert isinstance(error, RequestError)  # noqa: S101
    return _envelope(error)


async def _answer_unavailable(request: Request, error: Exception) -> Response:  # noqa: ARG001
    retry_after_s = error.retry_after_s if isinstance(error, StoreUnavailable) else 1
    return _envelope(
        RequestError(ErrorCode.UPSTREAM_FAILED, status=503, retry_after_s=retry_after_s)
    )


async def _answer_uncertain(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return _envelope(RequestError(ErrorCode.UPSTREAM_FAILED, status=502))


_HTTP_CODES = {404: ErrorCode.NOT_FOUND, 405: ErrorCode.METHOD_NOT_ALLOWED}


async def _answer_http_error(request: Request, error: Exception) -> Response:  # noqa: ARG001
    assert isinstance(error, HTTPException)  # noqa: S101
    code = _HTTP_CODES.get(error.status_code, ErrorCode.INTERNAL_ERROR)
    return _envelope(RequestError(code), error.headers)
