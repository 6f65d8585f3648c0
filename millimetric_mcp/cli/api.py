"""``millimetric-mcp api``: the embedded HTTP API, with the MCP server beside it at ``/mcp``."""

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from shutil import rmtree

import uvicorn
from httpx import ASGITransport
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.supervisors import Multiprocess

from millimetric_mcp.api.app import Backends, build_app
from millimetric_mcp.api.control import (
    Control,
    control_dsn,
    keep_private,
    make_private_directory,
    open_control,
    prepare_data_dir,
    resolve_secrets,
)
from millimetric_mcp.api.ingest.enrich import load_country_lookup
from millimetric_mcp.api.ingest.pipeline import warm_up
from millimetric_mcp.api.store import (
    ClientPool,
    EventStore,
    StoreTarget,
    embedded_target,
    hold_directories,
    migrate,
    open_event_store,
    parse_store_dsn,
)
from millimetric_mcp.cli.keys import announce_first_keys
from millimetric_mcp.cli.serve import quiet_library, read_server_options
from millimetric_mcp.client.client import MillimetricClient
from millimetric_mcp.errors import MillimetricError, SettingsError
from millimetric_mcp.mcp.access import find_caller_by_keys, read_access
from millimetric_mcp.mcp.http import build_http_app, build_http_transports
from millimetric_mcp.mcp.server import build_server
from millimetric_mcp.settings import (
    ApiSettings,
    Auth,
    StoreSettings,
    list_settings,
    read_settings,
)
from millimetric_mcp.web.connections import BoundedHttp
from millimetric_mcp.web.serve import BACKLOG, listen, write_url

STORE_DIR = "store"
TEMPORARY_DIR = "tmp"
DRAIN_TIMEOUT_S = 3
KEEP_ALIVE_TIMEOUT_S = 65
WORKER_PAUSE_S = 1

_log = logging.getLogger(__name__)


def run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Serves until SIGTERM or SIGINT, then drains and returns 0."""
    keep_private()
    settings = read_settings(ApiSettings, environ=environ, options=vars(options))
    data_dir = prepare_data_dir(settings)
    target = resolve_store(settings, data_dir)
    set_up_logging()
    if settings.workers > 1:
        return _serve_with_workers(settings, options, data_dir, target)
    with ExitStack() as stack:
        stack.enter_context(hold_directories(data_dir, target))
        if target.embedded:
            _use_temporary_dir(data_dir)
        listener = stack.enter_context(listen(settings.bind, settings.port))
        backends = _open_backends(settings, data_dir, target)
        config = _configure(settings, _build_app(settings, backends))
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            _announce(listener, data_dir)
            runner.run(_Server(config).serve(sockets=[listener]))
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is ending
        if backends.store.left_running:
            # Python would wait for the thread, which may take minutes on a large store.
            os._exit(0)
    return 0


def resolve_store(settings: StoreSettings, data_dir: Path) -> StoreTarget:
    """The event store that is set, else the embedded one in the data directory."""
    if settings.store is None:
        if settings.cluster:
            raise SettingsError(["--cluster: needs --store clickhouse://..."])
        return embedded_target(
            data_dir / STORE_DIR,
            fsync=settings.fsync,
            memory_mb=settings.store_memory_mb,
            threads=settings.store_threads,
        )
    return parse_store_dsn(
        settings.store.get_secret_value(),
        cluster=settings.cluster,
        fsync=settings.fsync,
        memory_mb=settings.store_memory_mb,
        threads=settings.store_threads,
    )


def create_app() -> ASGIApp:
    """A worker process's application; its settings are in the environment.

    Raises:
        SystemExit: the store or the control database failed; another worker tries again.
    """
    settings = read_settings(ApiSettings, environ=os.environ, options={})
    set_up_logging()
    data_dir = prepare_data_dir(settings)
    try:
        backends = _open_backends(settings, data_dir, resolve_store(settings, data_dir))
    except MillimetricError as error:
        _log.error("a worker can't start: %s", error)
        time.sleep(WORKER_PAUSE_S)
        raise SystemExit(1) from None
    return _Worker(_build_app(settings, backends), backends.store)


class _Worker:
    """An application that ends its process with its life span, whatever hangs in threads."""

    def __init__(self, app: ASGIApp, store: EventStore) -> None:
        self._app = app
        self._store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
        if scope["type"] == "lifespan" and self._store.left_running:
            os._exit(0)


def set_up_logging() -> None:
    """Our own lines to stderr as they are; other libraries' from warnings on."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("millimetric_mcp").setLevel(logging.INFO)
    quiet_library()


def _open_backends(settings: ApiSettings, data_dir: Path, target: StoreTarget) -> Backends:
    control = _open_control(settings, data_dir)
    announce_first_keys(control, data_dir=data_dir, stdout=sys.stdout)
    store = open_event_store(target, max_queued_events=settings.max_queued_events)
    return Backends(control, store, resolve_secrets(settings, data_dir))


def _open_control(settings: ApiSettings, data_dir: Path) -> Control:
    secrets = resolve_secrets(settings, data_dir)
    return open_control(
        control_dsn(settings, data_dir), pepper=secrets.pepper, ip_salt=secrets.ip_salt
    )


def _build_app(settings: ApiSettings, backends: Backends) -> ASGIApp:
    api = build_app(settings, backends, country_of=load_country_lookup())
    warm_up()
    if settings.workers > 1:
        return api  # a session of MCP lives in one process; its requests may reach any
    return _add_mcp(api, settings)


def _add_mcp(api: Starlette, settings: ApiSettings) -> ASGIApp:
    """The API with the MCP server beside it at ``/mcp``: each caller's own keys, in process."""
    client = MillimetricClient(
        api_url="http://in-process",
        write_key=None,
        read_key=None,
        transport=ASGITransport(_InProcess(api)),
    )
    server = build_server(
        find_caller=find_caller_by_keys(client), options=read_server_options(settings)
    )
    access = read_access(settings, bind=settings.bind, auth=Auth.PASSTHROUGH)
    transports = build_http_transports(server, access=access, sse=False)

    @asynccontextmanager
    async def run_both() -> AsyncIterator[None]:
        async with client, transports.run(), api.router.lifespan_context(api):
            yield

    mcp = build_http_app(replace(transports, run=run_both), access=access)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        beside = scope["type"] == "lifespan" or scope["path"] == "/mcp"
        await (mcp if beside else api)(scope, receive, send)

    return serve


class _InProcess:
    """The API as the MCP server beside it calls it: no address, no User-Agent of ours."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [header for header in scope["headers"] if header[0] != b"user-agent"]
        await self._app({**scope, "client": None, "headers": headers}, receive, send)


def _use_temporary_dir(data_dir: Path) -> None:
    """What the engine's client writes on its way in lies in the data directory, and not long:
    what a killed process left there is removed by the next."""
    temporary = data_dir / TEMPORARY_DIR
    rmtree(temporary, ignore_errors=True)
    make_private_directory(temporary)
    tempfile.tempdir = str(temporary)


def _configure(settings: ApiSettings, app: ASGIApp | str) -> uvicorn.Config:
    proxies = [str(network) for network in settings.trusted_proxies]
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        http=BoundedHttp,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies,
        workers=settings.workers,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_TIMEOUT_S,
        timeout_graceful_shutdown=DRAIN_TIMEOUT_S,
    )


class _Server(uvicorn.Server):
    """Ends with the signal's work done rather than by the signal, so with exit code 0."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.handle_exit)
        yield


def _announce(listener: socket.socket, data_dir: Path) -> None:
    print(f"millimetric-mcp api: {write_url(listener)}, data in {data_dir}", file=sys.stderr)


def _serve_with_workers(
    settings: ApiSettings, options: argparse.Namespace, data_dir: Path, target: StoreTarget
) -> int:
    if target.embedded:
        raise SettingsError(
            ["--workers: the embedded store has one process; more take a ClickHouse server"]
        )
    with listen(settings.bind, settings.port) as listener:
        _prepare_for_workers(settings, data_dir, target)
        _hand_down(options)
        config = _configure(settings, "millimetric_mcp.cli.api:create_app")
        _announce(listener, data_dir)
        Multiprocess(config, sockets=[listener]).run()
    return 0


def _prepare_for_workers(settings: ApiSettings, data_dir: Path, target: StoreTarget) -> None:
    """What is done once, and whose failure is told once, before there are several."""
    with closing(_open_control(settings, data_dir)) as control:
        announce_first_keys(control, data_dir=data_dir, stdout=sys.stdout)
    with closing(ClientPool(target)) as pool:
        migrate(pool)


def _hand_down(options: argparse.Namespace) -> None:
    """Puts what argv gave where the workers read it, out of sight of other users."""
    for setting in list_settings(ApiSettings):
        value = getattr(options, setting.name, None)
        if value is not None:
            text = ",".join(value) if isinstance(value, list) else str(value)
            os.environ[setting.variable] = text
