"""``millimetric-mcp api``: the embedded HTTP API, with the MCP server at ``/mcp``."""

import argparse
import asyncio
import gc
import logging
import os
import socket
import stat
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import (
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    closing,
    nullcontext,
)
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from typing import Any
from urllib.parse import parse_qs, urlsplit

import uvicorn
from httpx import ASGITransport
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.supervisors import Multiprocess

from millimetric_mcp.api.administration import Administration
from millimetric_mcp.api.app import Backends, build_app
from millimetric_mcp.api.channel import serve_channel
from millimetric_mcp.api.control import Control, Secrets, datadir
from millimetric_mcp.api.ingest.enrich import load_country_lookup
from millimetric_mcp.api.ingest.pipeline import warm_up
from millimetric_mcp.api.store import (
    ClientPool,
    EventStore,
    Store,
    StoreTarget,
    embedded_target,
    has_events,
    hold_directories,
    keeping_copy,
    migrate,
    open_event_store,
    parse_store_dsn,
)
from millimetric_mcp.cli.first_start import announce_first_keys
from millimetric_mcp.cli.key_files import keys_dir_of
from millimetric_mcp.cli.resources import find_free_disk, find_free_memory, list_shortages
from millimetric_mcp.cli.running import hold_running_file
from millimetric_mcp.client.client import MillimetricClient, is_loopback
from millimetric_mcp.errors import MillimetricError, SettingsError
from millimetric_mcp.mcp.access import find_caller_by_keys, read_access
from millimetric_mcp.mcp.http import build_http_app, build_http_transports
from millimetric_mcp.mcp.server import build_server
from millimetric_mcp.settings import ApiSettings, Auth, StoreSettings, list_settings, read_settings
from millimetric_mcp.web.log import LineWriter, Log, start_log
from millimetric_mcp.web.serve import configure, listen, serve, write_url

TEMPORARY_DIR = "tmp"
WORKER_PAUSE_S = 1
GARBAGE_THRESHOLD = 20_000
"""New objects that may be garbage, until the interpreter looks for it."""
SWITCH_INTERVAL_S = 0.0005
"""A thread that reads waits so long for a busy event loop to let it go on; by default 5 ms."""

_log = logging.getLogger(__name__)


def run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Run the API until SIGTERM or SIGINT, answer what is open, and return 0."""
    datadir.keep_private()
    settings = read_settings(ApiSettings, environ=environ, options=vars(options))
    target = resolve_store(settings, datadir.data_dir_of(settings))
    target = replace(target, journal=settings.journal)
    if settings.workers > 1 and target.embedded:
        error = (
            "--workers: the embedded store takes one process. Use one worker, or a ClickHouse "
            "server with --store."
        )
        raise SettingsError([error])
    with (
        closing(start_log(settings.log_level, settings.log_format)) as lines,
        listen(settings.bind, settings.port) as listener,
    ):
        # After what may refuse the start, so that a refused one leaves no directory behind.
        data_dir = datadir.prepare_data_dir(settings)
        _warn_of_exposure(settings, options, data_dir)
        if settings.workers > 1:
            return _serve_with_workers(settings, options, data_dir, target, lines, listener)
        store = _serve_alone(settings, data_dir, target, lines, listener)
    if store.left_running:
        # Python would wait for the thread, which may take minutes on a large store.
        os._exit(0)
    return 0


def _warn_of_exposure(settings: ApiSettings, options: argparse.Namespace, data_dir: Path) -> None:
    """Log what other machines, and other users of this one, can see or change."""
    if not is_loopback(settings.bind) and not settings.trusted_proxies:
        _log.warning(
            "--host %s: other machines may reach the API, and their keys are not encrypted on "
            "the way. Put a proxy with HTTPS in front, and name it with --trusted-proxy.",
            settings.bind,
        )
    for name in ("store", "control"):
        if _has_password(getattr(options, name, None) or ""):
            _log.warning(
                "--%s: other users see its password in the list of processes. Set "
                "MILLIMETRIC_%s instead, for example in a file that only its owner can read.",
                name,
                name.upper(),
            )
    if data_dir.stat().st_mode & stat.S_IWOTH:
        _log.warning("Every user can write to %s. Run: chmod o-w %s", data_dir, data_dir)


def _has_password(dsn: str) -> bool:
    parts = urlsplit(dsn)
    return bool(parts.password) or "password" in parse_qs(parts.query)


def _serve_alone(
    settings: ApiSettings,
    data_dir: Path,
    target: StoreTarget,
    lines: LineWriter,
    listener: socket.socket,
) -> Store:
    with ExitStack() as stack:
        stack.enter_context(hold_directories(data_dir, target))
        if target.embedded:
            _use_temporary_dir(data_dir)
            _warn_of_shortages(settings, data_dir)
        write_running = stack.enter_context(_running_file(settings, data_dir, target))
        backends, pool = _open_backends(settings, data_dir, target)
        _announce_first_keys(settings, backends.control, pool, data_dir, write_url(listener))
        config = _configure(settings, _build_app(settings, backends, lines))
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:

            def announce() -> None:
                write_running(write_url(listener))
                lines.write(_describe_start(listener, data_dir, target))

            idle_stop_s = settings.idle_stop_s
            serving = serve(config, listener, on_ready=announce, idle_stop_s=idle_stop_s)
            runner.run(
                _serve_commands_too(serving, backends, data_dir) if target.embedded else serving
            )
        return backends.store


def _warn_of_shortages(settings: ApiSettings, data_dir: Path) -> None:
    for sentence in list_shortages(
        memory=find_free_memory(),
        disk=find_free_disk(data_dir),
        store_memory_mb=settings.store_memory_mb,
        data_dir=data_dir,
    ):
        _log.warning("%s", sentence)


def _running_file(
    settings: ApiSettings, data_dir: Path, target: StoreTarget
) -> AbstractContextManager[Callable[[str], None]]:
    """Hold the file with the API's URL; several APIs may share a server's store, and have none."""
    if target.embedded:
        return hold_running_file(data_dir, public_url=settings.public_url)
    return nullcontext(lambda _url: None)


async def _serve_commands_too(
    serving: Coroutine[Any, Any, None], backends: Backends, data_dir: Path
) -> None:
    """Serve HTTP, and until it ends this machine's ``backup`` and ``check``."""
    administration = Administration(backends.control, backends.store)
    async with serve_channel(data_dir, administration.answer):
        await serving


def resolve_store(settings: StoreSettings, data_dir: Path) -> StoreTarget:
    """Return the store of the settings, by default the embedded one in the data directory."""
    if settings.store is None:
        target = embedded_target(data_dir / datadir.STORE_DIR)
    else:
        target = parse_store_dsn(settings.store.get_secret_value())
    if settings.cluster and target.embedded:
        raise SettingsError(["--cluster needs a ClickHouse server: --store clickhouse://…"])
    return replace(
        target,
        cluster=settings.cluster,
        fsync=settings.fsync,
        memory_mb=settings.store_memory_mb,
        threads=settings.store_threads,
    )


def open_databases(
    settings: StoreSettings,
    data_dir: Path,
    target: StoreTarget,
    secrets: Secrets,
    *,
    max_queued_events: int,
) -> tuple[Control, EventStore]:
    """Return the control database and the event store, their schemas up to date.

    Raises:
        SettingsError: the control database can't be used. No schema was changed.
        StoreError: one of them failed. The version before can open the control database.
    """
    datadir.check_control_of(settings, data_dir, secrets)
    with keeping_copy(target):
        store = open_event_store(target, max_queued_events=max_queued_events)
        control = datadir.open_control_of(settings, data_dir, secrets, upgrade=True)
    return control, store


def create_app() -> ASGIApp:
    """Return the application of a worker process; its settings are in the environment.

    Raises:
        SystemExit: the store or the control database failed; a new worker tries again.
    """
    settings = read_settings(ApiSettings, environ=os.environ, options={})
    lines = start_log(settings.log_level, settings.log_format)
    data_dir = datadir.prepare_data_dir(settings)
    try:
        backends, _ = _open_backends(settings, data_dir, resolve_store(settings, data_dir))
    except MillimetricError as error:
        _log.error("A worker process can't start: %s", error)
        time.sleep(WORKER_PAUSE_S)
        raise SystemExit(1) from None
    app = _build_app(settings, backends, lines)

    async def run_and_end(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)
        if scope["type"] == "lifespan":
            lines.close()
            if backends.store.left_running:  # Python would wait for the thread
                os._exit(0)

    return run_and_end


def _open_backends(
    settings: ApiSettings, data_dir: Path, target: StoreTarget
) -> tuple[Backends, ClientPool]:
    found = datadir.resolve_secrets(settings, data_dir)
    control, store = open_databases(
        settings, data_dir, target, found, max_queued_events=settings.max_queued_events
    )
    return Backends(control, store, found), store.pool


def _announce_first_keys(
    settings: ApiSettings, control: Control, pool: ClientPool, data_dir: Path, url: str
) -> None:
    is_first_start = announce_first_keys(
        control,
        keys_dir=keys_dir_of(settings),
        data_dir=data_dir,
        url=settings.public_url or url,
        stdout=sys.stdout,
    )
    if is_first_start and has_events(pool):
        _log.warning(
            "The database of projects and keys is new, but the event store has events. No key "
            "reads them. If you have lost %s, stop the API and restore it from a backup.",
            datadir.control_dsn(settings, data_dir),
        )


def _build_app(settings: ApiSettings, backends: Backends, lines: LineWriter) -> ASGIApp:
    api = build_app(settings, backends, country_of=load_country_lookup(), write_log=lines.write)
    warm_up()
    app = _add_mcp(api, settings, api.state.log, secret=backends.secrets.pepper)
    # What the start has created stays. Looking for garbage after each 700 new objects takes a tenth
    # of the time under load, and finds hardly any.
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    return app


def _add_mcp(api: Starlette, settings: ApiSettings, log: Log, *, secret: bytes) -> ASGIApp:
    """Return the API with the MCP server at ``/mcp``, which calls it with each caller's keys."""

    async def call_api(scope: Scope, receive: Receive, send: Send) -> None:
        # The address and the User-Agent would be those of the server, not of the visitor.
        headers = [header for header in scope["headers"] if header[0] != b"user-agent"]
        await api({**scope, "client": None, "headers": headers}, receive, send)

    client = MillimetricClient(
        api_url="http://in-process",
        write_key=None,
        read_key=None,
        transport=ASGITransport(call_api),
    )
    server = build_server(find_caller=find_caller_by_keys(client), settings=settings, secret=secret)
    access = replace(
        read_access(settings, bind=settings.bind, auth=Auth.PASSTHROUGH),
        check_key=api.state.check_key,
    )
    # A session lives in one process; with several, its next request may reach another.
    transports = build_http_transports(
        server, access=access, sse=False, has_sessions=settings.workers == 1
    )

    @asynccontextmanager
    async def run_both() -> AsyncIterator[None]:
        async with client, transports.run(), api.router.lifespan_context(api):
            yield

    mcp = build_http_app(replace(transports, run=run_both), access=access, log=log)

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        is_mcp = scope["type"] == "lifespan" or scope["path"] == "/mcp"
        await (mcp if is_mcp else api)(scope, receive, send)

    return dispatch


def _use_temporary_dir(data_dir: Path) -> None:
    """Use the data directory for temporary files of the engine's client; remove old ones."""
    temporary = data_dir / TEMPORARY_DIR
    rmtree(temporary, ignore_errors=True)
    datadir.make_private_directory(temporary)
    tempfile.tempdir = str(temporary)


def _configure(settings: ApiSettings, app: ASGIApp | str) -> uvicorn.Config:
    return configure(
        app,
        workers=settings.workers,
        trusted_proxies=[str(network) for network in settings.trusted_proxies],
    )


def _describe_start(listener: socket.socket, data_dir: Path, target: StoreTarget) -> str:
    events = "" if target.embedded else f"events in {target.address}, other "
    return f"millimetric-mcp api: {write_url(listener)}, {events}data in {data_dir}\n"


def _serve_with_workers(
    settings: ApiSettings,
    options: argparse.Namespace,
    data_dir: Path,
    target: StoreTarget,
    lines: LineWriter,
    listener: socket.socket,
) -> int:
    # The schema and the first keys are created once, before there are several processes.
    found = datadir.resolve_secrets(settings, data_dir)
    datadir.check_control_of(settings, data_dir, found)
    with closing(ClientPool(target)) as pool:
        migrate(pool)
        with closing(datadir.open_control_of(settings, data_dir, found, upgrade=True)) as control:
            _announce_first_keys(settings, control, pool, data_dir, write_url(listener))
    _hand_down(options)
    config = _configure(settings, "millimetric_mcp.cli.api:create_app")
    lines.write(_describe_start(listener, data_dir, target))
    Multiprocess(config, sockets=[listener]).run()
    return 0


def _hand_down(options: argparse.Namespace) -> None:
    """Put the options into the environment, which other users can't read, for the workers."""
    for setting in list_settings(ApiSettings):
        value = getattr(options, setting.name, None)
        if value is not None:
            text = ",".join(value) if isinstance(value, list) else str(value)
            os.environ[setting.variable] = text
