"""``GET /metrics``: how the API and its store are, as Prometheus reads it. No project is named."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from hmac import compare_digest
from ipaddress import ip_address

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from starlette.requests import Request
from starlette.responses import Response

from millimetric_mcp import __version__
from millimetric_mcp.api.control import Control
from millimetric_mcp.api.store import Store
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.errors import RequestError, StoreError
from millimetric_mcp.web.headers import read_bearer

PREFIX = "millimetric_"
GAUGES: Mapping[str, str] = {
    "queue_events": "Events of requests that wait to be acknowledged.",
    "journal_events": "Acknowledged events that wait in the journal for the embedded store.",
    "journal_bytes": "Bytes of the events in the journal.",
    "store_up": "1 if the event store answers.",
    "store_events": "Events in the embedded store.",
    "store_bytes": "Bytes of the embedded store's data on disk.",
    "store_parts": "Data parts of the embedded store.",
    "store_merges": "Merges that the embedded store runs now.",
    "store_memory_bytes": "Memory that the embedded store's engine uses.",
    "deletions_pending": "Requested deletions that are not done.",
    "deletions_oldest_seconds": "Age of the oldest deletion that is not done.",
    "disk_free_bytes": "Free bytes of the data directory's disk.",
}
COUNTERS: Mapping[str, str] = {
    "journal_handovers_total": "How often the journal was handed over to the embedded store.",
    "journal_handed_over_events_total": "Events that were handed over from the journal.",
}
DURATION_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
GROUP_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
_PROXY_HEADERS = frozenset({"forwarded", "via", "x-forwarded-for", "x-real-ip"})


class Metrics:
    """Counts requests as they end, and measures the rest when it is asked."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            f"{PREFIX}http_requests",
            "Requests, by route and status code.",
            ("route", "code"),
            registry=self._registry,
        )
        self._durations = Histogram(
            f"{PREFIX}http_request_duration_seconds",
            "Time from a request's head to the end of its response, by route.",
            ("route",),
            buckets=DURATION_BUCKETS_S,
            registry=self._registry,
        )
        self._groups = Histogram(
            f"{PREFIX}write_group_events",
            "Events that are written and acknowledged together.",
            buckets=GROUP_BUCKETS,
            registry=self._registry,
        )
        self.observe_group = self._groups.observe
        self._gauges = {
            name: Gauge(PREFIX + name, text, registry=self._registry)
            for name, text in GAUGES.items()
        }
        self._counters = {
            name: Counter(PREFIX + name, text, registry=self._registry)
            for name, text in COUNTERS.items()
        }
        self._counted = dict.fromkeys(COUNTERS, 0.0)
        Gauge(
            f"{PREFIX}build_info", "The version that runs.", ("version",), registry=self._registry
        ).labels(__version__).set(1)
        ProcessCollector(registry=self._registry)

    def observe_request(self, route: str, status: int, duration_s: float) -> None:
        """Count a request; ``route`` is a path of the API, or one name for all others."""
        self._requests.labels(route, str(status)).inc()
        self._durations.labels(route).observe(duration_s)

    def render(self, measured: Mapping[str, float]) -> bytes:
        """Return the text for Prometheus; what is not among ``measured`` is NaN."""
        for name, gauge in self._gauges.items():
            gauge.set(measured.get(name, float("nan")))
        for name, counter in self._counters.items():
            now = measured.get(name, self._counted[name])
            counter.inc(now - self._counted[name])
            self._counted[name] = now
        return generate_latest(self._registry)


async def serve_metrics(
    request: Request,
    *,
    metrics: Metrics,
    control: Control,
    store: Store,
    clock: Callable[[], datetime],
    token: str | None,
) -> Response:
    """Answer this machine, or who has the token.

    Raises:
        RequestError: the token is missing or wrong; not_found if there is none, and the request
            is not of this machine.
    """
    _admit(request, token)
    measured = await _measure_store(store) | await _measure_deletions(control, clock)
    return Response(metrics.render(measured), media_type=CONTENT_TYPE_LATEST)


def _admit(request: Request, token: str | None) -> None:
    if token is not None:
        given = read_bearer(request.headers.get("authorization"))
        if not compare_digest(given.encode(), token.encode()):
            raise RequestError(ErrorCode.INVALID_API_KEY)
        return
    # A reverse proxy on this machine passes on what others ask.
    is_passed_on = not _PROXY_HEADERS.isdisjoint(request.headers)
    if is_passed_on or not request.client or not ip_address(request.client.host).is_loopback:
        raise RequestError(ErrorCode.NOT_FOUND)


async def _measure_store(store: Store) -> dict[str, float]:
    try:
        return {"store_up": 1, **await store.measure()}
    except StoreError:
        return {"store_up": 0}


async def _measure_deletions(control: Control, clock: Callable[[], datetime]) -> dict[str, float]:
    try:
        pending, oldest = await asyncio.to_thread(control.deletions.count_pending)
    except StoreError:
        return {}
    age = clock() - oldest if oldest else timedelta()
    return {"deletions_pending": pending, "deletions_oldest_seconds": age.total_seconds()}
