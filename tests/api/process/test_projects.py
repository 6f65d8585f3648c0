"""Projects of a running API: settings that it follows, and a deletion that leaves nothing."""

import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime

import httpx
import pytest

pytestmark = pytest.mark.slow

MARKER = "like_no_other"


@pytest.fixture
def command(start_api):
    """Runs a command on the data directory of an API, which may have ended."""

    def run(api, *arguments, typed=None):
        controller, terminal = pty.openpty()
        if typed is not None:
            os.write(controller, f"{typed}\n".encode())
        done = subprocess.run(
            [
                *(sys.executable, "-m", "millimetric_mcp", *arguments),
                *("--data-dir", str(api.data_dir)),
                *("--keys-dir", str(api.data_dir.with_name("keys"))),
            ],
            stdin=subprocess.DEVNULL if typed is None else terminal,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        os.close(terminal)
        os.close(controller)
        return done

    return run


def read_write_key(api, *, is_test):
    """The shop's key; the random part of a live key's file may begin with any letter."""
    paths = api.data_dir.with_name("keys").glob("shop*-sk-*")
    (path,) = [path for path in paths if ("-sk-test-" in path.name) is is_test]
    return path.read_text().strip().rpartition("=")[2]


def send_marked(api, key):
    events = [
        {"event": "x", "user_id": MARKER, "anonymous_id": MARKER, "properties": {"n": MARKER}},
        {"event": MARKER, "url": f"https://shop.example/{MARKER}"},
    ]
    answer = httpx.post(
        f"{api.url}/v1/batch",
        json={"events": events * 100},
        headers={"Authorization": f"Bearer {key}"},
        timeout=30,
    )
    assert answer.status_code == 202


@pytest.mark.parametrize("is_running", [True, False], ids=["running", "stopped"])
def test_a_deleted_project_is_in_no_file_under_the_data_directory(start_api, command, is_running):
    api = start_api()
    project = ("--project", "shop_like_no_other")
    for arguments in (("sk",), ("rk",), ("sk", "--env", "test")):
        command(api, "keys", "create", "--kind", *arguments, *project, "--label", MARKER)
    for is_test in (True, False):
        send_marked(api, read_write_key(api, is_test=is_test))
    api.post("/v1/track", {"event": "stays"})
    assert any("data" in str(path) for path in api.find_files(MARKER.encode()))
    if not is_running:
        assert api.terminate() == 0

    declined = command(api, "projects", "delete", project[1], typed="shop")
    assert (declined.returncode, "Nothing was changed." in declined.stderr) == (1, True)
    done = command(api, "projects", "delete", project[1], typed=project[1])

    assert "Delete project shop_like_no_other with 400 events and 3 active keys" in done.stderr
    assert done.stdout == "Deleted project shop_like_no_other: 400 events, 3 keys.\n"
    log = api.stderr_file.name if is_running else None
    left = [path for path in api.find_files(MARKER.encode()) if path.name != log]
    assert left == []
    assert list(api.data_dir.with_name("keys").glob("shop*")) == []
    listed = json.loads(command(api, "projects", "list", "--json").stdout)
    assert [one["project"] for one in listed] == ["default"]
    if is_running:
        assert "removed project shop_like_no_other on request: 400 events" in api.stderr()
        assert [row["event_name"] for row in api.rows("/v1/query")] == ["stays"]


def test_a_running_api_follows_a_projects_settings_and_notes_the_use_of_keys(start_api, command):
    api = start_api()
    url = "https://shop.example/?fbclid=1"

    def track():
        api.post("/v1/track", {"event": "x", "url": url})
        [row] = api.rows("/v1/query", limit=1)
        return row["medium"]

    assert track() == "paid"
    done = command(api, "projects", "set", "default", "--fbclid", "social")
    assert done.returncode == 0, done.stderr
    api.wait_until(lambda: track() == "social", timeout_s=10)

    def list_used():
        listed = json.loads(command(api, "keys", "list", "--json").stdout)
        return {key["kind"]: key["last_used_on"] for key in listed}

    today = f"{datetime.now(UTC):%Y-%m-%d}"
    api.wait_until(lambda: list_used() == {"sk": today, "rk": today, "pk": None})
