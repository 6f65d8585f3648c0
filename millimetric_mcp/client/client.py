"""An async client of the Millimetric HTTP API.

Each call ends within one deadline. Reads are retried after 429, 5xx, a broken connection or a
timeout. Writes are retried only if nothing was stored: no connection, 429 or 503. A write that was
sent and got no response is never repeated: it raises `UncertainWrite`. If the API asks for a wait
above `MAX_WAIT_S`, the call fails at once, and the error carries ``retry_after_s``.

httpx is imported at the first call, because the start time of the MCP server is measured.
"""

import json
import os
import random
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import ip_address
from socket import inet_aton
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urlsplit

import anyio
from pydantic import BaseModel

from millimetric_mcp import __version__
from millimetric_mcp.client import responses
from millimetric_mcp.client.responses import ApiResponse, Failure, WriteEffect
from millimetric_mcp.contract import endpoints, events, imports, links, reads
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.endpoints import Endpoint
from millimetric_mcp.contract.extensions import list_extensions
from millimetric_mcp.contract.keys import Scope
from millimetric_mcp.errors import (
    ApiError,
    CallError,
    KeyMissing,
    NextStep,
    UnknownExtension,
    UpstreamError,
)

if TYPE_CHECKING:
    import httpx

__all__ = ["MAX_ATTEMPTS", "MAX_WAIT_S", "MillimetricClient", "RetryTiming", "is_loopback"]

MAX_ATTEMPTS = 3
MAX_WAIT_S = 2.0
"""The longest time that one call waits between its attempts, all waits together."""
FIRST_BACKOFF_S = 0.25
LARGE_RESPONSE_BYTES = 64 * 1024
"""Larger ones are parsed in a thread, so that other calls don't wait."""
_CERTIFICATES = ("SSL_CERT_FILE", "SSLKEYLOGFILE")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
"""What httpx reads from the environment; the proxies in lower case too."""

ParamsT = TypeVar("ParamsT", bound=reads.WindowParams)

_EXTENSIONS_WITH_DEFAULTS = ("bots", "attribution", "lookback_days")
"""Parameters of our API that are sent only if they ask for something else than the default."""
BodyT = TypeVar("BodyT", bound=events.RequestBody)
ResultT = TypeVar("ResultT", bound=BaseModel)

OnUnreachable = Callable[[], Awaitable[str]]
"""Starts the API that nothing can connect to, and returns its URL."""
Trace = Callable[[str, object], Awaitable[None]] | None
OnRateLimit = Callable[[CallError], Awaitable[bool]]
"""Waits for ``error.retry_after_s`` (None: unknown), and returns whether to try again."""


@dataclass(frozen=True, slots=True)
class RetryTiming:
    """The clock of the retries: ``jitter`` returns 0 to 1, ``clock`` returns monotonic seconds."""

    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    jitter: Callable[[], float] = random.random
    clock: Callable[[], float] = time.monotonic

    def backoff_s(self, failures: int) -> float:
        """Return the wait after so many failures: it doubles each time, and half is random."""
        return FIRST_BACKOFF_S * 2.0 ** (failures - 1) * (0.5 + self.jitter() / 2)


REAL_TIME = RetryTiming()


@dataclass(slots=True)
class _Shared:
    """What a client and its copies share.

    The first call opens the connections. ``unknown`` are the extensions that the API ignored.
    """

    http: "httpx.AsyncClient | None" = None
    unknown: set[str] = field(default_factory=set)


class MillimetricClient:
    """Calls the API: ``write_key`` (sk_…) for writes, ``read_key`` (rk_…) for reads.

    Every call raises a `CallError` if it fails: `KeyMissing`, `ApiError` (the API refused it),
    `UpstreamError` (no usable response) or, for writes, `UncertainWrite` (it may be stored).
    Use a client in one event loop, and close it there. Times in results are UTC. ``transport``
    replaces the network, ``timing`` the clock of the retries. ``on_unreachable`` is awaited once
    in a call that can't connect::

        async with MillimetricClient(
            api_url="http://localhost:8787", write_key="sk_…", read_key=None
        ) as client:
            await client.track(TrackEvent(event="signup", user_id="user_42"))
    """

    def __init__(
        self,
        *,
        api_url: str,
        write_key: str | None,
        read_key: str | None,
        connect_timeout_s: float = 5.0,
        timeout_s: float = 30.0,
        transport: "httpx.AsyncBaseTransport | None" = None,
        timing: RetryTiming = REAL_TIME,
        on_unreachable: OnUnreachable | None = None,
    ) -> None:
        self._api_url = api_url.rstrip("/")
        self._write_key = write_key
        self._read_key = read_key
        self._connect_timeout_s = connect_timeout_s
        self._timeout_s = timeout_s
        self._transport = transport
        self._timing = timing
        self._on_unreachable = on_unreachable
        self._connections = _Shared()

    def with_keys(self, *, write_key: str | None, read_key: str | None) -> "MillimetricClient":
        """Return a client with other keys that shares this client's connections."""
        other = copy(self)
        vars(other).update(_write_key=write_key, _read_key=read_key)
        return other

    @property
    def api_url(self) -> str:
        """The base URL of the API."""
        return self._api_url

    @property
    def timeout_s(self) -> float:
        """The longest time that one call takes, in seconds."""
        return self._timeout_s

    @property
    def can_write(self) -> bool:
        """Whether there is a key for writes: track, batch, identify and forget."""
        return self._write_key is not None

    @property
    def can_read(self) -> bool:
        """Whether there is a key for reads: sources, stats and query."""
        return self._read_key is not None

    @property
    def unknown_extensions(self) -> frozenset[str]:
        """The parameters that the API ignored in earlier reads."""
        return frozenset(self._connections.unknown)

    async def track(self, event: events.TrackEvent) -> events.TrackResult:
        """Store one event. The API does not remove duplicates of an ``event_id``."""
        named = f" under event_id {json.dumps(event.event_id)}" if event.event_id else ""
        effect = WriteEffect(f"the event may have been stored{named}", event.event_id)
        return await self.post(endpoints.TRACK, event, effect)

    async def batch(
        self,
        batch: Sequence[events.TrackEvent],
        *,
        first_index: int = 0,
        on_rate_limit: OnRateLimit | None = None,
    ) -> events.BatchResult:
        """Store 1 to 1000 events in one request: all of them, or none.

        ``first_index`` is the place of the first event in a longer list. `ApiError.fields` count
        from it, such as ``events[1003].url``.
        """
        request = events.BatchRequest(events=tuple(batch))
        count, first = len(request.events), request.events[0].event_id
        named = f" (the first has event_id {json.dumps(first)})" if first else ""
        effect = WriteEffect(
            f"all events of the request ({count}) may have been stored, or none{named}", first
        )
        try:
            result = await self.post(endpoints.BATCH, request, effect, on_rate_limit=on_rate_limit)
        except ApiError as error:
            error.fields = tuple(_shift_index(name, first_index) for name in error.fields)
            raise
        if result.count != count:
            raise effect.to_error(f"The API acknowledged {result.count} events of {count}")
        return result

    async def identify(self, request: events.IdentifyRequest) -> events.IdentifyResult:
        """Connect a visitor (``anonymous_id``) with a user (``user_id``)."""
        effect = WriteEffect(
            "the visitor may have been identified; doing it again adds one more $identify event"
        )
        return await self.post(endpoints.IDENTIFY, request, effect)

    async def forget(self, request: events.ForgetRequest) -> events.ForgetResult:
        """Queue the deletion of every event of a user, or of a visitor."""
        effect = WriteEffect("the deletion may have been queued; asking for it again does no harm")
        result = await self.post(endpoints.FORGET, request, effect)
        if request.linked and not result.applied:
            raise UpstreamError(
                "The API queued the deletion of the user's own events, but does not know 'linked': "
                "events of the visitors stay. Delete each visitor by anonymous_id.",
                next_step=NextStep.FIX_ARGUMENTS,
            )
        return result

    async def import_part(self, part: imports.ImportRequest | bytes) -> imports.ImportResult:
        """Store one part of an import: once, however often it is sent.

        ``part`` may be the request's JSON already, which is faster for millions of events.
        """
        effect = WriteEffect("the part may have been stored; sending it again does no harm")
        if isinstance(part, bytes):
            return await self._call(endpoints.IMPORT, {"content": part}, effect)
        return await self.post(endpoints.IMPORT, part, effect)

    async def undo_import(self, request: imports.ImportUndoRequest) -> imports.ImportUndoResult:
        """Delete every event of an import; it takes seconds, or minutes on a large store."""
        effect = WriteEffect("the import may be half deleted; asking for it again does no harm")
        return await self.post(endpoints.IMPORT_UNDO, request, effect)

    async def list_imports(self) -> imports.ImportListResult:
        """Return the project's imports, oldest first, with the parts that are stored."""
        effect = WriteEffect("nothing was changed")
        return await self.post(endpoints.IMPORT_LIST, imports.ImportListRequest(), effect)

    async def create_link(self) -> links.LinkResult:
        """Return a code that signs a browser in at the API's page, with the read key, once."""
        effect = WriteEffect("a link may have been created, which expires unused")
        return await self.post(endpoints.LINK, links.LinkRequest(), effect)

    async def sources(self, params: reads.SourcesParams) -> reads.SourcesResult:
        """Return events, visitors and paid share by source, most events first."""
        return responses.check_sources(await self.get(endpoints.SOURCES, params), params)

    async def stats(self, params: reads.StatsParams) -> reads.StatsResult:
        """Return one metric by columns and buckets of time, ordered by bucket, then value."""
        return responses.check_stats(await self.get(endpoints.STATS, params), params)

    async def query(self, params: reads.QueryParams) -> reads.QueryResult:
        """Return single events, newest first."""
        return await self.get(endpoints.QUERY, params)

    async def funnel(self, params: reads.FunnelParams) -> reads.FunnelResult:
        """Return how many people took the steps, in their order."""
        return await self.get(endpoints.FUNNEL, params)

    async def retention(self, params: reads.RetentionParams) -> reads.RetentionResult:
        """Return how many people came back, by when they came first."""
        return await self.get(endpoints.RETENTION, params)

    async def schema(self, params: reads.SchemaParams) -> reads.SchemaResult:
        """Return names of events, their properties, and the columns in use."""
        return await self.get(endpoints.SCHEMA, params)

    async def get(self, endpoint: Endpoint[ParamsT, ResultT], params: ParamsT) -> ResultT:
        """Return the result of a read. ``params`` that are None or empty are not sent.

        Raises:
            UnknownExtension: the API does not know an extension that ``params`` use.
        """
        values = params.model_dump(mode="json", by_alias=True, exclude_none=True)
        filters = values.pop("filters", {})
        extensions = list_extensions(params)
        for name in _EXTENSIONS_WITH_DEFAULTS:
            if name not in (extensions or {}):
                values.pop(name, None)
        texts = {
            name: ",".join(value) if isinstance(value, list) else str(value)
            for name, value in values.items()
        }
        sent = {name: text for name, text in texts.items() if text} | filters
        result = await self._call(endpoint, {"params": sent})
        try:
            responses.check_applied(result, extensions, api_url=self._api_url)
        except UnknownExtension as error:
            self._connections.unknown.update(error.names)
            raise
        return result

    async def post(
        self,
        endpoint: Endpoint[BodyT, ResultT],
        body: BodyT,
        effect: WriteEffect,
        *,
        on_rate_limit: OnRateLimit | None = None,
    ) -> ResultT:
        """Return the result of a write. ``effect`` says what it may have done without a response.

        ``on_rate_limit`` is awaited where the call would fail because of the rate limit.
        """
        try:
            text = json.dumps(events.dump_json(body), ensure_ascii=False, separators=(",", ":"))
        except ValueError:
            raise UpstreamError(
                "The request can't be written as JSON: an object in it is nested too deeply.",
                next_step=NextStep.FIX_ARGUMENTS,
            ) from None
        return await self._call(endpoint, {"content": text.encode()}, effect, on_rate_limit)

    async def aclose(self) -> None:
        """Close the connections. A later call opens new ones."""
        http, self._connections.http = self._connections.http, None
        if http is not None:
            await http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.aclose()

    async def _call(
        self,
        endpoint: Endpoint[Any, ResultT],
        payload: Mapping[str, Any],
        effect: WriteEffect | None = None,
        on_rate_limit: OnRateLimit | None = None,
    ) -> ResultT:
        timing, key = self._timing, self._key(endpoint.scope)
        failures, patience_s, deadline_s = 0, MAX_WAIT_S, timing.clock() + self._timeout_s
        restart = self._on_unreachable
        while True:
            left_s = deadline_s - timing.clock()
            outcome = await self._attempt(endpoint, payload, key=key, effect=effect, left_s=left_s)
            if not isinstance(outcome, Failure):
                return outcome
            if outcome.unreachable and restart is not None:
                self._api_url, restart = await restart(), None
                deadline_s = timing.clock() + self._timeout_s
                continue
            failures += 1
            error = outcome.error
            wait_s = max(timing.backoff_s(failures), error.retry_after_s or 0.0)
            in_time = wait_s <= patience_s and timing.clock() + wait_s < deadline_s
            is_limited = isinstance(error, ApiError) and error.code is ErrorCode.RATE_LIMITED
            if failures < MAX_ATTEMPTS and outcome.repeatable and in_time:
                patience_s -= wait_s
                await timing.sleep(wait_s)
            elif on_rate_limit and is_limited and await on_rate_limit(error):
                failures, patience_s, deadline_s = 0, MAX_WAIT_S, timing.clock() + self._timeout_s
            else:
                raise error

    def _key(self, scope: Scope) -> str:
        key = self._read_key if scope is Scope.READ else self._write_key
        if key is None:
            raise KeyMissing("MILLIMETRIC_RK" if scope is Scope.READ else "MILLIMETRIC_KEY")
        if not key.isascii() or not key.isprintable() or " " in key:
            # It can't be sent in a header, and the error of httpx would quote it.
            raise ApiError(ErrorCode.MALFORMED_API_KEY, status=401)
        return key

    async def _attempt(
        self,
        endpoint: Endpoint[Any, ResultT],
        payload: Mapping[str, Any],
        *,
        key: str,
        effect: WriteEffect | None,
        left_s: float,
    ) -> ResultT | Failure:
        import httpx  # noqa: PLC0415

        is_sent = self._transport is not None  # a replaced network reports no steps

        async def note_sending(step: str, _info: object) -> None:
            nonlocal is_sent
            is_sent = is_sent or step.endswith("send_request_headers.started")

        try:
            with anyio.move_on_after(left_s):
                trace = note_sending if effect else None
                response = await self._send(endpoint, payload, key=key, trace=trace)
                if len(response.body or b"") <= LARGE_RESPONSE_BYTES:
                    return responses.read_result(endpoint, response, effect)
                return await anyio.to_thread.run_sync(
                    responses.read_result, endpoint, response, effect
                )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.PoolTimeout) as e:
            return self._no_connection(e)
        except httpx.InvalidURL:
            reason = "an argument is too long, or MILLIMETRIC_HOST is wrong"
            message = f"The request can't be written as a URL: {reason}."
            return Failure(UpstreamError(message, next_step=NextStep.FIX_ARGUMENTS))
        except httpx.TimeoutException:
            pass
        except httpx.HTTPError:
            reason = "The connection to the API broke before the response was complete"
            return responses.no_response(reason, effect)
        reason = f"The API did not answer within {self._timeout_s:g} seconds"
        return responses.no_response(reason, effect if is_sent else None)

    async def _send(
        self, endpoint: Endpoint[Any, Any], payload: Mapping[str, Any], *, key: str, trace: Trace
    ) -> ApiResponse:
        """Send a request, and return the response. ``trace`` gets the steps of a write."""
        import httpx  # noqa: PLC0415

        headers = {"Authorization": f"Bearer {key}"}
        # A read gets half of the time: a dead connection then leaves time for another one.
        timeout = httpx.Timeout(None, connect=self._connect_timeout_s, read=self._timeout_s / 2)
        extensions = {}
        if trace is not None:
            headers["Content-Type"] = "application/json"
            timeout.read = None
            extensions["trace"] = trace  # it takes time, so only where it matters
        url = self._api_url + endpoint.path
        async with self._open().stream(
            endpoint.method, url, headers=headers, timeout=timeout, extensions=extensions, **payload
        ) as response:
            return await responses.read_response(response)

    def _open(self) -> "httpx.AsyncClient":
        import httpx  # noqa: PLC0415

        if self._connections.http is None:
            trust_env = not _is_local(self._api_url)
            try:
                if trust_env:
                    _check_proxy_ports()
                self._connections.http = httpx.AsyncClient(
                    transport=self._transport,
                    follow_redirects=False,
                    # Callers with other keys share the connections, and must not share cookies.
                    cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
                    # A proxy from the environment would connect to its own loopback address.
                    trust_env=trust_env,
                    headers={
                        "Accept": "application/json",
                        # A small compressed response could unpack to any size.
                        "Accept-Encoding": "identity",
                        "User-Agent": f"millimetric-mcp/{__version__}",
                    },
                )
            except OSError:
                raise _environment_error(_CERTIFICATES, "certificates") from None
            except (ValueError, httpx.InvalidURL):
                raise _environment_error(_PROXIES, "proxies") from None
        return self._connections.http

    def _no_connection(self, error: Exception) -> Failure:
        refused = _describe_tls_error(error)
        if refused:
            return Failure(UpstreamError(refused, next_step=NextStep.CONFIGURE))
        parts = urlsplit(self._api_url)
        shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()  # no password
        advice = (
            f"Nothing answers at {shown}. Start it with `millimetric-mcp api`, or correct"
            if _is_local(self._api_url)
            else "Check the network, its proxy, and the URL in"
        )
        unreachable = UpstreamError(
            f"No connection to the API, so nothing was sent. {advice} MILLIMETRIC_HOST.",
            next_step=NextStep.CONFIGURE,
        )
        return Failure(unreachable, repeatable=True, unreachable=True)


def _shift_index(name: str, by: int) -> str:
    """Return ``events[3].url`` as ``events[1003].url`` for 1000."""
    return re.sub(r"^events\[(\d+)\]", lambda found: f"events[{int(found[1]) + by}]", name)


def _check_proxy_ports() -> None:
    """Raise ValueError for a port above 65535, which httpx takes."""
    from urllib.request import getproxies  # noqa: PLC0415 - slow

    for scheme, url in getproxies().items():
        if scheme in {"http", "https", "all"}:
            _ = urlsplit(url if "://" in url else f"//{url}").port


def _environment_error(variables: Sequence[str], things: str) -> UpstreamError:
    """Return the error for variables that httpx can't use; their values may hold passwords."""
    names = [name for name in os.environ if name.upper() in variables]
    where = " or ".join(sorted(names)) or f"the {things} of this system"
    advice = ""
    if "NO_PROXY" in map(str.upper, names):
        advice = " In NO_PROXY, write IPv6 addresses without brackets, and no IPv6 networks."
    return UpstreamError(
        f"Nothing was sent: the {things} in this server's environment can't be used. "
        f"Correct or remove {where}.{advice}",
        next_step=NextStep.CONFIGURE,
    )


def _describe_tls_error(error: BaseException) -> str | None:
    """Return what to do if a connection failed because of TLS; None if it did not."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return None
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            "Nothing was sent: the certificate of the API is not trusted or is for another host. "
            "Correct MILLIMETRIC_HOST, or name your own authority's file in SSL_CERT_FILE."
        )
    return (
        "Nothing was sent: MILLIMETRIC_HOST begins with https://, but no TLS is spoken there. For "
        "a local API write http://."
    )


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach ``host``, a name or an address in any form."""
    name = host.removesuffix(".")
    try:
        address = ip_address(name)
    except ValueError:
        try:
            address = ip_address(inet_aton(name))  # 127.1
        except OSError:
            return name == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _is_local(url: str) -> bool:
    host = (urlsplit(url).hostname or "").removesuffix(".")
    return is_loopback(host) or host == "0.0.0.0" or host.endswith(".localhost")  # noqa: S104
