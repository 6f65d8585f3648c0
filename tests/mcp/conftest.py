"""An API that never leaves the process, and MCP clients connected to the server in front of it."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client

from millimetric_mcp.client.client import MillimetricClient, RetryTiming
from millimetric_mcp.contract.columns import SHOWN_COLUMNS
from millimetric_mcp.contract.extensions import list_extensions
from millimetric_mcp.contract.filters import take_filters
from millimetric_mcp.contract.reads import (
    Bots,
    FunnelParams,
    QueryParams,
    RetentionParams,
    SchemaParams,
    SourcesParams,
    StatsParams,
    WindowParams,
)
from millimetric_mcp.contract.validation import list_names
from millimetric_mcp.mcp.server import Caller, build_server
from millimetric_mcp.settings import AnswerSettings

WRITE_KEY = "sk_test_WRITEKEY_" + "w" * 32
READ_KEY = "rk_test_READKEY0_" + "r" * 32
NOW = datetime(2026, 5, 17, 12, 0, tzinfo=UTC)

EVENT_ROW = {column.name: column.example for column in SHOWN_COLUMNS} | {
    "event_id": "evt_1",
    "anonymous_id": "anon_1",
    "campaign": None,
    "source_rule_id": "fbclid_utm",
    "url": "https://shop.example/?fbclid=x",
    "country": "DE",
    "device_type": "mobile",
    "browser": "safari",
    "os": "ios",
}


@dataclass
class Source:
    """A row of ``GET /v1/sources``."""

    source: str
    medium: str
    events: int
    uniques: int = 1

    def row(self) -> dict[str, Any]:
        share = 1.0 if self.medium == "paid" else 0.0
        return {
            "source": self.source,
            "medium": self.medium,
            "events": self.events,
            "uniques": self.uniques,
            "paid_share": share,
        }


Answer = Callable[[httpx.Request], httpx.Response]


def respond(body: object, status: int = 200, headers: dict[str, str] | None = None):
    """A response that is read as from a network."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.Response(
        status,
        headers={"content-type": "application/json", **(headers or {})},
        stream=httpx.ByteStream(data),
    )


@dataclass
class FakeApi:
    """Answers every endpoint of the contract; ``rules`` says otherwise, by path."""

    sources: list[Source] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    stats: Callable[[dict[str, str]], list[dict[str, Any]]] = lambda _params: []
    rules: dict[str, Answer] = field(default_factory=dict)
    requests: list[httpx.Request] = field(default_factory=list)
    is_hosted: bool = False
    """Whether it ignores the parameters beyond the hosted API's, as that does."""
    bots: int = 0
    """The events of automated clients that every question leaves out."""
    no_touch_share: float = 0.0
    """The share without a touch, in answers by touch."""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        path = request.url.path
        return (self.rules.get(path) or getattr(self, path.rpartition("/")[2] + "_"))(request)

    def track_(self, request: httpx.Request) -> httpx.Response:
        return respond({"ok": True, "event_id": json.loads(request.content).get("event_id")}, 202)

    def batch_(self, request: httpx.Request) -> httpx.Response:
        return respond({"ok": True, "count": len(json.loads(request.content)["events"])}, 202)

    def identify_(self, _request: httpx.Request) -> httpx.Response:
        return respond({"ok": True})

    def forget_(self, _request: httpx.Request) -> httpx.Response:
        return respond({"ok": True, "queued": True})

    def sources_(self, request: httpx.Request) -> httpx.Response:
        params = dict(request.url.params)
        rows = [source.row() for source in self.sources]
        if params["breakdown"] == "source":
            rows = self._by_source()
        rows.sort(key=lambda row: -row["events"])
        body = {"breakdown": params["breakdown"], "rows": rows[: int(params["limit"])]}
        return self.respond(SourcesParams, request, body)

    def funnel_(self, request: httpx.Request) -> httpx.Response:
        asked = FunnelParams.model_validate(dict(request.url.params))
        rows = [
            {
                "step": number,
                "event": step.event,
                "people": 2,
                "from_first": 1.0,
                "from_previous": None if number == 1 else 1.0,
                "median_s": None if number == 1 else 60.0,
            }
            for number, step in enumerate(asked.steps, 1)
        ]
        return self.respond(FunnelParams, request, {"within": asked.within, "rows": rows})

    def retention_(self, request: httpx.Request) -> httpx.Response:
        asked = RetentionParams.model_validate(dict(request.url.params))
        cohort = {
            "cohort": "2026-05-11T00:00:00.000Z",
            "people": 2,
            "returned": [2, 1],
            "is_running": True,
        }
        repeated = {"event": asked.event, "return": asked.return_, "interval": asked.interval}
        return self.respond(RetentionParams, request, {**repeated, "rows": [cohort]})

    def schema_(self, request: httpx.Request) -> httpx.Response:
        name = {
            "event_name": "signup",
            "events": 2,
            "first_seen": "2026-05-11T00:00:00.000Z",
            "last_seen": "2026-05-12T00:00:00.000Z",
            "properties": [
                {"key": "plan", "types": ["string"], "share": 1.0, "top_values": ["free"]}
            ],
        }
        described = {"columns": ["timestamp"], "sampled_events": 1000, "rows": [name]}
        return self.respond(SchemaParams, request, described)

    def respond(
        self, model: type[WindowParams], request: httpx.Request, body: dict[str, Any]
    ) -> httpx.Response:
        """The body with what the API adds to answers that use its extensions."""
        own = list_names(model)
        pairs = request.url.params.multi_items()
        filters = take_filters(pair for pair in pairs if pair[0] not in own)
        rest = {name: value for name, value in pairs if name not in filters}
        asked = model.model_validate({**rest, "filters": filters} if filters else rest)
        applied = None if self.is_hosted else list_extensions(asked)
        left_out = applied and asked.bots is Bots.EXCLUDE
        by_touch = applied and "attribution" in applied
        return respond(
            {
                **({} if applied is None else {"applied": applied}),
                **({"bots_left_out": self.bots} if left_out else {}),
                **({"no_touch_share": self.no_touch_share} if by_touch else {}),
                **body,
            }
        )

    def _by_source(self) -> list[dict[str, Any]]:
        rows = []
        for name in dict.fromkeys(source.source for source in self.sources):
            parts = [source for source in self.sources if source.source == name]
            events = sum(part.events for part in parts)
            paid = sum(part.events for part in parts if part.medium == "paid")
            uniques = sum(part.uniques for part in parts)
            rows.append(
                {"source": name, "events": events, "uniques": uniques, "paid_share": paid / events}
            )
        return rows

    def stats_(self, request: httpx.Request) -> httpx.Response:
        params = dict(request.url.params)
        rows = self.stats(params)[: int(params["limit"])]
        return self.respond(StatsParams, request, {"metric": params["metric"], "rows": rows})

    def query_(self, request: httpx.Request) -> httpx.Response:
        params = dict(request.url.params)
        wanted = {"event_name": params.get("event")} | {
            name: params.get(name)
            for name in ("source", "medium", "country", "user_id", "anonymous_id")
        }
        rows = [
            event
            for event in self.events
            if params["from"] <= event["timestamp"] < params["to"]
            and all(value is None or event[name] == value for name, value in wanted.items())
        ]
        return self.respond(QueryParams, request, {"rows": rows[: int(params["limit"])]})

    def asked(self, path: str) -> list[dict[str, str]]:
        """The query parameters of every request for ``path``."""
        return [dict(request.url.params) for request in self.requests if request.url.path == path]

    def sent(self, path: str) -> list[Any]:
        """The bodies of every request for ``path``."""
        return [
            json.loads(request.content) for request in self.requests if request.url.path == path
        ]


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def source() -> type[Source]:
    return Source


@pytest.fixture
def answer():
    """Makes a response of the fake API."""
    return respond


@pytest.fixture
def event_row():
    """Makes an event row with some columns changed."""
    return lambda **columns: EVENT_ROW | columns


@pytest.fixture
def connect(api):
    """Connects a client to a server in front of ``api``; the clock stands still at NOW."""

    @asynccontextmanager
    async def open_client(
        *,
        write_key: str | None = WRITE_KEY,
        read_key: str | None = READ_KEY,
        mode: str = "auto",
        elicitation=None,
        extensions=None,
        transport=None,
        timeout_s: float = 30.0,
        **options: Any,
    ) -> AsyncIterator[Client]:
        waits: list[float] = []

        async def sleep(seconds: float) -> None:
            waits.append(seconds)

        numbers = count(1)
        async with MillimetricClient(
            api_url="http://api.test",
            write_key=write_key,
            read_key=read_key,
            timeout_s=timeout_s,
            transport=transport or httpx.MockTransport(api),
            timing=RetryTiming(sleep=sleep),
        ) as client:
            server = build_server(
                find_caller=lambda _: Caller(client),
                settings=AnswerSettings(**options),
                now=lambda: NOW,
                new_id=lambda: f"id-{next(numbers)}",
                sleep=sleep,
            )
            async with Client(
                server, mode=mode, elicitation_callback=elicitation, extensions=extensions
            ) as connected:
                connected.waits = waits
                yield connected

    return open_client


@pytest.fixture
def call(connect):
    """Calls one tool of a fresh server: its text, its structured content and whether it failed."""

    async def call_once(name: str, arguments: dict[str, Any], **options: Any):
        async with connect(**options) as client:
            result = await client.call_tool(name, arguments)
        assert len(result.content) == 1
        return Outcome(result.content[0].text, result.structured_content, result.is_error)

    return call_once


@dataclass(frozen=True)
class Outcome:
    text: str
    data: Any
    is_error: bool

    @property
    def lines(self) -> list[str]:
        return self.text.split("\n")

    @property
    def notes(self) -> list[str]:
        """The notes, but for the one about automated clients."""
        return [note for note in self.data["notes"] if "automated clients" not in note]


def fill_in(schema: dict[str, Any]) -> Any:
    """The least value that a schema allows."""
    match schema["type"]:
        case "object":
            required = schema.get("required", [])
            return {name: fill_in(schema["properties"][name]) for name in required}
        case "array":
            return [fill_in(schema["items"])]
    return "a"


@pytest.fixture(scope="session")
def minimal():
    """Makes the least arguments of a tool."""
    # Its schema can't say that it takes one of two ids.
    steps = [{"event": "a"}, {"event": "b"}]
    more = {"forget": {"user_id": "a", "confirm": True}, "funnel": {"steps": steps}}
    return lambda tool: fill_in(tool.input_schema) | more.get(tool.name, {})


@pytest.fixture(scope="session")
def snapshots() -> Path:
    return Path(__file__).parents[1] / "snapshots"
