"""The journal's files: what is read back after any end of the process, and what is refused."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from threading import Event, current_thread, main_thread
from uuid import uuid4
from zlib import crc32

import pytest

from millimetric_mcp.api.store import ClientPool, EventStore, embedded_target, open_event_store
from millimetric_mcp.api.store.directory import check_writable
from millimetric_mcp.api.store.handover import Handover
from millimetric_mcp.api.store.inserts import ROW_COLUMNS, Rows, encode_rows, insert_rows
from millimetric_mcp.api.store.journal import Journal, read_segment
from millimetric_mcp.api.store.migrations import migrate
from millimetric_mcp.api.store.segments import take_over
from millimetric_mcp.api.store.writers import JOURNAL_DIR, open_writer
from millimetric_mcp.contract.columns import StoredEvent
from millimetric_mcp.errors import StoreRefused, StoreUnavailable

TIMEOUT_S = 10
REQUESTS = [Rows(1, 1, b'["a"]'), Rows(2, 2, b'["\xc3\xa4"],["\\n"]'), Rows(3, 1, b'["c"]')]
FILL_UNTIL_REFUSED = """
import resource, sys
from pathlib import Path
from millimetric_mcp.api.store.inserts import Rows
from millimetric_mcp.api.store.journal import Journal
from millimetric_mcp.errors import StoreUnavailable

resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
journal = Journal(Path(sys.argv[1]), fsync=True)
acknowledged = 0
try:
    while True:
        journal.append([Rows(acknowledged + 1, 1, b'["' + b"x" * 600 + b'"]')])
        acknowledged += 1
except StoreUnavailable as error:
    print(acknowledged, error)
"""


def make_event(**values: object) -> StoredEvent:
    texts = dict.fromkeys(StoredEvent._fields, "")
    given = {"project_id": 7, "timestamp_ms": 1_779_000_000_001, "ip_hash": bytes(16), "is_bot": 0}
    return StoredEvent(**{**texts, "anonymous_id": str(uuid4()), **given, **values})


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path, fsync=True)


@pytest.fixture
def written(journal: Journal, tmp_path: Path) -> Path:
    """A file with `REQUESTS`, as a process leaves it that was killed."""
    journal.append(REQUESTS[:2])
    journal.append(REQUESTS[2:])
    [path] = tmp_path.iterdir()
    return path


def read_written(path: Path) -> bytes:
    """What a file holds, without the room after it."""
    return path.read_bytes().rstrip(b"\0")


def test_requests_are_read_back_as_they_were_appended(written):
    segment = read_segment(written)

    assert segment.requests == REQUESTS
    assert segment.columns == ROW_COLUMNS
    assert segment.damaged_lines == 0


def test_a_file_cut_off_anywhere_loses_the_request_that_is_cut_and_those_after(written):
    content = read_written(written)
    ends = [at + 1 for at, byte in enumerate(content) if byte == ord("\n")]

    for length in range(len(content)):
        for room in (b"", bytes(100)):
            written.write_bytes(content[:length] + room)
            segment = read_segment(written)

            whole = sum(end <= length for end in ends[1:])
            assert segment.requests == REQUESTS[:whole], length
            has_head = length >= ends[0]  # otherwise it is no file that a process leaves
            assert segment.damaged_lines == (not has_head)


def test_a_line_whose_begin_never_reached_the_disk_is_not_called_damaged(written):
    content = read_written(written)
    last = content[:-1].rindex(b"\n") + 1
    written.write_bytes(content[:last] + bytes(5) + content[last + 5 :] + bytes(100))

    segment = read_segment(written)

    assert segment.requests == REQUESTS[:2]
    assert segment.damaged_lines == 0


@pytest.mark.parametrize("zeroed", ["all", "most"])
def test_a_file_whose_begin_was_overwritten_with_zeros_is_damaged_and_the_rest_is_read(
    written, zeroed
):
    content = read_written(written)
    length = len(content) if zeroed == "all" else content.rindex(b"\n", 0, -1) - 3
    written.write_bytes(bytes(length) + content[length:])

    segment = read_segment(written)

    assert segment.requests == ([] if zeroed == "all" else REQUESTS[2:])
    assert segment.columns == ROW_COLUMNS
    assert segment.damaged_lines == 1


def test_a_file_that_was_only_begun_is_no_file_of_the_journal(journal, tmp_path):
    begun = tmp_path / "0000000000000001.begun"
    begun.write_bytes(bytes(100))

    assert list(journal.read_left()) == []
    assert not begun.exists()


def test_a_changed_byte_loses_the_request_of_its_line_only(written):
    content = read_written(written)
    first = content.index(b"\n") + 1

    for at in range(first, len(content) - 1):
        changed = bytearray(content)
        changed[at] ^= 0x55
        written.write_bytes(changed)
        segment = read_segment(written)

        lost = content.count(b"\n", first, at)
        kept = [rows for number, rows in enumerate(REQUESTS) if number != lost]
        assert segment.damaged_lines >= 1, at
        assert [rows for rows in segment.requests if rows in REQUESTS] == segment.requests
        assert segment.requests in (kept, kept[:lost] + kept[lost + 1 :]), at


def test_what_is_appended_after_a_seal_is_in_another_file(journal, tmp_path):
    journal.append(REQUESTS[:1])
    [sealed] = journal.seal()
    journal.append(REQUESTS[1:])

    journal.remove([sealed])

    [left] = journal.read_left()
    assert sealed.requests == REQUESTS[:1]
    assert left.requests == REQUESTS[1:]


def test_a_file_that_can_t_grow_holds_what_was_acknowledged_and_nothing_else(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FILL_UNTIL_REFUSED, tmp_path],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    acknowledged, _, sentence = done.stdout.strip().partition(" ")
    [path] = tmp_path.iterdir()
    assert int(acknowledged) > 5
    assert sentence == "the journal can't be written: File too large"
    assert len(read_segment(path).requests) == int(acknowledged)
    assert path.read_bytes().endswith(b"\n")


def test_nothing_is_acknowledged_when_the_disk_has_too_little_room_left(tmp_path):
    journal = Journal(tmp_path, fsync=True, min_free_bytes=2**62)

    with pytest.raises(StoreUnavailable, match="the disk is full: less than"):
        journal.append(REQUESTS)

    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def journal_dir(store_target) -> Path:
    """The journal's directory of the test's own database."""
    directory = Path(store_target.address, JOURNAL_DIR, store_target.database)
    directory.mkdir(parents=True)
    return directory


@pytest.fixture
def store_journal(journal_dir) -> Journal:
    return Journal(journal_dir, fsync=False)


@pytest.fixture
def pool(store_target) -> Iterator[ClientPool]:
    pool = ClientPool(store_target)
    migrate(pool)
    yield pool
    pool.close()


def read_ids(pool: ClientPool) -> list[str]:
    return [row[0] for row in pool.query("SELECT event_id FROM events ORDER BY event_id")]


def encode(name: str, *, received_us: int, count: int = 1) -> Rows:
    return encode_rows([make_event(event_id=name)] * count, received_us=received_us)


def test_a_start_takes_what_was_left_once_when_a_part_of_it_is_stored(pool, store_journal):
    left = [encode(f"e{number}", received_us=number + 1, count=2) for number in range(6)]
    store_journal.append(left[:4])
    store_journal.seal()
    store_journal.append(left[4:])
    insert_rows(pool, left[1:3])  # and then the process was killed

    take_over(pool, store_journal)
    take_over(pool, store_journal)

    assert read_ids(pool) == [f"e{number}" for number in range(6) for _ in range(2)]
    assert list(store_journal.read_left()) == []


def test_a_start_takes_a_file_of_an_older_version_with_fewer_columns(
    pool, store_journal, journal_dir
):
    contents = (
        b'["project_id","timestamp","event_id","received_at"]',
        b'5 1 [7,"1779000000.001","old","1779000000.000005"]',
    )
    text = b"".join(b"%08x %b\n" % (crc32(content), content) for content in contents)
    (journal_dir / "0000000000000005.journal").write_bytes(text)

    take_over(pool, store_journal)

    assert read_ids(pool) == ["old"]


def test_a_file_that_the_engine_refuses_ends_the_start_and_is_named(pool, store_journal):
    store_journal.append([Rows(1, 1, b"[1]")])
    [segment] = store_journal.seal()

    with pytest.raises(StoreRefused, match=f"{segment.path} can't be stored .* move the file"):
        take_over(pool, store_journal)

    assert segment.path.exists()


def test_a_damaged_file_is_named_and_kept_until_the_next_deletion(
    pool, store_journal, store_target, caplog
):
    store_journal.append([encode(name, received_us=ord(name)) for name in "abc"])
    [segment] = store_journal.seal()
    content = segment.path.read_bytes()
    segment.path.write_bytes(content.replace(b'"b"', b'"X"'))

    store = open_event_store(store_target, max_queued_events=10)

    kept = segment.path.with_suffix(".damaged")
    assert read_ids(pool) == ["a", "c"]
    assert f"1 damaged lines of {segment.path} were left out" in caplog.text
    assert b'"X"' in kept.read_bytes()

    async def delete() -> None:
        store.start()
        await store.delete_people(salt=b"s", users={(7, b"u"): await store.now()}, visitors={})
        await store.close()

    asyncio.run(delete())
    assert not kept.exists()


class Engine:
    """Takes segments, or raises what ``errors`` holds, one at each attempt."""

    def __init__(self, journal: Journal, *errors: Exception) -> None:
        self.journal = journal
        self.errors = list(errors)
        self.taken: list[int] = []
        self.attempts: list[int] = []

    def __call__(self, segments, attempts) -> None:
        self.attempts.append(attempts)
        if self.errors:
            raise self.errors.pop(0)
        self.taken += [rows.received_us for segment in segments for rows in segment.requests]


def make_handover(engine: Engine) -> Handover:
    handover = Handover(engine.journal, engine, writers=ThreadPoolExecutor(1))
    handover.start()
    return handover


async def flush(handover: Handover) -> None:
    await asyncio.to_thread(handover.flush)


async def flush_at_last(flush: Callable[[], Awaitable[None]]) -> None:
    """Returns when the store takes events again."""
    while True:
        with suppress(StoreUnavailable):
            return await flush()
        await asyncio.sleep(0.05)


async def test_a_flush_returns_when_the_engine_has_what_was_acknowledged(journal):
    engine = Engine(journal)
    handover = make_handover(engine)
    await handover.write(REQUESTS)

    await asyncio.wait_for(flush(handover), TIMEOUT_S)

    assert engine.taken == [1, 2, 3]
    await handover.close()


async def test_a_flush_for_a_deletion_returns_when_no_file_is_left(journal):
    handover = make_handover(Engine(journal))
    await handover.write(REQUESTS)

    await asyncio.wait_for(handover.flush_for_deletion(), TIMEOUT_S)

    assert list(journal.read_left()) == []
    await handover.close()


async def test_a_read_does_not_wait_for_the_removal_of_files(journal, monkeypatch):
    may_remove = Event()
    remove = journal.remove
    monkeypatch.setattr(journal, "remove", lambda found: may_remove.wait() and remove(found))
    handover = make_handover(Engine(journal))
    await handover.write(REQUESTS)

    await asyncio.wait_for(flush(handover), TIMEOUT_S)
    deletion = asyncio.create_task(handover.flush_for_deletion())
    await asyncio.sleep(0.05)
    assert not deletion.done()

    may_remove.set()
    await asyncio.wait_for(deletion, TIMEOUT_S)
    await handover.close()


async def test_a_file_that_cannot_be_removed_is_tried_again(journal, monkeypatch):
    errors = [OSError("read-only"), OSError("read-only")]
    remove = journal.remove

    def fail_twice(found) -> None:
        if errors:
            raise errors.pop()
        remove(found)

    monkeypatch.setattr(journal, "remove", fail_twice)
    engine = Engine(journal)
    handover = make_handover(engine)
    await handover.write(REQUESTS)

    await asyncio.wait_for(flush_at_last(handover.flush_for_deletion), TIMEOUT_S)

    assert list(journal.read_left()) == []
    assert engine.taken == [1, 2, 3]
    await handover.close()


@pytest.mark.parametrize(
    ("max_quick_s", "size_bytes", "is_in_loop"),
    [(60, 100, True), (60, 100_000, False), (0, 100, False)],
    ids=["quick disk", "large request", "slow disk"],
)
async def test_small_requests_are_written_in_the_event_loop_while_the_disk_is_quick(
    journal, monkeypatch, max_quick_s, size_bytes, is_in_loop
):
    threads = []

    def flush(_descriptor) -> None:
        threads.append(current_thread())

    monkeypatch.setattr("millimetric_mcp.api.store.journal._flush", flush)
    monkeypatch.setattr("millimetric_mcp.api.store.journal.MAX_QUICK_S", max_quick_s)
    handover = make_handover(Engine(journal))
    for received_us in (1, 2):  # the first one opens the file
        await handover.write([Rows(received_us, 1, b" " * size_bytes)])

    assert (threads[-1] is main_thread()) == is_in_loop
    await handover.close()


async def test_an_engine_that_fails_once_is_asked_again_at_once(journal):
    engine = Engine(journal, RuntimeError("once"))
    handover = make_handover(engine)
    await handover.write(REQUESTS)

    await asyncio.wait_for(flush(handover), TIMEOUT_S)

    assert engine.attempts == [0, 1]
    await handover.close()


async def test_reads_are_refused_while_the_engine_fails_and_nothing_is_lost(journal):
    engine = Engine(journal, *[StoreUnavailable("down")] * 3)
    handover = make_handover(engine)
    await handover.write(REQUESTS[:1])

    with pytest.raises(StoreUnavailable, match="does not take events now"):
        await asyncio.wait_for(flush(handover), TIMEOUT_S)
    with pytest.raises(StoreUnavailable):
        handover.check()
    await handover.write(REQUESTS[1:])  # there is room for more
    await asyncio.wait_for(flush_at_last(partial(flush, handover)), TIMEOUT_S)
    handover.check()

    assert engine.taken == [1, 2, 3]
    await handover.close()


async def test_closing_gives_the_engine_at_once_what_is_left(journal):
    engine = Engine(journal)
    handover = make_handover(engine)
    await handover.write(REQUESTS)

    await asyncio.wait_for(handover.close(), TIMEOUT_S)

    assert engine.taken == [1, 2, 3]


async def test_closing_leaves_in_the_journal_what_the_engine_does_not_take(journal):
    engine = Engine(journal, *[RuntimeError("down")] * 9)
    handover = make_handover(engine)
    await handover.write(REQUESTS)

    await asyncio.wait_for(handover.close(), TIMEOUT_S)

    [left] = journal.read_left()
    assert left.requests == REQUESTS


async def test_writes_without_room_wait_and_are_refused_while_the_engine_fails(journal):
    engine = Engine(journal, *[RuntimeError("down")] * 3)
    handover = make_handover(engine)
    await handover.write([Rows(1, 100_000, b"[]")])

    with pytest.raises(StoreUnavailable, match="does not take events now"):
        await asyncio.wait_for(handover.write([Rows(2, 1, b"[]")]), TIMEOUT_S)
    await asyncio.wait_for(flush_at_last(partial(flush, handover)), TIMEOUT_S)

    await asyncio.wait_for(handover.write([Rows(3, 1, b"[]")]), TIMEOUT_S)
    await handover.close()
    assert engine.taken == [1, 3]


@pytest.mark.parametrize("journal", [True, False], ids=["journal", "no-journal"])
async def test_a_deletion_takes_what_arrived_before_it_when_the_clock_is_put_back(
    store_target, journal
):
    clock = [2_000_000_000_000_000, 1_900_000_000_000_000, 1_900_000_000_000_001]
    pool = ClientPool(replace(store_target, journal=journal))
    migrate(pool)
    writer = open_writer(pool, shards=1, max_queued_events=10, clock_us=iter(clock).__next__)
    store = EventStore(pool, writer, identity="")
    store.start()
    await store.append([make_event(event_id="before", user_id="u", project_id=7)])

    cutoff = await store.now()
    await store.append([make_event(event_id="after", user_id="u", project_id=7)])
    user = 7, sha256(b"su").digest()
    await store.delete_people(salt=b"s", users={user: cutoff}, visitors={})

    assert await asyncio.to_thread(read_ids, pool) == ["after"]
    await store.close()


async def test_arrivals_go_on_from_the_newest_event_of_an_earlier_process(pool):
    insert_rows(pool, [encode("ahead", received_us=2_000_000_000_000_000)])
    writer = open_writer(pool, shards=1, max_queued_events=10, clock_us=lambda: 1)

    later = await writer.now()

    assert later.timestamp() == pytest.approx(2_000_000_000.000001, abs=1e-6)
    assert later.microsecond == 1


def test_the_journal_of_an_embedded_store_is_in_its_directory(tmp_path):
    target = embedded_target(tmp_path)

    assert target.journal
    assert Path(target.address, JOURNAL_DIR, target.database) == tmp_path / "journal/millimetric"


def test_a_disk_with_too_little_room_is_not_ready_for_events(tmp_path):
    check_writable(tmp_path)
    with pytest.raises(StoreUnavailable, match="the disk is full"):
        check_writable(tmp_path, min_free_bytes=2**62)
