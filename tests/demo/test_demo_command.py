"""``millimetric-mcp demo`` as a user runs it: a real child with real children of its own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

END_TIMEOUT_S = 120
KEY = re.compile(r"(?:sk|rk)_live_[A-Za-z0-9]{8}_[A-Za-z0-9_-]{32,}")
POISON = {
    "MILLIMETRIC_STORE": "clickhouse://nowhere.invalid:1/theirs",
    "MILLIMETRIC_CONTROL": "postgresql://nowhere.invalid/theirs",
    "MILLIMETRIC_HOST": "http://nowhere.invalid",
    "MILLIMETRIC_KEY": "rk_live_of_another_kind",
    "MILLIMETRIC_READ_ONLY": "true",
}
"""Settings of a deployment that is not the demo's."""


@contextmanager
def _start_demo(directory: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    environ = {**os.environ, **POISON, "TMPDIR": str(directory), "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(
        [sys.executable, "-m", "millimetric_mcp", "demo", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        env=environ,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def _read_until(process: "subprocess.Popen[str]", text: str) -> str:
    assert process.stdout is not None
    page = ""
    for line in process.stdout:
        page += line
        if text in line:
            return page
    pytest.fail(f"{text!r} never came:\n{page}")


def _read_rest(process: "subprocess.Popen[str]") -> str:
    rest, _ = process.communicate(timeout=END_TIMEOUT_S)
    return rest


def _wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _assert_nothing_left(directory: Path) -> None:
    assert list(directory.iterdir()) == []
    _wait_for(lambda: str(directory) not in _list_commands())


def _list_commands() -> str:
    """Every process's command line, as any user of this machine may read it."""
    if Path("/proc/self/cmdline").exists():
        return "\n".join(map(_read_command, Path("/proc").glob("[0-9]*/cmdline")))
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return listed.stdout


def _read_command(path: Path) -> str:
    try:
        return path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:  # it has ended
        return ""


def _read_mcp_json(page: str) -> Mapping[str, object]:
    config = json.loads(page[page.index("\n{\n") :])
    server: Mapping[str, object] = config["mcpServers"]["millimetric"]
    return server


def test_it_tells_the_whole_story_and_leaves_nothing(tmp_path: Path) -> None:
    with _start_demo(tmp_path, "--events", "2000") as process:
        page = _read_rest(process)
    assert process.returncode == 0, page
    assert re.search(r"\d+\.\d% paid, \d+\.\d% social", page)
    assert re.search(r"stored through POST /v1/batch in \d+\.\d s: [\d,]+ events/s", page)
    assert re.search(r"\d+ values came back, every one as it was sent", page)
    for question in ("How many sign-ups a day?", "wants to be forgotten", "the server asks: Erase"):
        assert question in page
    assert "\x1b" not in page
    assert max(len(line) for line in page.splitlines()) <= 80
    assert KEY.search(page) is None
    server = _read_mcp_json(page)
    version = subprocess.run(
        [str(server["command"]), *server["args"], "--version"],  # type: ignore[misc]
        capture_output=True,
        text=True,
        check=True,
    )
    assert version.stdout.startswith("millimetric-mcp ")
    _assert_nothing_left(tmp_path)


def test_a_kept_deployment_answers_until_ctrl_c_and_shows_its_keys_on_no_command_line(
    tmp_path: Path,
) -> None:
    with _start_demo(tmp_path, "--events", "1000", "--keep") as process:
        page = _read_until(process, '"MILLIMETRIC_RK"')
        keys = dict(re.findall(r"^(MILLIMETRIC_\w+)=(.+)$", page, re.MULTILINE))
        assert not any(key in _list_commands() for key in KEY.findall(page))
        answer = httpx.get(
            f"{keys['MILLIMETRIC_HOST']}/v1/stats",
            params={"from": "1970-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"},
            headers={"Authorization": f"Bearer {keys['MILLIMETRIC_RK']}"},
        )
        forgotten = re.search(r"Events +1,002 +(\d+) +([\d,]+)", page)
        assert forgotten is not None
        assert answer.json()["rows"] == [{"value": 1002 - int(forgotten[1])}]
        assert keys["MILLIMETRIC_KEY"].startswith("sk_live_")
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        rest = _read_rest(process)
    assert process.returncode == 0, rest
    assert "Traceback" not in rest
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{keys['MILLIMETRIC_HOST']}/health")
    _assert_nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGINT, "the API answers"),
        (signal.SIGTERM, "tools:"),
    ],
    ids=["ctrl-c", "terminated"],
)
def test_an_interrupted_demo_leaves_nothing(
    tmp_path: Path, number: signal.Signals, moment: str
) -> None:
    with _start_demo(tmp_path, "--events", "2000") as process:
        _read_until(process, moment)
        process.send_signal(number)
        rest = _read_rest(process)
    assert process.returncode == 130
    assert "Traceback" not in rest
    _assert_nothing_left(tmp_path)


def test_an_event_that_nobody_sent_is_a_mismatch_and_the_exit_code_says_so(tmp_path: Path) -> None:
    with _start_demo(tmp_path, "--events", "1000") as process:
        page = _read_until(process, "the API answers")
        found = re.search(r"http://[\d.:]+", page)
        assert found is not None
        (first_keys,) = tmp_path.glob("*/data/keys-*.env")
        key = re.search(r"sk_live_\S+", first_keys.read_text())
        assert key is not None
        yesterday = datetime.now(UTC) - timedelta(days=1)
        stored = httpx.post(
            f"{found[0]}/v1/track",
            json={
                "event": "signup",
                "timestamp": yesterday.isoformat(),
                "url": "https://shop.example/?utm_source=nobody&utm_medium=cpc",
            },
            headers={"Authorization": f"Bearer {key[0]}"},
        )
        assert stored.status_code == 202
        page = _read_rest(process)
    assert process.returncode == 1, page
    assert "sources: never sent [('nobody', 'paid')]" in page
    assert "values are not what was sent" in page
    _assert_nothing_left(tmp_path)


@pytest.mark.parametrize("events", ["999", "0", "-5", "100000001"])
def test_too_few_or_too_many_events_are_refused_before_anything_starts(
    tmp_path: Path, events: str
) -> None:
    with _start_demo(tmp_path, f"--events={events}") as process:
        page = _read_rest(process)
    assert process.returncode == 2
    assert page == "millimetric-mcp: --events: must be from 1000 to 100000000\n"
    _assert_nothing_left(tmp_path)


@pytest.mark.parametrize("absent", ["rich", "chdb", "sqlalchemy"])
def test_without_the_api_extra_one_sentence_says_what_to_install(absent: str) -> None:
    program = (
        f"import sys; sys.modules[{absent!r}] = None\n"
        "from millimetric_mcp.cli import main; sys.exit(main(['demo']))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert found.returncode == 2
    assert found.stdout == ""
    assert re.fullmatch(
        rf"millimetric-mcp: 'demo' needs the api extra \({absent}\S* (is )?not installed\): "
        r"pip install 'millimetric-mcp\[api\]'\n",
        found.stderr,
    )
