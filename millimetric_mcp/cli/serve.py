"""``millimetric-mcp serve``: the MCP server on the transport the settings name."""

import argparse
import logging
import sys
from collections.abc import Mapping

import anyio

from millimetric_mcp.client import MillimetricClient
from millimetric_mcp.errors import SettingsError
from millimetric_mcp.server import Caller, ServerOptions, build_server
from millimetric_mcp.settings import AnswerSettings, Auth, ServeSettings, Transport, read_settings
from millimetric_mcp.transports import (
    Access,
    build_http_app,
    build_http_transports,
    find_caller_by_keys,
    is_loopback,
    serve_http,
    serve_stdio,
)


def run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """0 after a clean end.

    Raises:
        SettingsError: a setting is wrong, or nothing can listen there.
    """
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    settings = read_settings(ServeSettings, environ=environ, options=vars(options))
    _check_reach(settings)
    anyio.run(_serve, settings)
    return 0


def _check_reach(settings: ServeSettings) -> None:
    """Nobody beyond this machine is let in without credentials."""
    if settings.transport is Transport.STDIO:
        if settings.auth is not None:
            raise SettingsError(["--auth: guards the HTTP transports; stdio needs none"])
        return
    if settings.auth is None and not is_loopback(settings.bind):
        fault = (
            f"--host: listening on {settings.bind} lets other machines in, and nothing would "
            "guard it; add --auth token (with MILLIMETRIC_MCP_TOKEN) or --auth passthrough"
        )
        raise SettingsError([fault])


async def _serve(settings: ServeSettings) -> None:
    passthrough = settings.auth is Auth.PASSTHROUGH
    async with _open_client(settings, with_keys=not passthrough) as client:
        server = build_server(
            find_caller=(
                find_caller_by_keys(client)
                if passthrough
                else lambda _: Caller(client, client.can_write, client.can_read)
            ),
            options=read_server_options(settings),
        )
        if settings.transport is Transport.STDIO:
            await serve_stdio(server)
            return
        access = Access(
            auth=settings.auth,
            token=settings.token.get_secret_value() if settings.token else None,
            hosts=list_hosts(settings, bind=settings.bind),
            origins=list_origins(settings),
        )
        streamable = settings.transport is Transport.HTTP
        transports = build_http_transports(server, access=access, streamable=streamable)
        await serve_http(
            build_http_app(transports, access=access),
            host=settings.bind,
            port=settings.port,
            on_ready=lambda url: _say(
                f"Millimetric MCP server at {url}{'/mcp' if streamable else '/sse'}"
            ),
        )


def read_server_options(settings: AnswerSettings) -> ServerOptions:
    """What the server is told of its settings."""
    return ServerOptions(
        timezone=settings.timezone,
        max_result_chars=settings.max_result_chars,
        read_only=settings.read_only,
        confirm_destructive=settings.confirm_destructive,
    )


def list_hosts(settings: AnswerSettings, *, bind: str) -> tuple[str, ...]:
    """The Host headers that are let in: this machine's, the listening address's, those set."""
    name = f"[{bind}]" if ":" in bind else bind
    return (*Access().hosts, name, f"{name}:*", *settings.allowed_hosts)


def list_origins(settings: AnswerSettings) -> tuple[str, ...]:
    """The Origin headers that are let in: this machine's and those set."""
    return (*Access().origins, *settings.allowed_origins)


def _open_client(settings: ServeSettings, *, with_keys: bool) -> MillimetricClient:
    write_key, read_key = settings.write_key, settings.read_key
    return MillimetricClient(
        api_url=settings.api_url,
        write_key=write_key.get_secret_value() if with_keys and write_key else None,
        read_key=read_key.get_secret_value() if with_keys and read_key else None,
        connect_timeout_s=settings.connect_timeout_s,
        timeout_s=settings.timeout_s,
    )


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
