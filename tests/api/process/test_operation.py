"""How the process behaves towards who runs it."""

import json
import re
import signal
import stat
import subprocess
import threading
from contextlib import suppress

import pytest

INTERRUPTED_EXTENSION = """
import os, signal

try:
    os.kill(os.getpid(), signal.SIGTERM)
except BaseException as error:
    raise ImportError(type(error).__name__) from error
"""
"""Extensions that fail to be imported say so by an exception of their own, whatever the reason."""


def test_sigterm_ends_with_code_0_and_loses_no_acknowledged_write(start_api):
    api = start_api()
    statuses: list[int] = []

    def send() -> None:
        events = [{"event": "x"} for _ in range(500)]
        statuses.append(api.post("/v1/batch", {"events": events}).status_code)

    senders = [threading.Thread(target=send) for _ in range(4)]
    for sender in senders:
        sender.start()
    senders[0].join()

    assert api.terminate() == 0
    for sender in senders:
        sender.join()
    again = start_api()
    again.keys = api.keys
    assert again.rows("/v1/stats")[0]["value"] == 500 * statuses.count(202)


def test_sigterm_again_and_again_ends_with_code_0(start_api):
    api = start_api()

    while api.process.poll() is None:
        api.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            api.process.wait(0.002)

    assert api.process.returncode == 0


def test_sigterm_ends_with_code_0_while_an_erasure_is_under_way(start_api):
    api = start_api()
    api.post("/v1/track", {"event": "x", "user_id": "gone"})
    api.post("/v1/forget", {"user_id": "gone"})

    assert api.terminate() == 0


def test_sigterm_ends_with_code_0_while_it_starts(start_api):
    api = start_api(wait=False)
    api.wait_until((api.data_dir / "lock").exists)

    assert api.terminate() == 0
    assert "Traceback" not in api.stderr()


def test_sigterm_ends_with_code_0_while_the_engine_is_imported(start_api, tmp_path, monkeypatch):
    (tmp_path / "chdb.py").write_text(INTERRUPTED_EXTENSION)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    api = start_api(wait=False)

    assert api.process.wait(30) == 0
    assert "Traceback" not in api.stderr()


def test_a_second_process_on_the_data_directory_gets_one_clear_sentence(shared_api, start_api):
    second = start_api("--data-dir", str(shared_api.data_dir), wait=False)

    assert second.process.wait(30) == 1
    [line] = second.stderr().splitlines()
    assert re.fullmatch(
        r"millimetric-mcp: another process already runs on .+; stop it, or .+", line
    )
    assert shared_api.get("/v1/stats").status_code == 200


def test_a_store_that_another_process_uses_is_named_in_one_sentence(start_api, tmp_path):
    store = ("--store", f"chdb://{tmp_path}/store")
    first = start_api(*store)
    second = start_api(*store, "--data-dir", str(tmp_path / "other"), wait=False)

    assert second.process.wait(30) == 1
    [line] = second.stderr().splitlines()
    assert line.startswith(
        f"millimetric-mcp: another process already runs on {tmp_path}/store; stop it, or choose "
        "another --store"
    )
    assert first.get("/v1/stats").status_code == 200


def test_a_store_that_is_the_data_directory_too_is_served(start_api, tmp_path):
    api = start_api("--store", f"chdb://{tmp_path}/data")

    assert api.get("/v1/stats").status_code == 200


@pytest.mark.parametrize(
    ("occupy", "said"),
    [
        pytest.param(
            lambda data_dir: (data_dir / "lock").mkdir(),
            "can't be written: Is a directory",
            id="no-lock",
        ),
        pytest.param(
            lambda data_dir: (data_dir / "tmp").touch(),
            "tmp can't be made: File exists",
            id="no-temporary-directory",
        ),
    ],
)
def test_a_data_directory_that_can_t_be_written_is_named_in_one_sentence(
    start_api, tmp_path, occupy, said
):
    (tmp_path / "data").mkdir()
    occupy(tmp_path / "data")
    api = start_api(wait=False)

    assert api.process.wait(30) == 2
    [line] = api.stderr().splitlines()
    assert line.startswith("millimetric-mcp: --data-dir / MILLIMETRIC_DATA_DIR: ")
    assert said in line


def test_a_port_in_use_is_named_in_one_sentence(shared_api, start_api):
    second = start_api("--port", shared_api.url.rpartition(":")[2], wait=False)

    assert second.process.wait(30) == 2
    [line] = second.stderr().splitlines()
    assert line.startswith("millimetric-mcp: --host / --port: can't listen on 127.0.0.1")


def test_first_keys_go_to_a_file_of_the_owner_alone_where_stdout_is_no_terminal(shared_api):
    [file] = shared_api.data_dir.glob("keys-*.env")

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert set(shared_api.keys) == {"MILLIMETRIC_KEY", "MILLIMETRIC_RK", "MILLIMETRIC_PK"}


def test_what_lies_in_the_data_directory_is_for_its_owner_alone(start_api, tmp_path):
    (tmp_path / "data").mkdir(mode=0o755)
    api = start_api()
    api.post("/v1/track", {"event": "x"})
    api.post("/v1/forget", {"user_id": "u"})

    assert api.terminate() == 0
    modes = {path: path.stat().st_mode & 0o077 for path in api.data_dir.rglob("*")}

    assert len(modes) > 30
    assert [path for path, open_to_others in modes.items() if open_to_others] == []


def test_a_second_start_makes_no_new_keys(start_api):
    first = start_api()
    assert first.terminate() == 0

    second = start_api()

    assert second.keys == first.keys


def test_each_request_is_one_json_line_without_key_address_query_or_body(shared_api):
    api = shared_api
    before = len(request_lines(api))
    api.post("/v1/track", {"event": "secret_event"})
    api.get("/v1/query", event="secret_event")
    api.get("/v1/sk_live_looks_like_a_key")

    lines = request_lines(api)[before:]

    assert [(line["method"], line["path"], line["status"]) for line in lines] == [
        ("POST", "/v1/track", 202),
        ("GET", "/v1/query", 200),
        ("GET", "(unknown)", 404),
    ]
    assert lines[0]["project"] == "default"
    for secret in ("secret_event", "sk_live", '127.0.0.1"', *api.keys.values()):
        assert secret not in json.dumps(lines)


def request_lines(api) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in api.stderr().splitlines() if line.startswith("{")]
    return [line for line in lines if line["path"] != "/health"]


def test_two_workers_on_the_embedded_store_are_refused_in_a_sentence(start_api):
    api = start_api("--workers", "2", wait=False)

    assert api.process.wait(30) == 2
    assert "the embedded store has one process" in api.stderr()
