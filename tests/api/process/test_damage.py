"""A data part whose file is damaged: what the API says of it, and until when."""

import pytest

pytestmark = pytest.mark.slow

DAMAGE = "Files of the event store are damaged"


def test_a_damaged_part_is_named_until_it_is_moved_away(start_api):
    api = start_api()
    keys = api.keys
    api.post("/v1/batch", {"events": [{"event": "lost"}] * 300})
    api.terminate()
    events = api.data_dir / "store/data/millimetric/events"
    for file in events.glob("*/data.packed"):
        file.write_bytes(b"")

    again = start_api()
    again.keys = keys
    answer = again.get("/v1/sources").json()
    ready = again.get("/health/ready")

    assert answer["rows"] == []
    assert [note[: len(DAMAGE)] for note in answer["notes"]] == [DAMAGE]
    assert (ready.status_code, ready.json()["notes"]) == (200, answer["notes"])
    set_aside = list((events / "detached").iterdir())
    assert set_aside
    assert all(f"{part.name.partition('_')[2]}" in again.stderr() for part in set_aside)

    for part in set_aside:
        part.rename(again.data_dir / part.name)

    again.wait_until(lambda: "notes" not in again.get("/v1/sources").json())
    assert "notes" not in again.get("/health/ready").json()


def test_a_part_that_can_t_be_read_is_named(start_api):
    api = start_api()
    api.post("/v1/batch", {"events": [{"event": "x", "properties": {"a": "b" * 600}}] * 300})
    assert api.rows("/v1/stats")[0]["value"] == 300
    [file] = (api.data_dir / "store/data/millimetric/events").glob("*/data.packed")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])

    answer = api.get("/v1/query", limit=1000)
    api.wait_until(lambda: "notes" in api.get("/health/ready").json())

    assert (answer.status_code, answer.json()["error"]) == (503, "upstream_failed")
    assert f"data part {file.parent.name}" in api.stderr()


def test_a_lost_control_database_is_named_beside_the_events_of_its_projects(start_api):
    api = start_api()
    api.post("/v1/track", {"event": "kept"})
    api.terminate()
    assert "restore it" not in api.stderr()
    for file in api.data_dir.glob("control.sqlite3*"):
        file.unlink()

    again = start_api()

    assert "the event store has events. No key reads them" in again.stderr()
    assert f"lost sqlite:///{api.data_dir / 'control.sqlite3'}, stop the API" in again.stderr()
