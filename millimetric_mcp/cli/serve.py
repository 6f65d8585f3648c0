"""``millimetric-mcp serve``: the MCP server on the transport the settings name."""

import argparse
import logging
import sys
from collections.abc import Callable, Mapping

import anyio

from millimetric_mcp.client.client import MillimetricClient, is_loopback
from millimetric_mcp.contract.keys import parse_api_key
from millimetric_mcp.errors import SettingsError
from millimetric_mcp.mcp.server import Caller, ServerOptions, build_server
from millimetric_mcp.mcp.stdio import serve_stdio
from millimetric_mcp.settings import AnswerSettings, Auth, ServeSettings, Transport, read_settings

_log = logging.getLogger(__name__)


def run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """0 after a clean end.

    Raises:
        SettingsError: a setting is wrong, or nothing can listen there.
    """
    _set_up_logging()
    settings = read_settings(ServeSettings, environ=environ, options=vars(options))
    _check_reach(settings)
    if settings.auth is not Auth.PASSTHROUGH:
        _note_keys(settings)
    anyio.run(_serve, settings)
    return 0


def _set_up_logging() -> None:
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    quiet_library()


def quiet_library() -> None:
    """The library warns of what callers did wrong, in their words; refusals have lines of ours."""
    logging.getLogger("mcp").setLevel(logging.ERROR)


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
    if settings.token is not None and settings.auth is not Auth.TOKEN:
        _log.warning("MILLIMETRIC_MCP_TOKEN is set, but only --auth token asks callers for it")


def _note_keys(settings: ServeSettings) -> None:
    """A key that is not whole is said at once, and not shown; the API is to judge it."""
    for variable, key in (
        ("MILLIMETRIC_KEY", settings.write_key),
        ("MILLIMETRIC_RK", settings.read_key),
    ):
        if key is not None and parse_api_key(key.get_secret_value()) is None:
            _log.warning(
                "%s does not look like a whole key (kind_live or kind_test, 8 characters, then "
                "32 or more, joined by underscores): the API will probably refuse it",
                variable,
            )


async def _serve(settings: ServeSettings) -> None:
    passthrough = settings.auth is Auth.PASSTHROUGH
    async with _open_client(settings, with_keys=not passthrough) as client:
        if settings.transport is Transport.STDIO:
            await serve_stdio(
                build_server(find_caller=_always(client), options=read_server_options(settings))
            )
        else:
            await _serve_http(settings, client)


async def _serve_http(settings: ServeSettings, client: MillimetricClient) -> None:
    # Loaded here, for the start on stdio is measured and needs none of it.
    from millimetric_mcp.mcp import access, http  # noqa: PLC0415
    from millimetric_mcp.web import serve  # noqa: PLC0415

    passthrough = settings.auth is Auth.PASSTHROUGH
    server = build_server(
        find_caller=access.find_caller_by_keys(client) if passthrough else _always(client),
        options=read_server_options(settings),
    )
    let_in = access.read_access(
        settings,
        bind=settings.bind,
        auth=settings.auth,
        token=settings.token.get_secret_value() if settings.token else None,
    )
    streamable = settings.transport is Transport.HTTP
    transports = http.build_http_transports(server, access=let_in, streamable=streamable)
    await serve.serve_http(
        http.build_http_app(transports, access=let_in),
        host=settings.bind,
        port=settings.port,
        on_ready=lambda url: _say(
            f"Millimetric MCP server at {url}{'/mcp' if streamable else '/sse'}"
        ),
    )


def _always(client: MillimetricClient) -> Callable[[object], Caller]:
    """Whoever calls uses the client's own keys."""
    caller = Caller(client, client.can_write, client.can_read)
    return lambda _request: caller


def read_server_options(settings: AnswerSettings) -> ServerOptions:
    """What the server is told of its settings."""
    return ServerOptions(
        timezone=settings.timezone,
        max_result_chars=settings.max_result_chars,
        read_only=settings.read_only,
        confirm_destructive=settings.confirm_destructive,
    )


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
