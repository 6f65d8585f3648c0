"""Who may use the HTTP transports: allowed hosts, origins and credentials."""

import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.keys import KeyKind, parse_api_key
from millimetric_mcp.errors import RequestError
from millimetric_mcp.mcp.server import Caller
from millimetric_mcp.settings import AnswerSettings, Auth
from millimetric_mcp.web.headers import read_bearer

if TYPE_CHECKING:
    from millimetric_mcp.client.client import MillimetricClient

READ_KEY_HEADER = "Millimetric-Read-Key"
MAX_SHOWN_CHARS = 256
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")
LOOPBACK_ORIGINS = tuple(f"http://{host}{port}" for host in LOOPBACK_HOSTS for port in ("", ":*"))
INSPECTOR_ORIGINS = tuple(f"http://{host}:6274" for host in LOOPBACK_HOSTS)
"""The MCP Inspector's page calls the server from the browser."""


class AccessError(StrEnum):
    """Error codes of the MCP server's HTTP transports, beside those of the API."""

    KEY_KIND_NOT_ALLOWED = "key_kind_not_allowed"
    AMBIGUOUS_CREDENTIALS = "ambiguous_credentials"
    HOST_NOT_ALLOWED = "host_not_allowed"
    TOO_MANY_SESSIONS = "too_many_sessions"


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use the HTTP transports.

    ``hosts`` and ``origins`` are allowed values of those headers: exact ones, ``name:*`` for any
    port, or ``*`` for any value. A request without an Origin is not from a browser, and one whose
    Origin is its Host is from a page of this server: both are allowed.
    ``token`` is for `Auth.TOKEN`. ``check_key`` gets the ``Authorization`` header of each key of
    `Auth.PASSTHROUGH`, and raises if the key is not valid; without it, only the form is checked.
    """

    auth: Auth | None = None
    token: str | None = None
    check_key: Callable[[str], Awaitable[object]] | None = None
    hosts: tuple[str, ...] = tuple(f"{host}:*" for host in LOOPBACK_HOSTS) + LOOPBACK_HOSTS
    origins: tuple[str, ...] = INSPECTOR_ORIGINS


def read_access(
    settings: AnswerSettings, *, bind: str, auth: Auth | None, token: str | None = None
) -> Access:
    """Return access for this machine, the address of the server, and what the settings allow.

    Without ``auth`` any page of this machine could write and delete with the server's keys, so
    only the Inspector's is allowed.
    """
    name = f"[{bind}]" if ":" in bind else bind
    own = Access()
    return Access(
        auth=auth,
        token=token,
        hosts=(*own.hosts, name, f"{name}:*", *settings.allowed_hosts),
        origins=(
            *(LOOPBACK_ORIGINS if auth else INSPECTOR_ORIGINS),
            *settings.allowed_origins,
        ),
    )


class Principal(AuthenticatedUser):
    """An authenticated caller; the SDK binds each session to the one that opened it.

    With `Auth.PASSTHROUGH` the keys are those of the request.
    """

    def __init__(
        self, *secrets: str, write_key: str | None = None, read_key: str | None = None
    ) -> None:
        digest = hashlib.sha256("\n".join(secrets).encode()).hexdigest()
        super().__init__(AccessToken(token=digest, client_id=digest, scopes=[]))
        self.write_key = write_key
        self.read_key = read_key


class AccessCheck:
    """Serves requests with an allowed Host, an allowed Origin and the credentials of ``access``.

    The SDK's own check of Host and Origin knows no ``*``, and comes after the body.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = AuthContextMiddleware(app)
        self._access = access
        self._hosts = re.compile(write_pattern(access.hosts))
        self._origins = re.compile(write_pattern(access.origins))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "").strip().lower()
        if not self._hosts.fullmatch(host):
            raise RequestError(AccessError.HOST_NOT_ALLOWED, status=421)
        origin = headers.get("origin")
        if origin is not None and not self._allows(origin.strip().lower(), host):
            raise RequestError(ErrorCode.ORIGIN_NOT_ALLOWED, origin=origin[:MAX_SHOWN_CHARS])
        if principal := await self._authenticate(headers):
            scope["user"] = principal
        await self._app(scope, receive, send)

    def _allows(self, origin: str, host: str) -> bool:
        is_own = origin in {f"http://{host}", f"https://{host}"}
        return is_own or self._origins.fullmatch(origin) is not None

    async def _authenticate(self, headers: Headers) -> Principal | None:
        if self._access.auth is None:
            return None
        bearer = read_bearer(_read_once(headers, "Authorization"))
        if self._access.auth is Auth.PASSTHROUGH:
            principal = _read_keys(bearer, _read_once(headers, READ_KEY_HEADER))
            for key in {principal.write_key, principal.read_key} - {None}:
                if self._access.check_key is not None:
                    await self._access.check_key(f"Bearer {key}")
            return principal
        if not hmac.compare_digest(bearer.encode(), (self._access.token or "").encode()):
            raise RequestError(ErrorCode.INVALID_API_KEY)
        return Principal(bearer)


def write_pattern(sources: tuple[str, ...]) -> str:
    """Return a regular expression of hosts or origins: ``:*`` is any port, ``*`` anything."""
    patterns = (
        re.escape(source.lower()).replace(r":\*", ":[0-9]{1,5}") if source != "*" else ".*"
        for source in sources
    )
    return "|".join(patterns)


def _read_once(headers: Headers, name: str) -> str:
    values = headers.getlist(name)
    if len(values) > 1:
        raise _ambiguous(f"{name} is given {len(values)} times")
    return values[0].strip() if values else ""


def _read_keys(bearer: str, read_key: str) -> Principal:
    """Return the caller of an rk alone, or of an sk and perhaps an rk beside it."""
    kind = _read_kind(bearer)
    if read_key and _read_kind(read_key) is not KeyKind.RK:
        raise RequestError(AccessError.KEY_KIND_NOT_ALLOWED, status=403)
    if kind is KeyKind.SK:
        return Principal(bearer, read_key, write_key=bearer, read_key=read_key or None)
    if read_key not in {"", bearer}:
        raise _ambiguous(f"the bearer and {READ_KEY_HEADER} are two different read keys")
    return Principal(bearer, read_key=bearer)


def _ambiguous(sentence: str) -> RequestError:
    details = {"fieldErrors": {}, "formErrors": [sentence]}
    return RequestError(AccessError.AMBIGUOUS_CREDENTIALS, status=400, details=details)


def _read_kind(text: str) -> KeyKind:
    key = parse_api_key(text)
    if text.startswith(f"{KeyKind.PK}_"):
        raise RequestError(AccessError.KEY_KIND_NOT_ALLOWED, status=403)
    if key is None:
        raise RequestError(ErrorCode.MALFORMED_API_KEY)
    return key.kind


def find_caller_by_keys(client: "MillimetricClient") -> Callable[[Request | None], Caller]:
    """Return the function that finds the caller by the keys of the request, never by ours."""

    def find(request: Request | None) -> Caller:
        principal = request.scope.get("user") if request is not None else None
        write_key = principal.write_key if isinstance(principal, Principal) else None
        read_key = principal.read_key if isinstance(principal, Principal) else None
        return Caller(client.with_keys(write_key=write_key, read_key=read_key), over_http=True)

    return find
