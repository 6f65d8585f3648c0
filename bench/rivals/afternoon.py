"""The same API on a row store, as a competent person would write it in an afternoon.

One table, sensible indexes, one insert a request, one ``executemany`` a batch, GROUP BY for
the rest. Validation and classification are the product's own, so that the store is what
differs. There are no keys, no limits and no deletion.

``AFTERNOON_STORE`` says where the events are: ``sqlite:FILE`` or a PostgreSQL DSN.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from bench.rivals.stores import RowStore, open_row_store
from millimetric_mcp.api.ingest.enrich import parse_user_agent
from millimetric_mcp.api.ingest.pipeline import RequestFacts, build_event, warm_up
from millimetric_mcp.api.ingest.validate import read_body, read_params
from millimetric_mcp.api.store.relations import to_ms
from millimetric_mcp.contract.endpoints import BATCH, SOURCES, STATS, TRACK

VARIABLE = "AFTERNOON_STORE"
PROJECT_ID = 1


class Afternoon:
    """The handlers over a store."""

    def __init__(self, store: RowStore) -> None:
        self.store = store

    async def track(self, request: Request) -> JSONResponse:
        event = read_body(TRACK.request, await request.body())
        await self.store.add(build_event(event, _describe(request)))
        return JSONResponse({"ok": True, "event_id": event.event_id}, 202)

    async def batch(self, request: Request) -> JSONResponse:
        batch = read_body(BATCH.request, await request.body())
        caller = _describe(request)
        await self.store.add_many([build_event(event, caller) for event in batch.events])
        return JSONResponse({"ok": True, "count": len(batch.events)}, 202)

    async def sources(self, request: Request) -> JSONResponse:
        params = read_params(SOURCES.request, request.query_params.multi_items())
        rows = await self.store.sources(to_ms(params.from_), to_ms(params.to), params.limit)
        names = ("source", "medium", "events", "uniques", "paid_share")
        return JSONResponse({"rows": _label(names, rows)})

    async def stats(self, request: Request) -> JSONResponse:
        """Daily counts by source and medium: the one question that is measured."""
        params = read_params(STATS.request, request.query_params.multi_items())
        rows = await self.store.daily(to_ms(params.from_), to_ms(params.to), params.limit)
        return JSONResponse({"rows": _label(("bucket", "source", "medium", "value"), rows)})


def _describe(request: Request) -> RequestFacts:
    device = parse_user_agent(request.headers.get("user-agent"))
    return RequestFacts(
        project_id=PROJECT_ID,
        key_kind="sk",
        received_at=datetime.now(UTC),
        origin_host=None,
        device=device,
        country="",
        ip_hash=bytes(16),
        visitor_id=None,
    )


def _label(names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    return [dict(zip(names, row, strict=True)) for row in rows]


def build_app() -> Starlette:
    """The application over the store that ``AFTERNOON_STORE`` names."""
    afternoon = Afternoon(open_row_store(os.environ[VARIABLE]))
    warm_up()

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await afternoon.store.open()
        yield
        await afternoon.store.close()

    return Starlette(
        routes=[
            Route("/v1/track", afternoon.track, methods=["POST"]),
            Route("/v1/batch", afternoon.batch, methods=["POST"]),
            Route("/v1/sources", afternoon.sources),
            Route("/v1/stats", afternoon.stats),
        ],
        lifespan=lifespan,
    )
