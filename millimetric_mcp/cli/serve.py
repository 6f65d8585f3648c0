"""``millimetric-mcp serve``: the MCP server."""

import argparse
import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import anyio
from pydantic import SecretStr

from millimetric_mcp.client.client import MillimetricClient, OnUnreachable, is_loopback
from millimetric_mcp.contract.keys import parse_api_key
from millimetric_mcp.errors import LocalApiFailed, NextStep, SettingsError, UpstreamError
from millimetric_mcp.mcp.server import Caller, build_server
from millimetric_mcp.mcp.stdio import serve_stdio
from millimetric_mcp.settings import LOCAL, Auth, ServeSettings, Transport, read_settings
from millimetric_mcp.web.log import LineWriter, Log, start_log

if TYPE_CHECKING:
    from millimetric_mcp.cli.localapi import Connection

_BY_HAND = """\
This is the MCP server on stdio. It waits for messages of an MCP client. Your
AI client starts this command by itself. To see everything work, run
'millimetric-mcp demo'. For clients that connect by HTTP, run 'millimetric-mcp
serve --transport http'. Ctrl-C stops it.
"""

_log = logging.getLogger(__name__)


def run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Run the MCP server until its client leaves or a signal stops it; return 0.

    Raises:
        SettingsError: a setting is wrong, or the address can't be listened on.
    """
    settings = read_settings(ServeSettings, environ=environ, options=vars(options))
    _check_auth(settings)
    if settings.transport is Transport.STDIO:
        _check_address_unused(options)
        if sys.stdin is not None and sys.stdin.isatty():
            sys.stderr.write(_BY_HAND)
    with closing(start_log(settings.log_level, settings.log_format)) as lines:
        _warn_of_settings(settings)
        connect = None
        if settings.api_url == LOCAL:
            connect = _connect_locally(environ)
            settings = _use(settings, connect())
        anyio.run(_serve, settings, lines, connect)
    return 0


def _check_address_unused(options: argparse.Namespace) -> None:
    """Raise if an address is given that the stdio transport does not listen on."""
    names = {"--host": "bind", "--port": "port"}
    wrong = [option for option, name in names.items() if vars(options).get(name) is not None]
    if wrong:
        sentence = (
            f"{' and '.join(wrong)}: the stdio transport listens nowhere. Add --transport http, "
            "or remove it."
        )
        raise SettingsError([sentence])


def _connect_locally(environ: Mapping[str, str]) -> Callable[[], "Connection"]:
    """Return a function that starts the local API if it does not run."""
    try:
        from millimetric_mcp.cli import localapi  # noqa: PLC0415 - only where it is used
    except ModuleNotFoundError:
        sentence = "--local (MILLIMETRIC_HOST=local) works on Linux and macOS only. Use WSL."
        raise SettingsError([sentence]) from None
    return partial(localapi.connect, localapi.LocalApi.find(environ), environ=environ)


def _use(settings: ServeSettings, local: "Connection") -> ServeSettings:
    keys = {"write_key": SecretStr(local.write_key), "read_key": SecretStr(local.read_key)}
    return settings.model_copy(update={"api_url": local.url, **keys})


def _restart(connect: Callable[[], "Connection"]) -> OnUnreachable:
    async def restart() -> str:
        try:
            return (await anyio.to_thread.run_sync(connect)).url
        except (LocalApiFailed, SettingsError) as error:
            raise UpstreamError(str(error), next_step=NextStep.CONFIGURE) from None

    return restart


def _check_auth(settings: ServeSettings) -> None:
    """Raise if other machines could use the server without credentials."""
    is_stdio = settings.transport is Transport.STDIO
    if is_stdio and settings.auth is not None:
        raise SettingsError(["--auth is for the HTTP transports; the stdio transport needs none."])
    if not is_stdio and settings.auth is None and not is_loopback(settings.bind):
        error = (
            f"--host {settings.bind} opens the server to other machines. Add --auth token (with "
            "MILLIMETRIC_MCP_TOKEN) or --auth passthrough."
        )
        raise SettingsError([error])


def _warn_of_settings(settings: ServeSettings) -> None:
    if settings.token is not None and settings.auth is not Auth.TOKEN:
        _log.warning("MILLIMETRIC_MCP_TOKEN has no effect without --auth token.")
    if settings.auth is Auth.PASSTHROUGH:
        return
    for variable, key in (
        ("MILLIMETRIC_KEY", settings.write_key),
        ("MILLIMETRIC_RK", settings.read_key),
    ):
        if key is not None and parse_api_key(key.get_secret_value()) is None:
            _log.warning(
                "%s is not a complete key. A key has a kind, 'live' or 'test', 8 characters, and "
                "32 or more characters, joined by underscores. The API will probably refuse it.",
                variable,
            )


async def _serve(
    settings: ServeSettings, lines: LineWriter, connect: Callable[[], "Connection"] | None
) -> None:
    on_unreachable = _restart(connect) if connect else None
    async with _open_client(settings, on_unreachable) as client:
        if settings.transport is Transport.STDIO:
            await serve_stdio(build_server(find_caller=_find_one_caller(client), settings=settings))
        else:
            await _serve_http(settings, client, lines)


async def _serve_http(
    settings: ServeSettings, client: MillimetricClient, lines: LineWriter
) -> None:
    # Imported here: the stdio transport starts faster without them.
    from millimetric_mcp.mcp import access, http  # noqa: PLC0415
    from millimetric_mcp.web import serve  # noqa: PLC0415

    passthrough = settings.auth is Auth.PASSTHROUGH
    server = build_server(
        find_caller=access.find_caller_by_keys(client) if passthrough else _find_one_caller(client),
        settings=settings,
        secret=_find_secret(settings),
    )
    allowed = access.read_access(
        settings,
        bind=settings.bind,
        auth=settings.auth,
        token=settings.token.get_secret_value() if settings.token else None,
    )
    streamable = settings.transport is Transport.HTTP
    transports = http.build_http_transports(server, access=allowed, streamable=streamable)
    log = Log(settings.log_level, lines.write, form=settings.log_format)
    config = serve.configure(http.build_http_app(transports, access=allowed, log=log))
    with serve.listen(settings.bind, settings.port) as listener:
        url = serve.write_url(listener) + ("/mcp" if streamable else "/sse")
        await serve.serve(
            config, listener, on_ready=lambda: lines.write(f"Millimetric MCP server at {url}\n")
        )


def _find_secret(settings: ServeSettings) -> bytes | None:
    """Return what only the servers of one deployment know."""
    secret = settings.token or settings.write_key
    return secret.get_secret_value().encode() if secret else None


def _find_one_caller(client: MillimetricClient) -> Callable[[object], Caller]:
    """Return a function that finds the same caller in every request."""
    caller = Caller(client)
    return lambda _request: caller


def _open_client(
    settings: ServeSettings, on_unreachable: OnUnreachable | None
) -> MillimetricClient:
    with_keys = settings.auth is not Auth.PASSTHROUGH
    write_key, read_key = settings.write_key, settings.read_key
    return MillimetricClient(
        api_url=settings.api_url,
        write_key=write_key.get_secret_value() if with_keys and write_key else None,
        read_key=read_key.get_secret_value() if with_keys and read_key else None,
        connect_timeout_s=settings.connect_timeout_s,
        timeout_s=settings.timeout_s,
        on_unreachable=on_unreachable,
    )
