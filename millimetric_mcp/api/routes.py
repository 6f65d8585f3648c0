"""The endpoints: route, key, scope, origin, rate, type and size, body, in this order."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import anyio
from pydantic import BaseModel
from pydantic_core import to_json
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from millimetric_mcp.api.auth import FindKey, authenticate, authorise, check_origin
from millimetric_mcp.api.bodies import BEACON_TYPES, JSON_TYPES, LARGE_BODY_BYTES, BodyReader
from millimetric_mcp.api.control import DeletionKind, DeletionLog, Links
from millimetric_mcp.api.health import Health
from millimetric_mcp.api.imports import ImportedPart, Imports
from millimetric_mcp.api.ingest import pipeline
from millimetric_mcp.api.ingest.enrich import CountryLookup
from millimetric_mcp.api.ingest.pipeline import build_event
from millimetric_mcp.api.ingest.validate import (
    check_times,
    list_unknown_fields,
    list_unused_params,
    read_params,
)
from millimetric_mcp.api.quotas import BrowserQuota
from millimetric_mcp.api.ratelimit import RateLimiter
from millimetric_mcp.api.store import Store
from millimetric_mcp.contract import endpoints, events
from millimetric_mcp.contract.attribution import FbclidMeaning
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.columns import StoredEvent
from millimetric_mcp.contract.extensions import list_extensions
from millimetric_mcp.contract.imports import ImportListRequest, ImportRequest, ImportUndoRequest
from millimetric_mcp.contract.keys import KeyRecord
from millimetric_mcp.contract.links import LINK_LIFETIME_S, LinkRequest
from millimetric_mcp.contract.reads import WindowParams, lacks_zone
from millimetric_mcp.errors import RequestError, StoreError, StoreUnavailable
from millimetric_mcp.web.app import Answer
from millimetric_mcp.web.headers import read_bearer

MAX_FORGET_S = 15
"""For each of many deletions that wait for the control database; callers wait for 30 s."""

LATE_BODY_S = 1.0
"""If a body takes longer to arrive and be parsed, its key is looked up again: it may be revoked."""

LARGE_PART_BYTES = 16 * 1024
"""A larger part of an import is built in a thread: its short events take more than their JSON."""

AnyEndpoint: TypeAlias = endpoints.Endpoint[Any, Any]

BEACON_ENDPOINTS = frozenset({endpoints.TRACK, endpoints.BATCH, endpoints.IDENTIFY})
"""They take a browser's key as ``?key=pk_…``: ``navigator.sendBeacon`` sends no such header."""


class AdmittedRequest(NamedTuple):
    """A request whose key is accepted; ``headers`` go by lower-case name.

    ``is_beacon``: the key came in the query.
    """

    record: KeyRecord
    headers: Mapping[str, str]
    ip: str | None
    is_beacon: bool


Body: TypeAlias = Mapping[str, Any]
Handler: TypeAlias = Callable[[Any, AdmittedRequest], Coroutine[Any, Any, Body]]


@dataclass(frozen=True, kw_only=True, repr=False)
class Endpoints:
    """A handler for each endpoint that writes, and one for all that read.

    ``clock`` returns the UTC time. ``wake_maintenance`` starts a logged deletion at once.
    ``note_use`` gets the prefix of each key that is used. ``fbclid`` is for projects without
    a setting.
    """

    store: Store
    deletions: DeletionLog
    imports: Imports
    links: Links
    find_key: FindKey
    note_use: Callable[[str], None]
    pepper: bytes
    ip_salt: bytes
    limiter: RateLimiter
    bodies: BodyReader
    health: Health
    quota: BrowserQuota
    clock: Callable[[], datetime]
    country_of: CountryLookup
    fbclid: FbclidMeaning
    wake_maintenance: Callable[[], None]

    def list_routes(self) -> list[Route]:
        """Return the routes of ``/v1/*``, and those of the API's health."""
        writes: dict[AnyEndpoint, Handler] = {
            endpoints.TRACK: self._track,
            endpoints.BATCH: self._batch,
            endpoints.IDENTIFY: self._identify,
            endpoints.FORGET: self._forget,
            endpoints.IMPORT: self._import,
            endpoints.IMPORT_UNDO: self._undo_import,
            endpoints.IMPORT_LIST: self._list_imports,
            endpoints.LINK: self._create_link,
        }
        routes = [
            Route(
                endpoint.path,
                partial(
                    self._answer, endpoint, writes.get(endpoint, partial(self._read, endpoint))
                ),
                methods=[endpoint.method],
            )
            for endpoint in (*endpoints.ENDPOINTS, endpoints.LINK)
        ]
        return [
            *routes,
            Route(endpoints.SIGN_IN_PATH, self._sign_in, methods=["POST"]),
            Route(endpoints.HEALTH_PATH, _answer_alive, methods=["GET"]),
            Route(endpoints.READINESS_PATH, self._answer_ready, methods=["GET"]),
        ]

    def list_shortcuts(self) -> Mapping[str, Answer]:
        """Return what answers the requests that come most often, by path."""
        return {
            endpoints.TRACK.path: partial(self._answer, endpoints.TRACK, self._track),
            endpoints.BATCH.path: partial(self._answer, endpoints.BATCH, self._batch),
        }

    async def _answer(self, endpoint: AnyEndpoint, handle: Handler, request: Request) -> Response:
        """Admit a request, read its body or parameters, and answer with what ``handle`` returns."""
        admitted = await self._admit(endpoint, request)
        asked: Any
        if endpoint.method == "POST":
            project_id, headers = admitted.record.project_id, admitted.headers
            admitted_at_s = time.monotonic()
            asked, ignored = await self.bodies.read(
                endpoint.request,
                request,
                headers,
                project_id=project_id,
                finish=partial(self._finish_body, admitted),
                media_types=BEACON_TYPES if admitted.is_beacon else JSON_TYPES,
                large_bytes=LARGE_PART_BYTES if endpoint is endpoints.IMPORT else LARGE_BODY_BYTES,
            )
            is_late = time.monotonic() - admitted_at_s > LATE_BODY_S
            if is_late and await self.find_key(admitted.record.prefix) is None:
                raise RequestError(ErrorCode.INVALID_API_KEY)
        else:
            params = request.query_params.multi_items()
            asked = read_params(endpoint.request, params)
            ignored = list_unused_params(asked, (name for name, _ in params))
        handling = handle(asked, admitted)
        body = await (
            handling if endpoint.method == "POST" else _run_while_connected(request, handling)
        )
        return _json({**body, "ignored": ignored} if ignored else body, endpoint.status)

    def _finish_body(self, admitted: AdmittedRequest, body: BaseModel) -> tuple[Any, list[str]]:
        """Return what the handler gets, and the names of unknown fields."""
        ignored = list_unknown_fields(body)
        # Built where it was parsed: the models go before the next part comes.
        if isinstance(body, ImportRequest):
            return self._build_part(body, admitted), ignored
        return body, ignored

    async def _admit(self, endpoint: AnyEndpoint, request: Request) -> AdmittedRequest:
        # Read once: each look-up in Starlette's own headers goes through all of them.
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers.raw
        }
        authorization, is_beacon = headers.get("authorization"), False
        if authorization is None and endpoint in BEACON_ENDPOINTS:
            key = request.query_params.get("key", "")
            is_beacon = key.startswith("pk_")  # no other kind may stand in a URL
            authorization = f"Bearer {key}" if is_beacon else None
        record = await authenticate(authorization, find=self.find_key, pepper=self.pepper)
        self.note_use(record.prefix)
        request.scope.setdefault("state", {})["project"] = record.project
        authorise(record, endpoint)
        check_origin(record, headers.get("origin"))
        self.limiter.take(record, endpoint)
        client = request.scope.get("client")
        ip = client[0] if client else None
        return AdmittedRequest(record, headers, ip, is_beacon)

    def _fbclid_of(self, admitted: AdmittedRequest) -> FbclidMeaning:
        return admitted.record.fbclid or self.fbclid

    def _read_facts(self, admitted: AdmittedRequest) -> pipeline.RequestFacts:
        return pipeline.read_request_facts(
            admitted.headers,
            ip=admitted.ip,
            key=admitted.record,
            received_at=self.clock(),
            country_of=self.country_of,
            ip_salt=self.ip_salt,
        )

    async def _track(self, event: events.TrackEvent, admitted: AdmittedRequest) -> Body:
        facts = self._read_facts(admitted)
        check_times([event], now=facts.received_at, in_batch=False)
        await self._store([build_event(event, facts, fbclid=self._fbclid_of(admitted))])
        return {"ok": True, "event_id": event.event_id}

    async def _batch(self, batch: events.BatchRequest, admitted: AdmittedRequest) -> Body:
        facts = self._read_facts(admitted)
        check_times(batch.events, now=facts.received_at, in_batch=True)
        await self._store(
            [build_event(event, facts, fbclid=self._fbclid_of(admitted)) for event in batch.events]
        )
        return {"ok": True, "count": len(batch.events)}

    async def _identify(self, body: events.IdentifyRequest, admitted: AdmittedRequest) -> Body:
        event = pipeline.build_identification(body, self._read_facts(admitted))
        await self._store([event])
        return {"ok": True}

    async def _store(self, built: Sequence[StoredEvent]) -> None:
        await self.quota.take(built)
        await self.store.append(built)

    async def _forget(self, body: events.ForgetRequest, admitted: AdmittedRequest) -> Body:
        try:
            cutoff = await self.store.now()
            async with asyncio.timeout(MAX_FORGET_S):
                await asyncio.to_thread(
                    self.deletions.add,
                    store=self.store.id,
                    project_id=admitted.record.project_id,
                    kind=_find_kind(body),
                    id_to_delete=body.user_id or body.anonymous_id or "",
                    cutoff=cutoff,
                    requested_at=self.clock(),
                )
        except StoreError as error:
            raise RequestError(ErrorCode.FORGET_FAILED) from error
        except TimeoutError:
            late = StoreUnavailable("the database of projects and keys did not answer in time")
            raise RequestError(ErrorCode.FORGET_FAILED) from late
        self.wake_maintenance()
        done = {"ok": True, "queued": True}
        return {**done, "applied": {"linked": True}} if body.linked else done

    def _build_part(self, part: ImportRequest, admitted: AdmittedRequest) -> ImportedPart:
        check_times(part.events, now=self.clock(), in_batch=True)
        built = pipeline.build_imported(
            part.events,
            key=admitted.record,
            country_of=self.country_of,
            ip_salt=self.ip_salt,
            fbclid=self._fbclid_of(admitted),
        )
        return ImportedPart(part.import_id, part.chunk, built)

    async def _import(self, part: ImportedPart, admitted: AdmittedRequest) -> Body:
        return await self.imports.store_part(admitted.record.project_id, part)

    async def _undo_import(self, body: ImportUndoRequest, admitted: AdmittedRequest) -> Body:
        return await self.imports.undo(admitted.record, body.import_id)

    async def _list_imports(self, _: ImportListRequest, admitted: AdmittedRequest) -> Body:
        return await self.imports.list(admitted.record.project_id)

    async def _create_link(self, _: LinkRequest, admitted: AdmittedRequest) -> Body:
        key = read_bearer(admitted.headers.get("authorization"))
        code = await asyncio.to_thread(self.links.create, key, now=self.clock())
        return {"ok": True, "code": code, "expires_in_s": LINK_LIFETIME_S}

    async def _sign_in(self, request: Request) -> Response:
        """Answer with the read key of a one-time code, which is the bearer token."""
        code = read_bearer(request.headers.get("authorization"))
        key = await asyncio.to_thread(self.links.redeem, code, now=self.clock())
        if key is None:
            raise RequestError(ErrorCode.INVALID_API_KEY)
        response = _json({"key": key}, 200)
        response.headers["Cache-Control"] = "no-store"
        return response

    async def _read(
        self, endpoint: AnyEndpoint, params: WindowParams, admitted: AdmittedRequest
    ) -> Body:
        """Return what the store found, after the parameters that the response repeats."""
        own_zone = admitted.record.timezone if lacks_zone(params) else None
        asked = params.model_copy(update={"timezone": own_zone}) if own_zone else params
        found = await self.store.read(admitted.record.project_id, asked)
        repeated = endpoint.result.model_fields.keys() & endpoint.request.model_fields.keys()
        applied = list_extensions(params)
        return {
            **({} if applied is None else {"applied": applied}),
            **({"project_timezone": own_zone} if own_zone else {}),
            **{
                endpoint.result.model_fields[name].alias or name: getattr(params, name)
                for name in repeated
            },
            **found,
            **await self._list_notes(),
        }

    async def _answer_ready(self, request: Request) -> Response:  # noqa: ARG002
        readiness = await self.health.check()
        body: dict[str, Any] = {
            "status": "ok" if readiness.is_ready else "unavailable",
            "checks": {
                name: "ok" if works else "failed" for name, works in readiness.checks.items()
            },
        }
        if readiness.checks.get("store"):
            body |= await self._list_notes()
        return _json(body, 200 if readiness.is_ready else 503)

    async def _list_notes(self) -> Body:
        notes = await self.store.list_damage()
        return {"notes": list(notes)} if notes else {}


async def _run_while_connected(request: Request, work: Coroutine[Any, Any, Body]) -> Body:
    """Return what ``work`` returns; cancel it when the caller leaves.

    It runs in the request's own task: each further task waits once more for the other requests.

    Raises:
        ClientDisconnect: the caller has left.
    """
    with anyio.CancelScope() as scope:
        leaving = asyncio.create_task(_cancel_at_disconnect(request, scope))
        try:
            return await work
        finally:
            leaving.cancel()
    raise ClientDisconnect


async def _cancel_at_disconnect(request: Request, scope: anyio.CancelScope) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def _answer_alive(_request: Request) -> Response:
    """Answer at once: it waits for no work, and for no store."""
    return _json({"status": "ok"}, 200)


def _find_kind(body: events.ForgetRequest) -> DeletionKind:
    if body.user_id is None:
        return DeletionKind.VISITOR
    return DeletionKind.LINKED if body.linked else DeletionKind.USER


def _json(body: Body, status: int) -> Response:
    return Response(to_json(body), status, media_type="application/json")
