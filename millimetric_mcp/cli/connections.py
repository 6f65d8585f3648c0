"""A client of the API that the settings name, for commands that call it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from millimetric_mcp.client import MillimetricClient
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.errors import ApiError, SettingsError, UnknownExtension
from millimetric_mcp.settings import LOCAL, ConnectionSettings


def open_client(
    settings: ConnectionSettings, environ: Mapping[str, str], *, timeout_s: float | None = None
) -> MillimetricClient:
    """Return a client with the settings' keys; with ``local``, start the API of this machine.

    Raises:
        SettingsError: the api extra is missing.
        LocalApiFailed: the API did not start.
    """
    url, write_key, read_key = settings.api_url, settings.write_key, settings.read_key
    keys = [key.get_secret_value() if key else None for key in (write_key, read_key)]
    if url == LOCAL:
        from millimetric_mcp.cli import localapi  # noqa: PLC0415 - only where it is used

        local = localapi.connect(localapi.LocalApi.find(environ), environ=environ)
        url, keys = local.url, [local.write_key, local.read_key]
    return MillimetricClient(
        api_url=url,
        timeout_s=timeout_s or settings.timeout_s,
        connect_timeout_s=settings.connect_timeout_s,
        write_key=keys[0],
        read_key=keys[1],
    )


def open_reader(settings: ConnectionSettings, environ: Mapping[str, str]) -> MillimetricClient:
    """Return a client that can read.

    Raises:
        SettingsError: there is no read key, or the api extra is missing.
        LocalApiFailed: the API did not start.
    """
    client = open_client(settings, environ)
    if not client.can_read:
        raise _missing_key("MILLIMETRIC_RK", "a read key (rk_…)")
    return client


def open_writer(
    settings: ConnectionSettings, environ: Mapping[str, str], *, timeout_s: float | None = None
) -> MillimetricClient:
    """Return a client that can write.

    Raises:
        SettingsError: there is no server key, or the api extra is missing.
        LocalApiFailed: the API did not start.
    """
    client = open_client(settings, environ, timeout_s=timeout_s)
    if not client.can_write:
        raise _missing_key("MILLIMETRIC_KEY", "a server key (sk_…)")
    return client


def _missing_key(variable: str, kind: str) -> SettingsError:
    sentence = (
        f"{variable} is not set. Set it to {kind} of your API, or add --local to use the API of "
        "this machine."
    )
    return SettingsError([sentence])


@contextmanager
def needing_own_api(api_url: str, what: str) -> Iterator[None]:
    """Name the API if it turns out to be the hosted one, or an older one, which has no ``what``.

    Raises:
        SettingsError: it is.
    """
    try:
        yield
    except (ApiError, UnknownExtension) as error:
        code = error.code if isinstance(error, ApiError) else ErrorCode.NOT_FOUND
        if code not in {ErrorCode.NOT_FOUND, ErrorCode.METHOD_NOT_ALLOWED}:
            raise
        sentence = (
            f"The API at {api_url} has no {what}, or an older version. Set MILLIMETRIC_HOST to "
            "an API of millimetric-mcp, or add --local."
        )
        raise SettingsError([sentence]) from None
