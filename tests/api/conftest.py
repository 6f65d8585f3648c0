"""The real API in this process: real engine, real SQLite, a clock that tests move.

One engine serves the whole run (a process has one), each test has another database.
"""

import secrets
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from starlette.applications import Starlette

from millimetric_mcp.api.app import Backends, build_app
from millimetric_mcp.api.control import Control, Secrets, open_control
from millimetric_mcp.api.store import (
    EventStore,
    Store,
    StoredName,
    StoreTarget,
    embedded_target,
    open_event_store,
)
from millimetric_mcp.api.store.clients import ClientPool
from millimetric_mcp.api.store.deletions import Cutoffs
from millimetric_mcp.api.store.relations import to_ms
from millimetric_mcp.contract.columns import StoredEvent
from millimetric_mcp.contract.keys import KeyEnv, KeyKind
from millimetric_mcp.contract.reads import WindowParams
from millimetric_mcp.settings import ApiSettings

NOW = datetime(2026, 5, 16, 19, 30, tzinfo=UTC)
WINDOW = {"from": "2026-05-01T00:00:00Z", "to": "2026-06-01T00:00:00Z"}
SHOP_ORIGIN = "https://shop.example"
PEPPER = b"a pepper for tests only"
IP_SALT = b"a salt for tests only"


RunApi = Callable[[Store], AbstractAsyncContextManager["Api"]]


@dataclass
class Clock:
    """A UTC clock and a monotonic one that the test moves."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def ns(self) -> int:
        return int(self.now.timestamp() * 1_000_000_000)

    def advance(self, **amount: float) -> None:
        self.now += timedelta(**amount)


@dataclass(repr=False)
class Api:
    """A running API with the keys of its project ``default``, and calls of its endpoints."""

    app: Starlette
    http: httpx.AsyncClient
    control: Control
    store: EventStore
    clock: Clock
    log: list[str] = field(default_factory=list)
    keys: Mapping[KeyKind, str] = field(default_factory=dict)

    def make_key(self, kind: KeyKind, *, project: str = "default", **options: Any) -> str:
        options.setdefault("env", KeyEnv.LIVE)
        if kind is KeyKind.PK:
            options.setdefault("origins", [SHOP_ORIGIN])
        return self.control.create_key(kind=kind, project=project, **options).key.reveal()

    async def post(self, path: str, body: Any, *, key: str | None = None) -> httpx.Response:
        return await self.http.post(path, json=body, headers=bearer(key or self.keys[KeyKind.SK]))

    async def get(
        self, path: str, params: Mapping[str, Any] | None = None, *, key: str | None = None
    ) -> httpx.Response:
        asked = WINDOW | dict(params or {})
        return await self.http.get(path, params=asked, headers=bearer(key or self.keys[KeyKind.RK]))

    async def rows(self, path: str, params: Mapping[str, Any] | None = None) -> list[Any]:
        answer = await self.get(path, params)
        assert answer.status_code == 200, answer.text
        return answer.json()["rows"]


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="session")
def engine_target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreTarget]:
    """The engine of this run, kept alive by a separate handle."""
    directory: Path = tmp_path_factory.mktemp("engine")
    target = replace(embedded_target(directory / "store"), fsync=False)
    pool = ClientPool(target)
    pool.run(lambda client: client.command("SELECT 1"))
    yield target
    pool.close()


@pytest.fixture
def store_target(engine_target: StoreTarget) -> Iterator[StoreTarget]:
    """A database of the test's own in the shared engine."""
    with _name_database(engine_target) as target:
        yield target


@contextmanager
def _name_database(engine_target: StoreTarget) -> Iterator[StoreTarget]:
    target = replace(engine_target, database=f"test_{secrets.token_hex(6)}")
    yield target
    pool = ClientPool(engine_target)
    pool.run(lambda client: client.command(f"DROP DATABASE IF EXISTS {target.database} SYNC"))
    pool.close()


@pytest.fixture
def api_settings() -> ApiSettings:
    """The API's settings; a test module may have its own."""
    return ApiSettings(rate_limits=None)


@pytest.fixture
async def api(
    store_target: StoreTarget, control_dsn: str, api_settings: ApiSettings
) -> AsyncIterator[Api]:
    """A running API without rate limits."""
    async with _run_on_engine(store_target, control_dsn, api_settings) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_api(
    engine_target: StoreTarget, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    """The same for all tests of a module that only read; they need `loop_scope="module"`."""
    settings = ApiSettings(rate_limits=None)
    control_dsn = f"sqlite:///{tmp_path_factory.mktemp('control')}/control.sqlite3"
    with _name_database(engine_target) as target:
        async with _run_on_engine(target, control_dsn, settings) as running:
            yield running


def _run_on_engine(
    target: StoreTarget, control_dsn: str, settings: ApiSettings
) -> AbstractAsyncContextManager[Api]:
    store = open_event_store(target, max_queued_events=settings.max_queued_events)
    return _run_api(store, control_dsn, settings)


@dataclass
class StoreDouble:
    """A `Store` that is a list, finds nothing, or raises ``error`` at every call."""

    events: list[StoredEvent] = field(default_factory=list)
    error: Exception | None = None
    id: str = "double"
    is_alone: bool = True
    left_running: bool = False

    def __post_init__(self) -> None:
        self.checks = {"store": self.ping}

    def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def append(self, events: Sequence[StoredEvent]) -> None:
        await self.ping()
        self.events.extend(events)

    async def append_part(self, events: Sequence[StoredEvent], *, import_part: int) -> None:
        await self.append([event._replace(import_part=import_part) for event in events])

    async def count_imported(self, project_id: int, *, parts: tuple[int, int]) -> int:
        await self.ping()
        return sum(parts[0] <= event.import_part <= parts[1] for event in self.events)

    async def delete_imported(self, project_id: int, *, parts: tuple[int, int]) -> int:
        count = await self.count_imported(project_id, parts=parts)
        self.events = [
            event for event in self.events if not parts[0] <= event.import_part <= parts[1]
        ]
        return count

    async def flush(self) -> None:
        await self.ping()

    async def read(self, project_id: int, params: WindowParams) -> Mapping[str, Any]:
        await self.ping()
        return {"rows": []}

    async def list_names(
        self,
        project_id: int,
        *,
        except_events: Collection[str],
        source_rules: Collection[str],
        since: datetime,
        limit: int,
    ) -> Sequence[StoredName]:
        await self.ping()
        kinds: dict[tuple[str, str, str], set[str]] = {}
        for event in self.events:
            names = {("event names", event.event_name, ""), ("campaigns", event.campaign, "")}
            if event.source_rule_id in source_rules:
                names.add(("sources", event.source, event.medium))
            is_meant = event.project_id == project_id and event.timestamp_ms >= to_ms(since)
            for name in names if is_meant else ():
                kinds.setdefault(name, set()).add(event.key_kind)
        return [
            StoredName(*name, is_of_browsers=found == {KeyKind.PK})
            for name, found in kinds.items()
            if name[1] and name[1] not in except_events
        ][:limit]

    async def now(self) -> datetime:
        await self.ping()
        return NOW

    async def list_damage(self) -> Sequence[str]:
        return []

    async def ping(self) -> None:
        if self.error is not None:
            raise self.error

    def observe_groups(self, observe) -> None:
        """Its writes are in no groups."""

    async def measure(self) -> Mapping[str, float]:
        await self.ping()
        return {}

    async def delete_people(
        self, *, salt: bytes, users: Cutoffs, visitors: Cutoffs
    ) -> Mapping[int, int]:
        await self.ping()
        return {}

    async def find_own_visitors(
        self, project_id: int, *, salt: bytes, user_hash: bytes, cutoff: datetime
    ) -> Sequence[bytes]:
        await self.ping()
        return []

    async def count_project(self, project_id: int) -> int:
        await self.ping()
        return len(self.events)

    async def delete_project(self, project_id: int) -> int:
        await self.ping()
        return 0

    async def expire(self, project_id: int, *, first_day: date) -> int:
        await self.ping()
        return 0


@pytest.fixture
def run_api(control_dsn: str, api_settings: ApiSettings) -> RunApi:
    """Runs an API over a store, to the end of a block, beside others on the control database."""
    return lambda store: _run_api(store, control_dsn, api_settings)


@pytest.fixture
async def quick_api(control_dsn: str, api_settings: ApiSettings) -> AsyncIterator[Api]:
    """The API over a `StoreDouble`: for what is decided before the store, or by its errors."""
    async with _run_api(StoreDouble(), control_dsn, api_settings) as running:
        yield running


@asynccontextmanager
async def _run_api(store: Store, control_dsn: str, settings: ApiSettings) -> AsyncIterator[Api]:
    clock = Clock()
    control = open_control(control_dsn, pepper=PEPPER, ip_salt=IP_SALT)
    log: list[str] = []
    app = build_app(
        settings,
        Backends(control, store, Secrets(PEPPER, IP_SALT)),
        country_of=lambda ip: {"81.2.69.160": "GB"}.get(ip, ""),
        clock=clock,
        clock_ns=clock.ns,
        write_log=log.append,
    )
    transport = httpx.ASGITransport(app, client=("81.2.69.160", 40_000))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://api.test") as http,
    ):
        running = Api(app, http, control, store, clock, log)
        running.keys = {kind: running.make_key(kind) for kind in KeyKind}
        yield running
