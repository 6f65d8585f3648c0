"""What is written is what is read, however many events travel together."""

import asyncio
from typing import get_type_hints
from uuid import uuid4

import pytest

from millimetric_mcp.api.store.commit import MAX_GROUP_EVENTS
from millimetric_mcp.contract.columns import StoredEvent

NASTY = (
    "tab\t line\nbreak \\N \\ \"double\" 'single' null true {x} \x01\x7f é 😀 \u2028 FORMAT JSON"
    "  two   three    four \\  "
)
COUNTS = pytest.mark.parametrize("count", [1, 1000])


def make_event(**values: object) -> StoredEvent:
    texts = dict.fromkeys(StoredEvent._fields, "")
    given = {
        "project_id": 7,
        "timestamp_ms": 1_779_000_000_001,
        "ip_hash": bytes(16),
        "is_bot": 0,
        "import_part": 0,
    }
    return StoredEvent(**{**texts, "anonymous_id": str(uuid4()), **given, **values})


async def read_back(api, column: str) -> set[object]:
    statement = f"SELECT DISTINCT {column} FROM events"
    await api.store.flush()
    pool = api.store.pool
    found = await asyncio.to_thread(pool.run, lambda client: client.query(statement).result_rows)
    return {row[0] for row in found}


@COUNTS
async def test_every_text_comes_back_as_it_was_sent(api, count):
    names = [name for name, kind in get_type_hints(StoredEvent).items() if kind is str]
    sent = make_event(**{name: f"{name} {NASTY}" for name in names})

    await api.store.append([sent] * count)

    for name in names:
        assert await read_back(api, name) == {getattr(sent, name)}, name
    assert await read_back(api, f"count() OVER () = {count}") == {True}


@COUNTS
@pytest.mark.parametrize("timestamp_ms", [0, 1, 99_999_999, 1_779_000_000_001, 4_102_444_799_999])
async def test_a_time_comes_back_to_the_millisecond(api, count, timestamp_ms):
    await api.store.append([make_event(timestamp_ms=timestamp_ms)] * count)

    assert await read_back(api, "toUnixTimestamp64Milli(timestamp)") == {timestamp_ms}


@COUNTS
async def test_numbers_come_back_exactly(api, count):
    ip_hash = bytes(range(0xF0, 0x100))

    await api.store.append([make_event(project_id=2**64 - 1, ip_hash=ip_hash)] * count)

    assert await read_back(api, "project_id") == {2**64 - 1}
    assert await read_back(api, "hex(ip_hash)") == {ip_hash.hex().upper()}


async def test_one_event_may_be_as_large_as_a_body(api):
    sent = make_event(properties='{"a":"' + "x" * 9_000_000 + '"}')

    await api.store.append([sent])

    assert await read_back(api, "length(properties)") == {len(sent.properties)}


async def test_the_largest_group_is_stored_as_one_part(api):
    sent = make_event(properties='{"a":"' + "x" * 14_000 + '"}')

    await api.store.append([sent] * MAX_GROUP_EVENTS)

    assert await read_back(api, "uniqExact(_part) OVER ()") == {1}
