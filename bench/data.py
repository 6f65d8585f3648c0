"""Generated data, as requests and as loaded stores: the same on every machine, every time."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import blake2b, sha256
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from bench.http_load import encode_request
from millimetric_mcp.api.control.datadir import STORE_DIR
from millimetric_mcp.api.store import ClientPool, embedded_target, migrate
from millimetric_mcp.api.store.commit import MAX_GROUP_EVENTS
from millimetric_mcp.api.store.inserts import insert_events
from millimetric_mcp.contract.columns import StoredEvent
from millimetric_mcp.contract.endpoints import BATCH, TRACK, Endpoint
from millimetric_mcp.contract.events import MAX_BATCH_EVENTS
from millimetric_mcp.demo.batches import cut_batches, write_event
from millimetric_mcp.demo.generator import GeneratedEvent, generate

SEED = 20
END = datetime(2026, 1, 31, 11, tzinfo=UTC)
DAYS = 30
RETURNING_SHARE = 0.785
"""Of the visits in a loaded store: ten million events of a month have a million visitors."""
DAY_MS = 86_400_000
UNALIGNED = timedelta(minutes=30)
WINDOW = (END - timedelta(days=DAYS) - UNALIGNED, END - UNALIGNED)
"""30 days that begin and end within a day, nearly all events in them."""

QUIET_TIMEOUT_S = 120.0
QUIET_STEP_S = 0.3
QUIET_POLLS = 4

_MERGES = "SELECT (SELECT count() FROM system.merges)"
_OUTDATED_PARTS = "(SELECT count() FROM system.parts WHERE table = 'events' AND NOT active)"
_LEFT_OVER_EVENTS = 15_000
"""More than are still waiting for a full batch when enough batches are full."""
_MARKER = "loaded.json"


def make_events(count: int, *, days: int = DAYS) -> Iterator[GeneratedEvent]:
    """Exactly ``count`` events of the days before `END`, oldest first."""
    return generate(seed=SEED, end=END, events=count, days=days)


def make_stored(count: int, *, project_id: int, days: int = DAYS) -> Iterator[StoredEvent]:
    """The same events as the store keeps them."""
    events = generate(seed=SEED, end=END, events=count, days=days, returning_share=RETURNING_SHARE)
    return (store_event(event, project_id=project_id) for event in events)


def store_event(event: GeneratedEvent, *, project_id: int) -> StoredEvent:
    """Return the event as the API stores it when a visitor's browser sends it.

    The attribution is the generator's: no classifier runs.
    """
    source, medium, campaign, confidence, rule_id = event.attribution
    day = event.timestamp_ms // DAY_MS
    return StoredEvent(
        project_id=project_id,
        timestamp_ms=event.timestamp_ms,
        event_name=event.event,
        event_id=event.event_id or "",
        anonymous_id=event.anonymous_id or event.event_id or "",
        user_id=event.user_id or "",
        session_id="",
        source=source,
        medium=medium,
        campaign=campaign or "",
        source_confidence=confidence.value,
        source_rule_id=rule_id,
        referrer=event.referrer or "",
        url=event.url,
        path=urlsplit(event.url).path,
        country=event.country,
        device_type=event.device.device_type,
        browser=event.device.browser,
        os=event.device.os,
        properties=event.properties,
        ip_hash=blake2b(f"{day}{event.anonymous_id}".encode(), digest_size=16).digest(),
    )


@cache
def make_track_requests(count: int, key: str) -> tuple[bytes, ...]:
    """A day's events, one request each."""
    return tuple(
        _write_post(TRACK, write_event(event).encode(), key, event.device.user_agent)
        for event in make_events(count, days=1)
    )


@cache
def make_batch_requests(count: int, key: str) -> tuple[bytes, ...]:
    """Batches of as many events as one may hold."""
    events = make_events(count * MAX_BATCH_EVENTS + _LEFT_OVER_EVENTS, days=1)
    return tuple(
        _write_post(BATCH, batch.body, key, batch.device.user_agent)
        for batch in islice(cut_batches(events), count)
    )


def _write_post(endpoint: Endpoint[Any, Any], body: bytes, key: str, user_agent: str) -> bytes:
    headers = (("authorization", f"Bearer {key}"), ("user-agent", user_agent))
    return encode_request(endpoint.method, endpoint.path, headers=headers, body=body)


def make_read_request(path: str, key: str, **parameters: str | int) -> bytes:
    """A question over `WINDOW`."""
    headers = (("authorization", f"Bearer {key}"),)
    return encode_request("GET", f"{path}?{write_window(**parameters)}", headers=headers)


def write_window(**parameters: str | int) -> str:
    """A query string that asks about `WINDOW`."""
    start, end = (moment.isoformat().replace("+00:00", "Z") for moment in WINDOW)
    return urlencode({"from": start, "to": end, **parameters})


@dataclass(frozen=True, slots=True)
class Loading:
    """What a loaded data directory holds, and how long it took; as its marker says."""

    events: int
    project_id: int
    schema: str
    took_s: float


def find_loading(data_dir: Path, *, events: int) -> Loading | None:
    """The directory's marker, where it holds as many events in today's schema."""
    try:
        loading = Loading(**json.loads((data_dir / _MARKER).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    wanted = (events, fingerprint_schema())
    return loading if (loading.events, loading.schema) == wanted else None


def mark_loaded(data_dir: Path, loading: Loading) -> None:
    """Writes the marker: the directory is whole."""
    (data_dir / _MARKER).write_text(json.dumps(asdict(loading)), encoding="utf-8")


def fingerprint_schema() -> str:
    """Return a hash of the files that decide what a loaded store holds."""
    demo = resources.files("millimetric_mcp.demo")
    files = [
        *resources.files("millimetric_mcp.api.store").joinpath("sql", "migrations").iterdir(),
        *resources.files("millimetric_mcp.api.store").joinpath("sql", "embedded").iterdir(),
        resources.files("millimetric_mcp.api.store").joinpath("migrations.py"),
        *(demo / name for name in ("shop.py", "generator.py")),
        *(demo / "data").iterdir(),
        Path(__file__),
    ]
    texts = [file.read_bytes() for file in files if file.is_file()]
    return sha256(b"".join(sorted(texts))).hexdigest()[:16]


def load_store(data_dir: Path, *, events: int, project_id: int) -> None:
    """Fills the embedded store with generated events, in the API's largest inserts.

    Runs in a worker. While one insert is under way the next is generated.
    """
    directory = data_dir / STORE_DIR
    directory.mkdir(parents=True, exist_ok=True)
    pool = ClientPool(embedded_target(directory))
    migrate(pool)
    rows = make_stored(events, project_id=project_id)
    with ThreadPoolExecutor(1) as writer:
        running = writer.submit(lambda: None)
        while chunk := list(islice(rows, MAX_GROUP_EVENTS)):
            running.result()
            running = writer.submit(insert_events, pool, chunk)
        running.result()
    wait_for_quiet(pool, cleaned=True)
    pool.close()


def wait_for_quiet(pool: ClientPool, *, cleaned: bool = False) -> None:
    """Returns when the engine merges nothing, and with ``cleaned`` keeps no outdated files."""
    statement = f"{_MERGES} + {_OUTDATED_PARTS}" if cleaned else _MERGES
    deadline_s = time.monotonic() + QUIET_TIMEOUT_S
    quiet = 0
    while quiet < QUIET_POLLS and time.monotonic() < deadline_s:
        time.sleep(QUIET_STEP_S)
        busy = pool.run(lambda client: client.query(statement).result_rows[0][0])
        quiet = 0 if busy else quiet + 1
