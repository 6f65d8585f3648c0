"""The HTTP API as one ASGI application: endpoints and life span."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from millimetric_mcp.api import page
from millimetric_mcp.api.auth import authenticate
from millimetric_mcp.api.bodies import BodyReader
from millimetric_mcp.api.control import Control, KeyCache, KeyUse, Secrets
from millimetric_mcp.api.health import Health
from millimetric_mcp.api.imports import Imports
from millimetric_mcp.api.maintenance import Maintenance
from millimetric_mcp.api.metrics import Metrics, serve_metrics
from millimetric_mcp.api.openapi import render_openapi
from millimetric_mcp.api.quotas import BrowserQuota
from millimetric_mcp.api.ratelimit import RateLimiter
from millimetric_mcp.api.routes import Endpoints
from millimetric_mcp.api.store import Store
from millimetric_mcp.contract.endpoints import METRICS_PATH, OPENAPI_PATH
from millimetric_mcp.settings import ApiSettings
from millimetric_mcp.web.app import build_web_app
from millimetric_mcp.web.cors import Cors
from millimetric_mcp.web.log import Log

CORS = Middleware(
    Cors,
    prefix="/v1/",
    allow_origins=["*"],
    allow_methods=["GET", "POST"],
    expose_headers=["Retry-After"],
    max_age=86_400,
)
"""Open to every origin: the key and its allowed origins authorise."""


@dataclass(frozen=True, slots=True)
class Backends:
    """What the application works with, already open; it closes them when it ends."""

    control: Control
    store: Store
    secrets: Secrets


def build_app(
    settings: ApiSettings,
    backends: Backends,
    *,
    country_of: Callable[[str], str],
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    clock_ns: Callable[[], int] = time.monotonic_ns,
    write_log: Callable[[str], object],
) -> Starlette:
    """Return the API; its background work begins and ends with its life span.

    ``state.check_key`` checks an ``Authorization`` header: see `authenticate`. ``state.log`` is
    the log of requests.
    """
    control, store, secrets = backends.control, backends.store, backends.secrets
    keys = KeyCache(control.find_keys)
    use = KeyUse(control.note_use, clock=clock)
    maintenance = Maintenance(
        control=control,
        store=store,
        clock=clock,
        default_retention_days=settings.retention_days,
        save_use=use.save,
    )
    control_checks = ThreadPoolExecutor(1, "control-check")
    endpoints = Endpoints(
        store=store,
        deletions=control.deletions,
        imports=Imports(log=control.imports, store=store, clock=clock),
        links=control.links,
        find_key=keys.find,
        note_use=use.note,
        pepper=secrets.pepper,
        ip_salt=secrets.ip_salt or b"",
        limiter=RateLimiter(settings.rate_limits, clock=clock_ns),
        bodies=BodyReader(),
        quota=_limit_browser_keys(settings, store, clock),
        health=Health({**store.checks, "control": partial(_run_in, control_checks, control.check)}),
        clock=clock,
        country_of=country_of,
        fbclid=settings.fbclid,
        wake_maintenance=maintenance.wake,
    )

    routes = [*endpoints.list_routes(), Route(OPENAPI_PATH, _serve_openapi), *page.list_routes()]
    log = Log(settings.log_level, write_log, form=settings.log_format)
    if settings.metrics:
        routes.append(_measure(log, settings, backends, clock))
    app = build_web_app(
        routes,
        lifespan=partial(_live, backends, keys, maintenance, control_checks),
        log=log,
        cors=CORS,
        shortcuts=endpoints.list_shortcuts(),
    )
    app.state.log = log
    app.state.check_key = partial(authenticate, find=keys.find, pepper=secrets.pepper)
    return app


def _limit_browser_keys(
    settings: ApiSettings, store: Store, clock: Callable[[], datetime]
) -> BrowserQuota:
    max_bytes = settings.browser_mb_per_day * 1024 * 1024
    return BrowserQuota(
        store, max_names=settings.browser_names, max_bytes_per_day=max_bytes, clock=clock
    )


@asynccontextmanager
async def _live(
    backends: Backends,
    keys: KeyCache,
    maintenance: Maintenance,
    control_checks: ThreadPoolExecutor,
    _app: Starlette,
) -> AsyncIterator[None]:
    """Work in the background until the application ends."""
    async with AsyncExitStack() as stack:  # closed in reverse order, whatever fails
        stack.callback(backends.control.close)
        stack.callback(control_checks.shutdown, wait=False, cancel_futures=True)
        stack.push_async_callback(keys.close)
        stack.push_async_callback(backends.store.close)
        backends.store.start()
        stack.push_async_callback(maintenance.close)
        maintenance.start()
        yield


def _measure(
    log: Log, settings: ApiSettings, backends: Backends, clock: Callable[[], datetime]
) -> Route:
    """Measure requests and writes; return the route that shows it."""
    metrics = Metrics()
    log.observe = metrics.observe_request
    backends.store.observe_groups(metrics.observe_group)
    token = settings.metrics_token.get_secret_value() if settings.metrics_token else None
    serve = partial(
        serve_metrics,
        metrics=metrics,
        control=backends.control,
        store=backends.store,
        clock=clock,
        token=token,
    )
    return Route(METRICS_PATH, serve, methods=["GET"])


async def _run_in(executor: ThreadPoolExecutor, work: Callable[[], None]) -> None:
    await asyncio.get_running_loop().run_in_executor(executor, work)


async def _serve_openapi(_request: Request) -> Response:
    return Response(render_openapi(), media_type="application/json")
