"""The process as its operator sees it: signals, errors at the start, files, and the log."""

import asyncio
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections import Counter
from contextlib import suppress

import httpx
import pytest

pytestmark = pytest.mark.slow

INTERRUPTED_EXTENSION = """
import os, signal

try:
    os.kill(os.getpid(), signal.SIGTERM)
except BaseException as error:
    raise ImportError(type(error).__name__) from error
"""
"""Extensions that fail to be imported raise their own exception, whatever the reason."""


def test_sigterm_ends_with_code_0_and_loses_no_acknowledged_write(start_api):
    api = start_api()
    statuses: list[int] = []

    def send() -> None:
        events = [{"event": "x"} for _ in range(500)]
        with suppress(httpx.TransportError):  # the API may end before it is connected
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


def test_repeated_sigterm_ends_with_code_0(start_api):
    api = start_api()

    while api.process.poll() is None:
        api.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            api.process.wait(0.002)

    assert api.process.returncode == 0


def test_sigterm_ends_with_code_0_during_a_deletion(start_api):
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


def test_a_second_process_on_the_data_directory_gets_one_sentence(shared_api, start_api):
    second = start_api("--data-dir", str(shared_api.data_dir), wait=False)

    assert second.process.wait(30) == 1
    [line] = second.stderr().splitlines()
    assert re.fullmatch(
        r"millimetric-mcp: another process uses .+\. Stop it, or choose another .+\.", line
    )
    assert shared_api.get("/v1/stats").status_code == 200


def test_a_store_in_use_is_named_in_one_sentence(start_api, tmp_path):
    store = ("--store", f"chdb://{tmp_path}/store")
    first = start_api(*store)
    second = start_api(*store, "--data-dir", str(tmp_path / "other"), wait=False)

    assert second.process.wait(30) == 1
    [line] = second.stderr().splitlines()
    assert line.startswith(
        f"millimetric-mcp: another process uses {tmp_path}/store. Stop it, or choose "
        "another --store"
    )
    assert first.get("/v1/stats").status_code == 200


def test_a_store_in_the_data_directory_itself_is_served(start_api, tmp_path):
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
            "tmp is a file. Choose a directory.",
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
    port = shared_api.url.rpartition(":")[2]
    assert line == (
        f"millimetric-mcp: Port {port} of 127.0.0.1 is in use. Stop the other process, or choose "
        "a port with --port."
    )


def test_a_start_that_finds_its_port_in_use_creates_no_directory(shared_api, start_api):
    second = start_api("--port", shared_api.url.rpartition(":")[2], wait=False)

    assert second.process.wait(30) == 2
    assert not second.data_dir.exists()
    assert not second.data_dir.with_name("keys").exists()


def test_first_keys_go_to_private_files_without_a_terminal(shared_api):
    files = list(shared_api.data_dir.with_name("keys").iterdir())

    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 3
    assert set(shared_api.keys) == {"MILLIMETRIC_KEY", "MILLIMETRIC_RK", "MILLIMETRIC_PK"}


def test_every_file_of_the_data_directory_is_private(start_api, tmp_path):
    (tmp_path / "data").mkdir(mode=0o755)
    api = start_api()
    api.post("/v1/track", {"event": "x"})
    api.post("/v1/forget", {"user_id": "u"})

    assert api.terminate() == 0
    modes = {path: path.stat().st_mode & 0o077 for path in api.data_dir.rglob("*")}

    assert len(modes) > 30
    assert [path for path, open_to_others in modes.items() if open_to_others] == []


def test_a_data_directory_of_any_name_is_served(start_api_in, tmp_path):
    directory = tmp_path / 'it\'s 100% "q"?x=1#; $(x)\nданные'
    directory.mkdir()
    with start_api_in(directory) as start:
        api = start()
        assert api.post("/v1/track", {"event": "kept"}).status_code == 202
        assert api.terminate() == 0

        again = start()
        again.keys = api.keys
        assert again.rows("/v1/stats", event="kept") == [{"value": 1}]
    assert (directory / "data/store").is_dir()


def test_a_second_start_creates_no_keys(start_api):
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

    api.wait_until(lambda: len(request_lines(api)) >= before + 3)
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
    return [line for line in lines if line.get("path", "/health") != "/health"]


@pytest.mark.parametrize(
    ("level", "statuses"),
    [
        pytest.param("info", [401, 202, 404], id="info"),
        pytest.param("warning", [], id="warning"),
        pytest.param("off", [], id="off"),
    ],
)
def test_the_log_has_requests_at_its_level_only(start_api, level, statuses):
    api = start_api("--log-level", level)
    httpx.post(api.url + "/v1/track")
    api.post("/v1/track", {"event": "x"})
    api.get("/v1/nothing")

    assert api.terminate() == 0
    assert [line["status"] for line in request_lines(api)] == statuses
    assert api.stderr().startswith("millimetric-mcp api: http://")


MANY_REQUESTS = 2_000
"""Their lines fill a pipe several times."""


def close_reader(reader: int) -> int:
    os.close(reader)
    return -1


@pytest.mark.parametrize("prepare", [lambda reader: reader, close_reader], ids=["slow", "closed"])
def test_an_unread_stderr_stops_no_request(start_api, tmp_path, prepare):
    assert start_api().terminate() == 0  # the keys exist, and nothing else is written
    reader, writer = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "millimetric_mcp", "api", "--port", str(port)],
        env={**os.environ, "MILLIMETRIC_DATA_DIR": str(tmp_path / "data")},
        stderr=writer,
        stdout=subprocess.DEVNULL,
    )
    os.close(writer)
    reader = prepare(reader)
    try:
        statuses = asyncio.run(send_many(f"http://127.0.0.1:{port}"))
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()
        if reader >= 0:
            os.close(reader)
    assert statuses == {401: MANY_REQUESTS}


async def send_many(url: str) -> dict[int, int]:
    """Posts without a key; returns how often each status came."""
    transport = httpx.AsyncHTTPTransport(retries=20)
    async with httpx.AsyncClient(base_url=url, transport=transport, timeout=10) as http:
        answers = [await http.post("/v1/track") for _ in range(MANY_REQUESTS)]
    return Counter(answer.status_code for answer in answers)


def test_two_workers_on_the_embedded_store_are_refused_in_a_sentence(start_api):
    api = start_api("--workers", "2", wait=False)

    assert api.process.wait(30) == 2
    assert "the embedded store takes one process" in api.stderr()
    assert not api.data_dir.exists()
