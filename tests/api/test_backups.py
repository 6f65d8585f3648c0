"""What a backup has of the events and deletions beside it, on the real engine."""

import asyncio
import threading

import pytest

TIMEOUT_S = 30
USER = {"event": "x", "user_id": "leaves"}


@pytest.fixture
def back_up(api, tmp_path):
    """Makes a backup; returns its rows by table."""

    async def make(finish=lambda: None):
        return await api.store.back_up(tmp_path / "backup", base=None, finish=finish)

    return make


async def test_a_backup_has_what_was_acknowledged_just_before_it(api, back_up):
    await api.post("/v1/batch", {"events": [USER] * 10})

    assert (await back_up())["events"] == 10


async def test_a_deletion_waits_until_a_backup_has_its_record_too(api, back_up):
    has_rows, go_on = threading.Event(), threading.Event()

    def finish() -> None:
        has_rows.set()
        go_on.wait(TIMEOUT_S)

    await api.post("/v1/track", USER)
    backup = asyncio.create_task(back_up(finish))
    assert await asyncio.to_thread(has_rows.wait, TIMEOUT_S)
    await api.post("/v1/forget", {"user_id": "leaves"})
    await asyncio.sleep(1)  # it takes a tenth of it if nothing holds it up
    left = await api.rows("/v1/query")
    go_on.set()
    await backup

    assert len(left) == 1
