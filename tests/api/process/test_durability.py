"""What is acknowledged is there, whatever happens to the process."""

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.slow

START_TIMEOUT_S = 30


def test_an_event_acknowledged_just_before_a_kill_is_there_after_a_restart(start_api):
    api = start_api()
    keys = api.keys

    answer = api.post("/v1/track", {"event": "signup", "event_id": "kept"})
    api.kill()

    assert answer.status_code == 202
    again = start_api()
    again.keys = keys
    assert [row["event_id"] for row in again.rows("/v1/query")] == ["kept"]


def test_sigterm_leaves_no_event_in_the_journal(start_api):
    api = start_api()
    has_begun = threading.Event()

    def send() -> None:
        with suppress(httpx.TransportError):
            while api.post("/v1/track", {"event": "signup"}).status_code == 202:
                has_begun.set()

    writer = threading.Thread(target=send)
    writer.start()
    assert has_begun.wait(START_TIMEOUT_S)

    assert api.terminate() == 0

    writer.join()
    assert list_journal(api) == []


def test_without_a_journal_an_acknowledged_event_is_in_no_file_of_it(start_api):
    api = start_api("--journal", "off")

    assert api.post("/v1/track", {"event": "signup", "event_id": "kept"}).status_code == 202

    assert list_journal(api) == []
    api.kill()
    again = start_api("--journal", "off")
    again.keys = api.keys
    assert [row["event_id"] for row in again.rows("/v1/query")] == ["kept"]


def list_journal(api: Any) -> list[Path]:
    return [path for path in api.list_files() if path.suffix == ".journal"]


def test_every_batch_acknowledged_under_load_survives_a_kill_whole(start_api):
    api = start_api()
    keys = api.keys
    acknowledged: list[int] = []

    def send(writer: int) -> None:
        for number in range(1000):
            batch = writer * 1000 + number
            events = [{"event": "x", "session_id": f"batch-{batch}"} for _ in range(20)]
            try:
                if api.post("/v1/batch", {"events": events}).status_code == 202:
                    acknowledged.append(batch)
            except httpx.TransportError:
                return

    writers = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    while len(acknowledged) < 40:
        assert any(writer.is_alive() for writer in writers)
    api.kill()
    for writer in writers:
        writer.join()

    again = start_api()
    again.keys = keys
    stored: dict[object, int] = {}
    for row in again.rows("/v1/query", limit=1000) if acknowledged else []:
        stored[row["session_id"]] = stored.get(row["session_id"], 0) + 1
    newest = {f"batch-{batch}" for batch in acknowledged[-20:]}
    total = again.rows("/v1/stats")[0]["value"]
    assert newest <= set(stored)
    assert isinstance(total, int)
    assert total % 20 == 0
    assert total >= 20 * len(acknowledged)


def test_a_forget_acknowledged_just_before_a_kill_completes_after_a_restart(start_api):
    api = start_api()
    keys = api.keys
    events = [{"event": "x", "user_id": f"user_{n % 2}", "event_id": f"e{n}"} for n in range(1000)]
    api.post("/v1/batch", {"events": events})

    answer = api.post("/v1/forget", {"user_id": "user_1"})
    api.kill()

    assert answer.json() == {"ok": True, "queued": True}
    again = start_api()
    again.keys = keys
    again.post("/v1/track", {"event": "x", "user_id": "user_1", "event_id": "later"})
    again.wait_until(lambda: len(again.rows("/v1/query", user_id="user_1", limit=1000)) == 1)
    assert [row["event_id"] for row in again.rows("/v1/query", user_id="user_1")] == ["later"]
    assert len(again.rows("/v1/query", user_id="user_0", limit=1000)) == 500
