"""Who is let in over HTTP: known Hosts and Origins, and the credentials that are asked for."""

import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.keys import KeyKind, parse_api_key
from millimetric_mcp.mcp.server import Caller
from millimetric_mcp.settings import AnswerSettings, Auth
from millimetric_mcp.web.refusals import Refusal, answer

if TYPE_CHECKING:
    from millimetric_mcp.client.client import MillimetricClient

READ_KEY_HEADER = "Millimetric-Read-Key"
KEY_KIND_NOT_ALLOWED = "key_kind_not_allowed"
AMBIGUOUS_CREDENTIALS = "ambiguous_credentials"
HOST_NOT_ALLOWED = "host_not_allowed"
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use the HTTP transports.

    ``hosts`` and ``origins`` are exact values of those headers, ``name:*`` for any port, and
    ``*`` for anything. A request without an Origin comes from no browser and is let in.
    ``token`` belongs to `Auth.TOKEN`.
    """

    auth: Auth | None = None
    token: str | None = None
    hosts: tuple[str, ...] = tuple(f"{host}:*" for host in LOOPBACK_HOSTS) + LOOPBACK_HOSTS
    origins: tuple[str, ...] = tuple(
        f"http://{host}{port}" for host in LOOPBACK_HOSTS for port in ("", ":*")
    )


def read_access(
    settings: AnswerSettings, *, bind: str, auth: Auth | None, token: str | None = None
) -> Access:
    """Lets in this machine, the address that is listened on, and what is set beside them."""
    name = f"[{bind}]" if ":" in bind else bind
    own = Access()
    return Access(
        auth=auth,
        token=token,
        hosts=(*own.hosts, name, f"{name}:*", *settings.allowed_hosts),
        origins=(*own.origins, *settings.allowed_origins),
    )


class Principal(AuthenticatedUser):
    """A caller that was let in; sessions belong to the principal that opened them.

    With `Auth.PASSTHROUGH` the keys are those that came with the request.
    """

    def __init__(
        self, *secrets: str, write_key: str | None = None, read_key: str | None = None
    ) -> None:
        digest = hashlib.sha256("\n".join(secrets).encode()).hexdigest()
        super().__init__(AccessToken(token=digest, client_id=digest, scopes=[]))
        self.write_key = write_key
        self.read_key = read_key


class Guard:
    """Lets in requests with a known Host and Origin, and the credentials ``access`` asks for."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = AuthContextMiddleware(app)
        self._access = access
        self._hosts = re.compile(write_pattern(access.hosts))
        self._origins = re.compile(write_pattern(access.origins))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # RFC 9110: white space around a value is no part of it; not every HTTP parser knows.
        headers = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        scope = {**scope, "headers": headers}
        request = Request(scope)
        try:
            self._check_source(request.headers)
            if principal := self._admit(request.headers):
                scope["user"] = principal
            if request.method == "POST":
                _check_media_type(request.headers)
            await self._app(scope, receive, send)
        except Refusal as refusal:
            await answer(request, refusal)(scope, receive, send)

    def _check_source(self, headers: Headers) -> None:
        """Passes where every Host and Origin is a known one."""
        for host in headers.getlist("host") or [""]:
            if not self._hosts.fullmatch(host.lower()):
                raise Refusal(
                    421, HOST_NOT_ALLOWED, noted={"host": host, "setting": "--allowed-hosts"}
                )
        for origin in headers.getlist("origin"):
            if not self._origins.fullmatch(origin.lower()):
                raise Refusal(
                    403,
                    ErrorCode.ORIGIN_NOT_ALLOWED,
                    beside={"origin": origin},
                    noted={"origin": origin, "setting": "--allowed-origins"},
                )

    def _admit(self, headers: Headers) -> Principal | None:
        if self._access.auth is None:
            return None
        bearer = _read_bearer(headers)
        if self._access.auth is Auth.PASSTHROUGH:
            return _admit_keys(bearer, _read_once(headers, READ_KEY_HEADER))
        if not hmac.compare_digest(bearer.encode(), (self._access.token or "").encode()):
            raise Refusal(401, ErrorCode.INVALID_API_KEY)
        return Principal(bearer)


def write_pattern(sources: tuple[str, ...]) -> str:
    """``sources`` as a regular expression: ``:*`` stands for any port, ``*`` for anything."""
    return "|".join(_write_alternative(source.lower()) for source in sources)


def _write_alternative(source: str) -> str:
    if source == "*":
        return ".*"
    stem = source.removesuffix(":*")
    return re.escape(stem) + (":[0-9]{1,5}" if stem != source else "")


def _check_media_type(headers: Headers) -> None:
    if not headers.get("Content-Type", "").lower().startswith("application/json"):
        raise Refusal(415, ErrorCode.UNSUPPORTED_MEDIA_TYPE)


def _read_bearer(headers: Headers) -> str:
    scheme, _, bearer = _read_once(headers, "Authorization").partition(" ")
    if scheme.lower() != "bearer" or not bearer.strip():
        raise Refusal(401, ErrorCode.MISSING_BEARER_TOKEN)
    return bearer.strip()


def _read_once(headers: Headers, name: str) -> str:
    """The header's value, empty where it is absent; given twice, it is not told which counts."""
    values = headers.getlist(name)
    if len(values) > 1:
        raise _write_ambiguity(f"{name} is given {len(values)} times")
    return values[0] if values else ""


def _admit_keys(bearer: str, beside: str) -> Principal:
    """The caller's own keys: an rk alone, or an sk and perhaps an rk beside it."""
    kind = _kind_of(bearer)
    if beside and _kind_of(beside) is not KeyKind.RK:
        raise Refusal(403, KEY_KIND_NOT_ALLOWED)
    if kind is KeyKind.SK:
        return Principal(bearer, beside, write_key=bearer, read_key=beside or None)
    if beside not in {"", bearer}:
        raise _write_ambiguity(f"the bearer and {READ_KEY_HEADER} are two different read keys")
    return Principal(bearer, read_key=bearer)


def _write_ambiguity(sentence: str) -> Refusal:
    details = {"fieldErrors": {}, "formErrors": [sentence]}
    return Refusal(400, AMBIGUOUS_CREDENTIALS, beside={"details": details})


def _kind_of(text: str) -> KeyKind:
    key = parse_api_key(text)
    if text.startswith(f"{KeyKind.PK}_"):
        raise Refusal(403, KEY_KIND_NOT_ALLOWED)
    if key is None:
        raise Refusal(401, ErrorCode.MALFORMED_API_KEY)
    return key.kind


def find_caller_by_keys(client: "MillimetricClient") -> Callable[[Request | None], Caller]:
    """For `Auth.PASSTHROUGH`: each request's caller is who its own keys say; ours are not used."""

    def find(request: Request | None) -> Caller:
        principal = request.scope.get("user") if request is not None else None
        write_key = principal.write_key if isinstance(principal, Principal) else None
        read_key = principal.read_key if isinstance(principal, Principal) else None
        return Caller(
            client.with_keys(write_key=write_key, read_key=read_key),
            may_write=write_key is not None,
            may_read=read_key is not None,
            over_http=True,
        )

    return find
