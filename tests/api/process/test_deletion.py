"""After a forget the id is nowhere under the data directory, by a search first seen to find it."""

import time
from typing import Any

import pytest

pytestmark = pytest.mark.slow

USER = "user_with_a_name_like_no_other"
MARKER = b"like_no_other"


def test_a_deleted_id_is_in_no_file_under_the_data_directory(start_api):
    api = start_api()
    events = [
        {"event": "x", "user_id": USER, "anonymous_id": "erased", "properties": {"name": USER}},
        {"event": "x", "user_id": USER, "url": f"https://shop.example/?u={USER}"},
        {"event": "x", "user_id": "another", "anonymous_id": "stays"},
    ]
    for event in events:
        api.post("/v1/track", event)
    api.post("/v1/batch", {"events": events * 100})
    api.post("/v1/identify", {"anonymous_id": "erased", "user_id": USER, "traits": {"n": USER}})
    assert any("data" in str(path) for path in api.find_files(MARKER))
    asked = [api.post("/v1/forget", {"user_id": user}) for user in ("nobody", USER, "none")]
    assert {answer.status_code for answer in asked} == {200}

    wait_for_no_marker(api, timeout_s=60)

    # Those of the schema's own changes may stay.
    mutations = [path for path in api.list_files() if path.name.startswith("mutation_")]
    assert [path for path in mutations if b"DELETE" in path.read_bytes()] == []
    assert MARKER.decode() not in api.stderr()
    assert [row["value"] for row in api.rows("/v1/stats")] == [101]
    assert api.rows("/v1/query", user_id=USER) == []
    assert len(api.rows("/v1/query", user_id="another", limit=1000)) == 101
    [source] = api.rows("/v1/sources", breakdown="source")
    assert (source["events"], source["uniques"]) == (101, 1)


def test_linked_visitors_are_in_no_file_though_the_api_is_killed(start_api):
    api = start_api()
    events = [
        {"event": "x", "anonymous_id": "v_like_no_other_1", "user_id": "gone"},
        {"event": "x", "anonymous_id": "v_like_no_other_1"},
        {"event": "x", "anonymous_id": "v_like_no_other_2", "properties": {"n": "like_no_other"}},
        {"event": "x", "anonymous_id": "shared", "user_id": "gone"},
        {"event": "x", "anonymous_id": "shared", "user_id": "other"},
        {"event": "x", "anonymous_id": "shared"},
    ]
    api.post("/v1/batch", {"events": events * 20})
    api.post("/v1/identify", {"anonymous_id": "v_like_no_other_2", "user_id": "gone"})
    asked = api.post("/v1/forget", {"user_id": "gone", "linked": True})
    api.kill()
    assert asked.json() == {"ok": True, "queued": True, "applied": {"linked": True}}

    again = start_api()
    again.keys = api.keys
    wait_for_no_marker(again, timeout_s=60)

    assert len(again.rows("/v1/query", anonymous_id="shared", limit=1000)) == 40
    assert [row["value"] for row in again.rows("/v1/stats")] == [40]
    again.wait_until(lambda: "forget removed" in again.stderr())


def wait_for_no_marker(api: Any, *, timeout_s: float) -> None:
    deadline_s = time.monotonic() + timeout_s
    while found := api.find_files(MARKER):
        assert time.monotonic() < deadline_s, found
        time.sleep(0.5)
