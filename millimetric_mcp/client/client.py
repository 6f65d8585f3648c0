"""The contract's async HTTP client: keys, one deadline a call, retries.

A call ends within one total deadline. Reads are repeated on 429, 5xx, broken connections and
time-outs; writes only where certainly nothing was stored: no connection, 429, 503. Where a
write's fate is unknown, the exception says so. Nobody is kept waiting in silence: where the
API asks for more than a moment, the call fails and says for how long.

httpx is imported at the first call: the start of the MCP server is measured.
"""

import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import ip_address
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar
from urllib.parse import urlsplit

import anyio
from pydantic import BaseModel

from millimetric_mcp import __version__
from millimetric_mcp.client.responses import (
    MAX_ERROR_BYTES,
    MAX_RESULT_BYTES,
    Answer,
    Failure,
    Write,
    check_sources,
    check_stats,
    interpret,
    parse_retry_after,
    suspect,
)
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.endpoints import (
    BATCH,
    FORGET,
    IDENTIFY,
    QUERY,
    SOURCES,
    STATS,
    TRACK,
    Endpoint,
)
from millimetric_mcp.contract.events import (
    BatchRequest,
    BatchResult,
    ForgetRequest,
    ForgetResult,
    IdentifyRequest,
    IdentifyResult,
    RequestBody,
    TrackEvent,
    TrackResult,
    dump_json,
)
from millimetric_mcp.contract.keys import Scope
from millimetric_mcp.contract.reads import (
    QueryParams,
    QueryResult,
    SourcesParams,
    SourcesResult,
    StatsParams,
    StatsResult,
    WindowParams,
)
from millimetric_mcp.errors import ApiError, KeyMissing, NextStep, UpstreamError

if TYPE_CHECKING:
    import httpx

__all__ = ["MAX_ATTEMPTS", "MAX_WAIT_S", "MillimetricClient", "Pace", "is_loopback"]

MAX_ATTEMPTS = 3
MAX_WAIT_S = 2.0
"""The longest a call waits between its attempts, all of them together."""
FIRST_BACKOFF_S = 0.25

WRITE_KEY_VARIABLE = "MILLIMETRIC_KEY"
READ_KEY_VARIABLE = "MILLIMETRIC_RK"

ResultT = TypeVar("ResultT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Pace:
    """How time passes between attempts: ``jitter`` is 0 to 1, ``clock`` monotonic seconds."""

    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    jitter: Callable[[], float] = random.random
    clock: Callable[[], float] = time.monotonic

    def backoff_s(self, failures: int) -> float:
        """The least wait after so many failed attempts, doubling, half of it random."""
        return FIRST_BACKOFF_S * 2.0 ** (failures - 1) * (0.5 + self.jitter() / 2)


@dataclass(frozen=True, slots=True)
class _Call(Generic[ResultT]):
    """A call on its way: what is sent, and what hangs on it where it is a write."""

    endpoint: Endpoint[Any, ResultT]
    payload: Mapping[str, Any]
    key: str = field(repr=False)
    deadline_s: float
    write: Write | None


class _Sending:
    """Notices the moment from which a request may have reached the API."""

    def __init__(self, *, started: bool) -> None:
        self.started = started

    async def trace(self, name: str, _info: object) -> None:
        if name.endswith("send_request_headers.started"):
            self.started = True


@dataclass(slots=True)
class _Pool:
    """Connections, opened by the first call."""

    http: "httpx.AsyncClient | None" = None


REAL_TIME = Pace()


class MillimetricClient:
    """Calls the API: writes with ``write_key`` only, reads with ``read_key`` only.

    Every method raises a `CallError`: `KeyMissing`, `ApiError`, `UpstreamError`, and for
    writes `UncertainWrite`. One client belongs to one event loop and is closed in it.
    ``transport`` replaces the network, ``pace`` the passing of time.
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
        pace: Pace = REAL_TIME,
    ) -> None:
        self._api_url = api_url.rstrip("/")
        self._write_key = write_key
        self._read_key = read_key
        self._connect_timeout_s = connect_timeout_s
        self._timeout_s = timeout_s
        self._transport = transport
        self._pace = pace
        self._pool = _Pool()

    def with_keys(self, *, write_key: str | None, read_key: str | None) -> "MillimetricClient":
        """The same client with another caller's keys; its connections are this one's."""
        sibling = MillimetricClient(
            api_url=self._api_url,
            write_key=write_key,
            read_key=read_key,
            connect_timeout_s=self._connect_timeout_s,
            timeout_s=self._timeout_s,
            transport=self._transport,
            pace=self._pace,
        )
        sibling._pool = self._pool
        return sibling

    @property
    def timeout_s(self) -> float:
        """Within how many seconds a call ends."""
        return self._timeout_s

    @property
    def can_write(self) -> bool:
        """Whether there is a key for track, batch, identify and forget."""
        return self._write_key is not None

    @property
    def can_read(self) -> bool:
        """Whether there is a key for sources, stats and query."""
        return self._read_key is not None

    async def track(self, event: TrackEvent) -> TrackResult:
        """Store one event."""
        named = f" under event_id {json.dumps(event.event_id)}" if event.event_id else ""
        return await self._write(
            TRACK, event, Write(f"the event may have been stored{named}", event.event_id)
        )

    async def batch(self, events: Sequence[TrackEvent]) -> BatchResult:
        """Store 1 to 1000 events in one request, all or none."""
        request = BatchRequest(events=tuple(events))
        first = request.events[0].event_id
        named = f" (the first has event_id {json.dumps(first)})" if first else ""
        count = len(request.events)
        doubt = Write(
            f"all events of the request ({count}) may have been stored, or none{named}", first
        )
        result = await self._write(BATCH, request, doubt)
        if result.count != count:
            raise doubt.doubt(f"The API acknowledged {result.count} events of {count}")
        return result

    async def identify(self, request: IdentifyRequest) -> IdentifyResult:
        """Tie a visitor to a known person."""
        fate = "the visitor may have been identified; doing it again adds one more $identify event"
        return await self._write(IDENTIFY, request, Write(fate))

    async def forget(self, request: ForgetRequest) -> ForgetResult:
        """Queue the erasure of a user's every event."""
        fate = "the erasure may have been queued; asking for it again does no harm"
        return await self._write(FORGET, request, Write(fate))

    async def sources(self, params: SourcesParams) -> SourcesResult:
        """Events and visitors by source."""
        return check_sources(await self._read(SOURCES, params), params)

    async def stats(self, params: StatsParams) -> StatsResult:
        """One metric by columns and buckets of time."""
        return check_stats(await self._read(STATS, params), params)

    async def query(self, params: QueryParams) -> QueryResult:
        """Raw events, newest first."""
        return await self._read(QUERY, params)

    async def aclose(self) -> None:
        """Close the pooled connections; a later call opens new ones."""
        http, self._pool.http = self._pool.http, None
        if http is not None:
            await http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _write(
        self, endpoint: Endpoint[Any, ResultT], body: RequestBody, write: Write
    ) -> ResultT:
        return await self._call(endpoint, {"content": _write_json(body)}, write)

    async def _read(self, endpoint: Endpoint[Any, ResultT], params: WindowParams) -> ResultT:
        return await self._call(endpoint, {"params": _query(params)}, None)

    async def _call(
        self, endpoint: Endpoint[Any, ResultT], payload: Mapping[str, Any], write: Write | None
    ) -> ResultT:
        pace = self._pace
        call = _Call(
            endpoint=endpoint,
            payload=payload,
            key=self._key(endpoint.scope),
            deadline_s=pace.clock() + self._timeout_s,
            write=write,
        )
        failures, patience_s = 0, MAX_WAIT_S
        while isinstance(outcome := await self._attempt(call), Failure):
            failures += 1
            wait_s = max(pace.backoff_s(failures), outcome.error.retry_after_s or 0.0)
            in_time = wait_s <= patience_s and pace.clock() + wait_s < call.deadline_s
            if failures == MAX_ATTEMPTS or not outcome.repeatable or not in_time:
                raise outcome.error
            patience_s -= wait_s
            await pace.sleep(wait_s)
        return outcome

    def _key(self, scope: Scope) -> str:
        key, variable = (
            (self._read_key, READ_KEY_VARIABLE)
            if scope is Scope.READ
            else (self._write_key, WRITE_KEY_VARIABLE)
        )
        if key is None:
            raise KeyMissing(variable)
        if not key.isascii() or not key.isprintable() or " " in key:
            # It can't stand in a header, and httpx's own complaint would quote it.
            raise ApiError(ErrorCode.MALFORMED_API_KEY, status=401)
        return key

    async def _attempt(self, call: _Call[ResultT]) -> ResultT | Failure:
        import httpx  # noqa: PLC0415

        sending = _Sending(started=self._transport is not None)
        try:
            with anyio.move_on_after(call.deadline_s - self._pace.clock()):
                answer = await self._exchange(call, sending)
                return interpret(call.endpoint, answer, call.write)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.PoolTimeout):
            return Failure(self._unreachable(), repeatable=True)
        except httpx.InvalidURL:
            return Failure(_unwritable())
        except httpx.TimeoutException:
            pass
        except httpx.HTTPError:
            return suspect("The connection to the API broke before a whole answer came", call.write)
        reason = f"No whole answer came from the API within {self._timeout_s:g} s"
        return suspect(reason, call.write if sending.started else None)

    async def _exchange(self, call: _Call[Any], sending: _Sending) -> Answer:
        import httpx  # noqa: PLC0415

        content_type = {"Content-Type": "application/json"} if call.write else {}
        # A read's dead connection is noticed while there is time for another one.
        read_s = None if call.write else self._timeout_s / 2
        async with self._open().stream(
            call.endpoint.method,
            self._api_url + call.endpoint.path,
            headers={"Authorization": f"Bearer {call.key}", **content_type},
            timeout=httpx.Timeout(None, connect=self._connect_timeout_s, read=read_s),
            # Watching takes time, and of a read nobody asks whether it was sent.
            extensions={"trace": sending.trace} if call.write else {},
            **call.payload,
        ) as response:
            return await _read_answer(response)

    def _open(self) -> "httpx.AsyncClient":
        import httpx  # noqa: PLC0415

        if self._pool.http is None:
            self._pool.http = httpx.AsyncClient(
                transport=self._transport,
                follow_redirects=False,
                # Callers of several keys share the connections; a cookie would mix them up.
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
                # A proxy named in the environment would look for its own loopback.
                trust_env=not _is_local(self._api_url),
                headers={
                    "Accept": "application/json",
                    # Compressed, a small answer could unpack to any size before it is counted.
                    "Accept-Encoding": "identity",
                    "User-Agent": f"millimetric-mcp/{__version__}",
                },
            )
        return self._pool.http

    def _unreachable(self) -> UpstreamError:
        advice = (
            f"nothing answers at {_hide_userinfo(self._api_url)}: "
            "start it with `millimetric-mcp api`, or correct"
            if _is_local(self._api_url)
            else "check the network, its proxy, and the URL in"
        )
        return UpstreamError(
            f"No connection to the API; {advice} MILLIMETRIC_HOST.", next_step=NextStep.CONFIGURE
        )


def _unwritable() -> UpstreamError:
    return UpstreamError(
        "The request can't be written as a URL: an argument is too long, "
        "or MILLIMETRIC_HOST is wrong.",
        next_step=NextStep.FIX_ARGUMENTS,
    )


def is_loopback(host: str) -> bool:
    """Whether nobody beyond this machine is at ``host``."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _write_json(body: RequestBody) -> bytes:
    try:
        fields = dump_json(body)
    except ValueError:
        raise UpstreamError(
            "The request can't be written as JSON: an object in it is nested too deeply.",
            next_step=NextStep.FIX_ARGUMENTS,
        ) from None
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return is_loopback(host) or host == "0.0.0.0" or host.endswith(".localhost")  # noqa: S104


def _hide_userinfo(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _query(params: WindowParams) -> dict[str, str]:
    values = params.model_dump(mode="json", by_alias=True, exclude_none=True)
    texts = {
        name: ",".join(value) if isinstance(value, list) else str(value)
        for name, value in values.items()
    }
    return {name: text for name, text in texts.items() if text}


async def _read_answer(response: "httpx.Response") -> Answer:
    headers = response.headers
    is_compressed = headers.get("content-encoding", "identity").lower() != "identity"
    return Answer(
        status=response.status_code,
        media_type=headers.get("content-type", "").partition(";")[0].strip().lower(),
        retry_after_s=parse_retry_after(headers.get("retry-after"), date=headers.get("date")),
        body=None if is_compressed else await _read_body(response),
        is_compressed=is_compressed,
    )


async def _read_body(response: "httpx.Response") -> bytes | None:
    max_bytes = MAX_RESULT_BYTES if response.is_success else MAX_ERROR_BYTES
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > max_bytes:
            return None
    return bytes(body)
