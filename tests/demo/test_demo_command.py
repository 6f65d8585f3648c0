"""``millimetric-mcp demo`` as a user runs it, in child processes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from millimetric_mcp.cli.demo import run
from millimetric_mcp.errors import SettingsError

pytestmark = pytest.mark.slow

END_TIMEOUT_S = 120
KEY = re.compile(r"(?:sk|rk)_live_[A-Za-z0-9]{8}_[A-Za-z0-9_-]{32,}")
USERS_SETTINGS = {
    "MILLIMETRIC_STORE": "clickhouse://nowhere.invalid:1/theirs",
    "MILLIMETRIC_CONTROL": "postgresql://nowhere.invalid/theirs",
    "MILLIMETRIC_HOST": "http://nowhere.invalid",
    "MILLIMETRIC_KEY": "rk_live_of_another_kind",
    "MILLIMETRIC_READ_ONLY": "true",
}
"""The demo must use none of these."""

Process = subprocess.Popen[str]


@contextmanager
def start_demo(directory: Path, *options: str) -> Iterator[Process]:
    environ = {**os.environ, **USERS_SETTINGS, "TMPDIR": str(directory)}
    with subprocess.Popen(
        [sys.executable, "-m", "millimetric_mcp", "demo", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        env=environ | {"PYTHONIOENCODING": "utf-8"},
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def read_until(process: Process, text: str) -> str:
    assert process.stdout is not None
    output = ""
    for line in process.stdout:
        output += line
        if text in line:
            return output
    pytest.fail(f"{text!r} did not come:\n{output}")


def read_rest(process: Process) -> str:
    rest, _ = process.communicate(timeout=END_TIMEOUT_S)
    return rest


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def assert_nothing_left(directory: Path) -> None:
    assert list(directory.iterdir()) == []
    wait_for(lambda: str(directory) not in list_commands())


def list_commands() -> str:
    """Return the command line of every process."""
    if Path("/proc/self/cmdline").exists():
        return "\n".join(map(read_command, Path("/proc").glob("[0-9]*/cmdline")))
    listed = subprocess.run(["ps", "-ewwo", "args"], capture_output=True, text=True, check=True)
    return listed.stdout


def read_command(path: Path) -> str:
    try:
        return path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:  # the process has ended
        return ""


def read_mcp_json(output: str) -> dict[str, Any]:
    config = json.JSONDecoder().raw_decode(output[output.index("\n{\n") + 1 :])[0]
    server: dict[str, Any] = config["mcpServers"]["millimetric"]
    return server


def find_settings(output: str) -> dict[str, str]:
    return dict(re.findall(r"^(MILLIMETRIC_\w+)=(.+)$", output, re.MULTILINE))


def test_demo_checks_every_value_and_keeps_the_api_until_ctrl_c(tmp_path: Path) -> None:
    with start_demo(tmp_path, "--events", "1000", "--keep") as process:
        output = read_until(process, '"MILLIMETRIC_RK"')
        assert re.search(r"\d+\.\d% paid, \d+\.\d% social", output)
        assert re.search(r"stored through POST /v1/batch in \d+\.\d s: [\d,]+ events/s", output)
        assert re.search(r"all \d{3} values are correct \(\d+ s\)", output)
        for text in ("How many people sign up each day?", "The server asks: ", "has no events"):
            assert text in output
        commands = list_commands()
        assert str(tmp_path) in commands
        assert not any(key in commands for key in KEY.findall(output))
        settings = find_settings(output)
        assert settings["MILLIMETRIC_KEY"].startswith("sk_live_")
        page = re.search(r"^Page +(\S+)", output, re.MULTILINE)
        assert page is not None
        assert "Paste a read key" in httpx.get(page[1]).text
        response = httpx.get(
            f"{settings['MILLIMETRIC_HOST']}/v1/stats",
            params={"from": "1970-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"},
            headers={"Authorization": f"Bearer {settings['MILLIMETRIC_RK']}"},
        )
        counts = re.search(r"(\d+) events are deleted, ([\d,]+) are left", output)
        assert counts is not None
        deleted, left = int(counts[1]), int(counts[2].replace(",", ""))
        assert response.json()["rows"] == [{"value": left}]
        assert deleted + left == 1002
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        rest = read_rest(process)
    assert process.returncode == 0, rest
    assert "Traceback" not in rest
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{settings['MILLIMETRIC_HOST']}/health")
    assert_nothing_left(tmp_path)


def test_demo_finds_an_event_that_it_did_not_send(tmp_path: Path) -> None:
    with start_demo(tmp_path, "--events", "1000") as process:
        output = read_until(process, "the API answers")
        url = re.search(r"http://[\d.:]+", output)
        assert url is not None
        (first_key,) = tmp_path.glob("*/keys/default-sk-*.env")
        key = re.search(r"sk_live_\S+", first_key.read_text())
        assert key is not None
        yesterday = datetime.now(UTC) - timedelta(days=1)
        response = httpx.post(
            f"{url[0]}/v1/track",
            json={
                "event": "signup",
                "timestamp": yesterday.isoformat(),
                "url": "https://shop.example/?utm_source=unexpected&utm_medium=cpc",
            },
            headers={"Authorization": f"Bearer {key[0]}"},
        )
        assert response.status_code == 202
        output += read_rest(process)
    assert process.returncode == 1, output
    assert "events (unexpected / paid): got 1, expected nothing" in output
    assert re.search(r"\d+ of \d{3} values are wrong:", output)
    assert "\x1b" not in output
    assert max(len(line) for line in output.splitlines()) <= 80
    assert KEY.search(output) is None
    server = read_mcp_json(output)
    version = subprocess.run(
        [server["command"], *server["args"], "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert version.stdout.startswith("millimetric-mcp ")
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("number", "moment"),
    [(signal.SIGINT, "the API answers"), (signal.SIGTERM, "tools:")],
    ids=["ctrl-c", "sigterm"],
)
def test_demo_leaves_nothing_when_interrupted(
    tmp_path: Path, number: signal.Signals, moment: str
) -> None:
    with start_demo(tmp_path, "--events", "1000") as process:
        read_until(process, moment)
        process.send_signal(number)
        rest = read_rest(process)
    assert process.returncode == 130
    assert "Traceback" not in rest
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("events", [999, -5, 100_000_001])
def test_demo_refuses_a_number_of_events_out_of_range(
    events: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SettingsError, match="--events: use 1000 to 100000000"):
        run(Namespace(events=events, keep=False), {})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("absent", ["rich", "chdb", "sqlalchemy"])
def test_demo_says_what_to_install_without_the_api_extra(absent: str) -> None:
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
        rf"millimetric-mcp: 'demo' needs the api extra \({absent}\S* (is )?not installed; it "
        r"takes about 1 GB\). Install it with: pip install '.*\[api\]'\n",
        found.stderr,
    )
