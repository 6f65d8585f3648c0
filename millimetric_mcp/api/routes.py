"""The endpoints: route, key, scope, origin, rate, type and size, body, in this order."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from millimetric_mcp.api.auth import FindKey, authenticate, authorise, check_origin
from millimetric_mcp.api.bodies import BodyReader
from millimetric_mcp.api.control import ForgetLog
from millimetric_mcp.api.ingest.address import host_of
from millimetric_mcp.api.ingest.enrich import hash_ip, parse_user_agent
from millimetric_mcp.api.ingest.pipeline import Caller, build_event, build_identification
from millimetric_mcp.api.ingest.validate import check_times, read_params
from millimetric_mcp.api.ratelimit import RateLimiter
from millimetric_mcp.api.store import EventStore
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.columns import StoredEvent
from millimetric_mcp.contract.endpoints import (
    BATCH,
    FORGET,
    HEALTH_PATH,
    IDENTIFY,
    QUERY,
    SOURCES,
    STATS,
    TRACK,
    Endpoint,
    RequestT,
)
from millimetric_mcp.contract.keys import KeyRecord
from millimetric_mcp.errors import RequestError, StoreError

NO_IP_HASH = bytes(16)

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Services:
    """What the endpoints work with; `millimetric_mcp.api.app` puts it together.

    ``clock`` gives the UTC time; ``country_of`` the ISO code of an address, or an empty text;
    ``wake_maintenance`` makes a logged erasure start at once.
    """

    store: EventStore
    forgets: ForgetLog
    find_key: FindKey
    pepper: bytes
    ip_salt: bytes
    limiter: RateLimiter
    bodies: BodyReader
    clock: Callable[[], datetime]
    country_of: Callable[[str], str]
    wake_maintenance: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Admission:
    """A request that may go on: whose it is, and its headers by lower-case name."""

    record: KeyRecord
    headers: Mapping[str, str]


class Endpoints:
    """A handler for each endpoint of the contract."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def list_routes(self) -> list[Route]:
        """The routes of ``/v1/*``, and the API's health."""
        handlers: dict[Endpoint[Any, Any], Handler] = {
            TRACK: self.track,
            BATCH: self.batch,
            IDENTIFY: self.identify,
            FORGET: self.forget,
            SOURCES: self.sources,
            STATS: self.stats,
            QUERY: self.query,
        }
        routes = [
            Route(endpoint.path, handler, methods=[endpoint.method])
            for endpoint, handler in handlers.items()
        ]
        return [*routes, Route(HEALTH_PATH, self.health, methods=["GET"])]

    async def track(self, request: Request) -> Response:
        admission = await self._admit(request, TRACK)
        event = await self._read(TRACK, request, admission)
        caller = self._describe(request, admission)
        check_times([event], now=caller.received_at, in_batch=False)
        await self._services.store.append([build_event(event, caller)])
        return _json({"ok": True, "event_id": event.event_id}, TRACK.status)

    async def batch(self, request: Request) -> Response:
        admission = await self._admit(request, BATCH)
        batch = await self._read(BATCH, request, admission)
        caller = self._describe(request, admission)
        check_times(batch.events, now=caller.received_at, in_batch=True)
        stored: Sequence[StoredEvent] = [build_event(event, caller) for event in batch.events]
        await self._services.store.append(stored)
        return _json({"ok": True, "count": len(stored)}, BATCH.status)

    async def identify(self, request: Request) -> Response:
        admission = await self._admit(request, IDENTIFY)
        body = await self._read(IDENTIFY, request, admission)
        caller = self._describe(request, admission)
        await self._services.store.append([build_identification(body, caller)])
        return _json({"ok": True}, IDENTIFY.status)

    async def forget(self, request: Request) -> Response:
        admission = await self._admit(request, FORGET)
        body = await self._read(FORGET, request, admission)
        try:
            cutoff = await self._services.store.now()
            await asyncio.to_thread(
                self._services.forgets.add,
                store=self._services.store.id,
                project_id=admission.record.project_id,
                user_id=body.user_id,
                cutoff=cutoff,
                requested_at=self._services.clock(),
            )
        except StoreError:
            raise RequestError(ErrorCode.FORGET_FAILED) from None
        self._services.wake_maintenance()
        return _json({"ok": True, "queued": True}, FORGET.status)

    async def sources(self, request: Request) -> Response:
        admission = await self._admit(request, SOURCES)
        params = read_params(SOURCES.request, request.query_params.multi_items())
        rows = await self._services.store.sources(admission.record.project_id, params)
        return _json({"breakdown": params.breakdown, "rows": rows})

    async def stats(self, request: Request) -> Response:
        admission = await self._admit(request, STATS)
        params = read_params(STATS.request, request.query_params.multi_items())
        rows, truncated = await self._services.store.stats(admission.record.project_id, params)
        extra = {"truncated": True} if truncated else {}
        return _json({"metric": params.metric, "rows": rows, **extra})

    async def query(self, request: Request) -> Response:
        admission = await self._admit(request, QUERY)
        params = read_params(QUERY.request, request.query_params.multi_items())
        rows = await self._services.store.query(admission.record.project_id, params)
        return _json({"rows": rows})

    async def health(self, request: Request) -> Response:  # noqa: ARG002
        """Liveness, and readiness with the store's state: 200, or 503 while it is down."""
        try:
            await self._services.store.ping()
        except StoreError:
            return _json({"status": "unavailable", "store": "unavailable"}, 503)
        return _json({"status": "ok", "store": "ok"})

    async def _admit(self, request: Request, endpoint: Endpoint[Any, Any]) -> Admission:
        services, headers = self._services, read_headers(request)
        record = await authenticate(
            headers.get("authorization"), find=services.find_key, pepper=services.pepper
        )
        request.state.project = record.project
        authorise(record, endpoint)
        check_origin(record, headers.get("origin"))
        services.limiter.take(record.project_id, endpoint)
        return Admission(record, headers)

    async def _read(
        self, endpoint: Endpoint[RequestT, Any], request: Request, admission: Admission
    ) -> RequestT:
        return await self._services.bodies.read(
            endpoint.request,
            request,
            admission.headers,
            project_id=admission.record.project_id,
        )

    def _describe(self, request: Request, admission: Admission) -> Caller:
        services, headers = self._services, admission.headers
        now = services.clock()
        ip = request.client.host if request.client else None
        return Caller(
            project_id=admission.record.project_id,
            received_at=now,
            origin_host=host_of(headers.get("origin")),
            device=parse_user_agent(headers.get("user-agent")),
            country=services.country_of(ip) if ip else "",
            ip_hash=hash_ip(ip, salt=services.ip_salt, date_utc=now.date()) if ip else NO_IP_HASH,
        )


def _json(body: Mapping[str, Any], status: int = 200) -> Response:
    return Response(to_json(body), status, media_type="application/json")


def read_headers(request: Request) -> dict[str, str]:
    """Every header, read once: a look-up in Starlette's own scans them all."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers.raw}
