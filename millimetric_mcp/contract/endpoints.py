"""Every endpoint of the API: who may call it, what goes in, what comes out, what can fail."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel

from millimetric_mcp.contract import events, imports, links, reads
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.columns import SHOWN_COLUMNS
from millimetric_mcp.contract.keys import Scope

RequestT = TypeVar("RequestT", bound=BaseModel)
ResultT = TypeVar("ResultT", bound=BaseModel)
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Endpoint(Generic[RequestT, ResultT]):
    """One endpoint: ``request`` is its JSON body (POST) or its query parameters (GET).

    ``errors`` are the codes it can answer with. It is ``always_certain`` if it never answers 502:
    what it was asked to do is done, or is certainly not. The examples belong together.
    """

    method: Literal["GET", "POST"]
    path: str
    scope: Scope
    request: type[RequestT]
    result: type[ResultT]
    status: int = 200
    summary: str
    errors: tuple[ErrorCode, ...]
    always_certain: bool = False
    request_example: Json
    response_example: Json


_ANY_ERRORS = (
    ErrorCode.MISSING_BEARER_TOKEN,
    ErrorCode.MALFORMED_API_KEY,
    ErrorCode.INVALID_API_KEY,
    ErrorCode.KEY_KIND_MISMATCH,
    ErrorCode.INSUFFICIENT_SCOPE,
    ErrorCode.INTERNAL_ERROR,
    ErrorCode.UPSTREAM_FAILED,
)
_WRITE_ERRORS = (
    *_ANY_ERRORS,
    ErrorCode.INVALID_PAYLOAD,
    ErrorCode.PAYLOAD_TOO_LARGE,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE,
)
_BROWSER_ERRORS = (
    ErrorCode.ORIGIN_NOT_ALLOWED,
    ErrorCode.RATE_LIMITED,
    ErrorCode.DAILY_LIMIT_REACHED,
    ErrorCode.TOO_MANY_NAMES,
)
_READ_ERRORS = (*_ANY_ERRORS, ErrorCode.INVALID_PARAMS, ErrorCode.QUERY_TOO_LARGE)

_EVENT_ROW = {column.name: column.example for column in SHOWN_COLUMNS}
_EVENT = {
    "event": "signup",
    "event_id": "evt_abc123",
    "timestamp": "2026-05-16T19:00:00.000Z",
    "anonymous_id": "u_abc",
    "user_id": "user_42",
    "session_id": "sess_xyz",
    "url": _EVENT_ROW["url"],
    "path": "/",
    "referrer": "https://l.facebook.com/",
    "properties": {"plan": "free"},
}
_WINDOW = {"from": "2026-05-01T00:00:00Z", "to": "2026-06-01T00:00:00Z"}
_GROUP = {"source": "facebook", "medium": "paid"}

TRACK = Endpoint(
    method="POST",
    path="/v1/track",
    scope=Scope.INGEST,
    request=events.TrackEvent,
    result=events.TrackResult,
    status=202,
    summary="Store one event.",
    errors=(*_WRITE_ERRORS, *_BROWSER_ERRORS),
    request_example=_EVENT,
    response_example={"ok": True, "event_id": "evt_abc123"},
)
BATCH = Endpoint(
    method="POST",
    path="/v1/batch",
    scope=Scope.INGEST,
    request=events.BatchRequest,
    result=events.BatchResult,
    status=202,
    summary="Store 1 to 1000 events, all or none.",
    errors=(*_WRITE_ERRORS, *_BROWSER_ERRORS),
    request_example={"events": [_EVENT, {"event": "$pageview", "anonymous_id": "u_def"}]},
    response_example={"ok": True, "count": 2},
)
IDENTIFY = Endpoint(
    method="POST",
    path="/v1/identify",
    scope=Scope.INGEST,
    request=events.IdentifyRequest,
    result=events.IdentifyResult,
    summary="Tie a visitor to a known person.",
    errors=(*_WRITE_ERRORS, *_BROWSER_ERRORS),
    request_example={"anonymous_id": "u_abc", "user_id": "user_42", "traits": {"plan": "pro"}},
    response_example={"ok": True},
)
FORGET = Endpoint(
    method="POST",
    path="/v1/forget",
    scope=Scope.FORGET,
    request=events.ForgetRequest,
    result=events.ForgetResult,
    summary="Delete every event of a user or a visitor.",
    errors=(*_WRITE_ERRORS, ErrorCode.FORGET_REQUIRES_SECRET_KEY, ErrorCode.FORGET_FAILED),
    always_certain=True,
    request_example={"user_id": "user_43", "linked": True},
    response_example={"ok": True, "queued": True, "applied": {"linked": True}},
)
IMPORT = Endpoint(
    method="POST",
    path="/v1/import",
    scope=Scope.IMPORT,
    request=imports.ImportRequest,
    result=imports.ImportResult,
    summary="Store one part of an import: 1 to 5000 past events, once however often it is sent.",
    errors=(*_WRITE_ERRORS, ErrorCode.IMPORT_BUSY),
    request_example={
        "import_id": "access-log-2026-05",
        "chunk": 0,
        "events": [
            {
                "event": "$pageview",
                "timestamp": "2026-05-16T19:00:00.000Z",
                "url": _EVENT_ROW["url"],
                "referrer": "https://l.facebook.com/",
                "ip": "203.0.113.7",
                "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 "
                "Firefox/140.0",
            }
        ],
    },
    response_example={"ok": True, "count": 1, "duplicate": False},
)
IMPORT_UNDO = Endpoint(
    method="POST",
    path="/v1/import/undo",
    scope=Scope.IMPORT,
    request=imports.ImportUndoRequest,
    result=imports.ImportUndoResult,
    summary="Delete every event of an import.",
    errors=(*_WRITE_ERRORS, ErrorCode.IMPORT_BUSY),
    request_example={"import_id": "access-log-2026-04"},
    response_example={"ok": True, "deleted": 0},
)
IMPORT_LIST = Endpoint(
    method="POST",
    path="/v1/import/list",
    scope=Scope.IMPORT,
    request=imports.ImportListRequest,
    result=imports.ImportListResult,
    summary="List the project's imports.",
    errors=_WRITE_ERRORS,
    request_example={},
    response_example={"ok": True, "imports": []},
)
SOURCES = Endpoint(
    method="GET",
    path="/v1/sources",
    scope=Scope.READ,
    request=reads.SourcesParams,
    result=reads.SourcesResult,
    summary="Events and visitors by source, with the paid share.",
    errors=_READ_ERRORS,
    request_example={**_WINDOW, "breakdown": "source_medium", "limit": 50},
    response_example={
        "breakdown": "source_medium",
        "rows": [{**_GROUP, "events": 12, "uniques": 9, "paid_share": 1.0}],
    },
)
STATS = Endpoint(
    method="GET",
    path="/v1/stats",
    scope=Scope.READ,
    request=reads.StatsParams,
    result=reads.StatsResult,
    summary="Events or unique visitors by columns and buckets of time.",
    errors=(*_READ_ERRORS, ErrorCode.INVALID_GROUP_BY),
    request_example={
        **_WINDOW,
        "metric": "count",
        "group_by": "source,medium",
        "interval": "day",
        "event": "signup",
        "limit": 100,
    },
    response_example={
        "metric": "count",
        "rows": [{"bucket": "2026-05-16T00:00:00.000Z", **_GROUP, "value": 12}],
    },
)
QUERY = Endpoint(
    method="GET",
    path="/v1/query",
    scope=Scope.READ,
    request=reads.QueryParams,
    result=reads.QueryResult,
    summary="Raw events, newest first.",
    errors=_READ_ERRORS,
    request_example={
        **_WINDOW,
        "event": "signup",
        **_GROUP,
        "country": "DE",
        "user_id": "user_42",
        "anonymous_id": "u_abc",
        "limit": 100,
    },
    response_example={"rows": [_EVENT_ROW]},
)

FUNNEL = Endpoint(
    method="GET",
    path="/v1/funnel",
    scope=Scope.READ,
    request=reads.FunnelParams,
    result=reads.FunnelResult,
    summary="How many people took the steps, in their order.",
    errors=(*_READ_ERRORS, ErrorCode.INVALID_GROUP_BY),
    request_example={
        **_WINDOW,
        "steps": '[{"event":"signup"},{"event":"purchase","properties.plan":"pro"}]',
        "within": "7d",
        "group_by": "source",
        "attribution": "last_touch",
        "lookback_days": 30,
        "bots": "exclude",
        "limit": 50,
    },
    response_example={
        "applied": {"within": "7d"},
        "within": "7d",
        "no_touch_share": 0.25,
        "rows": [
            {
                "group": "facebook",
                "step": 1,
                "event": "signup",
                "people": 12,
                "from_first": 1.0,
                "from_previous": None,
                "median_s": None,
            }
        ],
    },
)
RETENTION = Endpoint(
    method="GET",
    path="/v1/retention",
    scope=Scope.READ,
    request=reads.RetentionParams,
    result=reads.RetentionResult,
    summary="How many people came back, by when they came first.",
    errors=_READ_ERRORS,
    request_example={
        **_WINDOW,
        "event": "signup",
        "return": "$pageview",
        "interval": "week",
        "timezone": "Europe/Berlin",
        "bots": "exclude",
    },
    response_example={
        "applied": {},
        "event": "signup",
        "return": "$pageview",
        "interval": "week",
        "rows": [
            {
                "cohort": "2026-05-11T00:00:00.000+02:00",
                "people": 12,
                "returned": [12, 5, 2],
                "is_running": False,
            }
        ],
    },
)
SCHEMA = Endpoint(
    method="GET",
    path="/v1/schema",
    scope=Scope.READ,
    request=reads.SchemaParams,
    result=reads.SchemaResult,
    summary="Names of events, their properties, and the columns in use.",
    errors=_READ_ERRORS,
    request_example={**_WINDOW, "bots": "exclude"},
    response_example={
        "applied": {},
        "columns": ["timestamp", "event_name"],
        "sampled_events": 1000,
        "rows": [
            {
                "event_name": "signup",
                "events": 12,
                "first_seen": "2026-05-02T09:00:00.000Z",
                "last_seen": "2026-05-31T18:00:00.000Z",
                "properties": [
                    {"key": "plan", "types": ["string"], "share": 1.0, "top_values": ["free"]}
                ],
            }
        ],
    },
)

LINK = Endpoint(
    method="POST",
    path="/page/link",
    scope=Scope.READ,
    request=links.LinkRequest,
    result=links.LinkResult,
    summary="Create a one-time link to the page.",
    errors=_WRITE_ERRORS,
    request_example={},
    response_example={"ok": True, "code": "…", "expires_in_s": 60},
)
"""Between this package's command and page: not one of `ENDPOINTS`, which anyone may call."""

HEALTH_PATH = "/health"
READINESS_PATH = "/health/ready"
OPENAPI_PATH = "/openapi.json"
METRICS_PATH = "/metrics"
SCRIPT_PATH = "/v1/a.js"
PAGE_PATH = "/"
PAGE_FILES_PATH = "/page/"
SIGN_IN_PATH = "/page/sign-in"
"""Takes the code of a link as bearer token."""
PAGE_FILES = (
    "page.css",
    "page.js",
    "panels.js",
    "questions.js",
    "elements.js",
    "chart.js",
    "times.js",
)
"""What the page at `PAGE_PATH` loads from `PAGE_FILES_PATH`."""

ENDPOINTS = (
    TRACK,
    BATCH,
    IDENTIFY,
    FORGET,
    IMPORT,
    IMPORT_UNDO,
    IMPORT_LIST,
    SOURCES,
    STATS,
    QUERY,
    FUNNEL,
    RETENTION,
    SCHEMA,
)
