"""Every endpoint of the API: method, path, who may call it, what goes in and comes out."""

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel

from millimetric_mcp.contract.events import (
    BatchRequest,
    BatchResult,
    ForgetRequest,
    ForgetResult,
    IdentifyRequest,
    IdentifyResult,
    TrackEvent,
    TrackResult,
)
from millimetric_mcp.contract.keys import Scope
from millimetric_mcp.contract.reads import (
    QueryParams,
    QueryResult,
    SourcesParams,
    SourcesResult,
    StatsParams,
    StatsResult,
)

RequestT = TypeVar("RequestT", bound=BaseModel)
ResultT = TypeVar("ResultT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Endpoint(Generic[RequestT, ResultT]):
    """One endpoint: ``request`` is its JSON body (POST) or its query parameters (GET)."""

    method: Literal["GET", "POST"]
    path: str
    scope: Scope
    request: type[RequestT]
    result: type[ResultT]
    status: int
    summary: str


TRACK = Endpoint(
    "POST", "/v1/track", Scope.INGEST, TrackEvent, TrackResult, 202, "Store one event."
)
BATCH = Endpoint(
    "POST",
    "/v1/batch",
    Scope.INGEST,
    BatchRequest,
    BatchResult,
    202,
    "Store 1 to 1000 events, all or none.",
)
IDENTIFY = Endpoint(
    "POST",
    "/v1/identify",
    Scope.INGEST,
    IdentifyRequest,
    IdentifyResult,
    200,
    "Tie a visitor to a known person.",
)
FORGET = Endpoint(
    "POST",
    "/v1/forget",
    Scope.FORGET,
    ForgetRequest,
    ForgetResult,
    200,
    "Erase every event of a user.",
)
SOURCES = Endpoint(
    "GET",
    "/v1/sources",
    Scope.READ,
    SourcesParams,
    SourcesResult,
    200,
    "Events and visitors by source, with the paid share.",
)
STATS = Endpoint(
    "GET",
    "/v1/stats",
    Scope.READ,
    StatsParams,
    StatsResult,
    200,
    "Events or unique visitors by columns and buckets of time.",
)
QUERY = Endpoint(
    "GET", "/v1/query", Scope.READ, QueryParams, QueryResult, 200, "Raw events, newest first."
)

HEALTH_PATH = "/health"
OPENAPI_PATH = "/openapi.json"

ENDPOINTS = (TRACK, BATCH, IDENTIFY, FORGET, SOURCES, STATS, QUERY)
