"""The API that agents of one machine share: real MCP servers that start it, and its end."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.slow

DEADLINE_S = 60
INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}


class Agent:
    """An MCP client of ``millimetric-mcp --local``."""

    def __init__(self, process):
        self.process = process

    def ask(self, method, **params):
        self.send(method, **params)
        return self.receive()

    def send(self, method, **params):
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def receive(self):
        return json.loads(self.process.stdout.readline())["result"]

    def call(self, tool, **arguments):
        return self.ask("tools/call", name=tool, arguments=arguments)


class Machine:
    """A user's home: its environment, and the commands that run in it."""

    def __init__(self, home):
        own = {k: v for k, v in os.environ.items() if not k.startswith("MILLIMETRIC_")}
        places = {"XDG_DATA_HOME": f"{home}/data", "XDG_CONFIG_HOME": f"{home}/config"}
        self.environ = {**own, **places, "HOME": str(home), "MILLIMETRIC_API_PORT": "0"}
        self.agents = []

    def run(self, *arguments, **variables):
        return subprocess.run(
            [sys.executable, "-m", "millimetric_mcp", *arguments],
            env=self.environ | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_S,
            stdin=subprocess.DEVNULL,
        )

    def local(self, action):
        return json.loads(self.run("local", action, "--json").stdout)

    def start_agent(self, **variables):
        process = subprocess.Popen(
            [sys.executable, "-m", "millimetric_mcp", "--local"],
            env=self.environ | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.agents.append(Agent(process))
        self.agents[-1].send("initialize", **INITIALIZE)
        return self.agents[-1]

    def connect(self, **variables):
        agent = self.start_agent(**variables)
        assert agent.receive()["serverInfo"]["name"] == "millimetric"
        return agent

    def keys(self):
        path = Path(self.local("path")["keys_file"])
        assert path.stat().st_mode & 0o777 == 0o600
        lines = (line.partition("=") for line in path.read_text().splitlines())
        return {name: value for name, is_key, value in lines if is_key}

    def starts(self):
        log = Path(self.local("path")["log_file"]).read_text()
        return log.count("millimetric-mcp api: http")

    def wait_for_end(self, pid):
        deadline_s = time.monotonic() + DEADLINE_S
        while self.local("status")["pid"] == pid:
            assert time.monotonic() < deadline_s
            time.sleep(0.1)


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    yield machine
    for agent in machine.agents:
        agent.process.kill()
        agent.process.communicate()
    machine.run("local", "stop")


def test_ten_agents_that_start_at_once_share_one_api(machine):
    agents = [machine.start_agent() for _ in range(10)]
    names = [agent.receive()["serverInfo"]["name"] for agent in agents]
    agents[0].call("track_event", event="signup", anonymous_id="v1")
    answers = [agent.call("stats", **{"from": "7d"}) for agent in agents]

    assert names == ["millimetric"] * 10
    assert [answer["structuredContent"]["total"] for answer in answers] == [1] * 10
    assert machine.starts() == 1


def test_the_api_outlives_the_agent_that_started_it(machine):
    first = machine.connect()
    pid = machine.local("status")["pid"]
    first.process.kill()
    first.process.communicate()

    assert machine.local("status")["pid"] == pid
    assert os.getpgid(pid) != os.getpgid(0)


def test_an_agent_starts_the_api_again_after_it_was_killed(machine):
    agent = machine.connect()
    agent.call("track_event", event="signup", anonymous_id="v1")
    pid, keys = machine.local("status")["pid"], machine.keys()
    os.kill(pid, signal.SIGKILL)
    machine.wait_for_end(pid)
    answer = agent.call("stats", **{"from": "7d"})

    assert answer["structuredContent"]["total"] == 1
    assert machine.local("status")["pid"] != pid
    assert machine.keys() == keys


def test_the_api_stops_when_no_request_came_for_the_idle_time(machine):
    machine.connect(MILLIMETRIC_IDLE_STOP_S="2")
    status, keys = machine.local("status"), machine.keys()
    headers = {"Authorization": f"Bearer {keys['MILLIMETRIC_KEY']}"}
    for _ in range(12):
        sent = httpx.post(f"{status['url']}/v1/track", json={"event": "tick"}, headers=headers)
        assert sent.status_code == 202
        time.sleep(0.3)
    # Looking at the status does not keep it alive.
    machine.wait_for_end(status["pid"])

    assert machine.local("status")["running"] is False


def test_nothing_is_sent_to_the_url_that_a_dead_api_left(machine):
    data_dir = Path(machine.local("path")["data_dir"])
    data_dir.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.setblocking(False)
        port = other.getsockname()[1]
        file = data_dir / "api.json"
        file.write_text(json.dumps({"pid": os.getpid(), "url": f"http://127.0.0.1:{port}"}))
        machine.connect()

        with pytest.raises(BlockingIOError):
            other.accept()
    assert machine.local("status")["healthy"] is True


def test_new_keys_are_created_when_the_data_directory_is_a_new_one(machine):
    machine.connect()
    before = machine.keys()
    machine.run("local", "stop")
    shutil.rmtree(machine.local("path")["data_dir"])
    agent = machine.connect()

    assert machine.keys()["MILLIMETRIC_RK"] != before["MILLIMETRIC_RK"]
    assert agent.call("stats", **{"from": "7d"})["structuredContent"]["total"] == 0
    assert not list(Path(machine.local("path")["data_dir"]).glob("*.env"))


def test_new_keys_are_created_when_they_are_lost_and_the_database_is_of_an_older_version(machine):
    machine.connect()
    machine.run("local", "stop")
    places = machine.local("path")
    Path(places["keys_file"]).unlink()
    with closing(sqlite3.connect(Path(places["data_dir"], "control.sqlite3"))) as database:
        database.execute("ALTER TABLE millimetric_projects DROP COLUMN timezone")
        database.execute("DELETE FROM millimetric_schema WHERE version >= 8")
        database.commit()

    answer = machine.connect().call("stats", **{"from": "7d"})

    assert answer["structuredContent"]["total"] == 0


def test_the_keys_stand_in_no_command_line(machine):
    machine.connect()
    listed = subprocess.run(["ps", "-axww", "-o", "args"], capture_output=True, check=True)

    assert b"millimetric_mcp" in listed.stdout or b"millimetric-mcp" in listed.stdout
    for key in machine.keys().values():
        assert key.encode() not in listed.stdout


def test_status_and_stop_say_what_they_found(machine):
    before = machine.run("local", "status")
    machine.connect()
    running = machine.run("local", "status")
    stopped = [machine.run("local", "stop").stdout for _ in range(2)]

    assert (before.returncode, running.returncode) == (1, 0)
    assert before.stdout.startswith("The local API does not run.")
    assert running.stdout.startswith("The local API runs: http://127.0.0.1:")
    assert stopped == ["Stopped the local API.\n", "The local API does not run.\n"]


def test_the_end_of_the_log_is_shown_when_the_api_does_not_start(machine):
    done = machine.run("--local", MILLIMETRIC_STORE_THREADS="many")

    assert done.returncode == 1
    assert "The local API did not start." in done.stderr
    assert "MILLIMETRIC_STORE_THREADS" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("variable", ["MILLIMETRIC_RK", "MILLIMETRIC_KEY"])
def test_a_key_together_with_local_is_refused(machine, variable):
    kind = {"MILLIMETRIC_RK": "rk", "MILLIMETRIC_KEY": "sk"}[variable]
    key = f"{kind}_live_abcdefgh_{'s' * 32}"
    by_option = machine.run("--local", **{variable: key})
    by_variable = machine.run("serve", MILLIMETRIC_HOST="local", **{variable: key})

    assert by_option.returncode == by_variable.returncode == 2
    assert f"Remove {variable}, or remove --local" in by_option.stderr
    assert by_variable.stderr == by_option.stderr
    assert not Path(machine.local("path")["data_dir"]).exists()


def test_local_names_the_extra_its_command_and_its_size_when_it_is_missing(machine):
    code = (
        "import sys; sys.modules['chdb'] = None; from millimetric_mcp.cli import main;"
        "sys.exit(main(['--local']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=machine.environ,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert "--local needs the api extra (about 1 GB). Install it with: pip install " in done.stderr
    assert "[api]" in done.stderr


def test_open_starts_the_api_and_links_to_its_page(machine):
    done = machine.run("open", "--local", "--print")
    page, _, code = done.stdout.strip().partition("#code=")
    headers = {"Authorization": f"Bearer {code}"}

    assert done.returncode == 0, done.stderr
    assert page == machine.local("status")["url"] + "/"
    key = httpx.post(f"{page}page/sign-in", headers=headers).json()["key"]
    assert key == machine.keys()["MILLIMETRIC_RK"]


def test_the_command_that_takes_a_local_import_back_works_as_it_is_printed(machine, tmp_path):
    events = tmp_path / "events.ndjson"
    events.write_text('{"event":"a","timestamp":"2026-05-16T19:00:00Z"}\n')
    printed = machine.run("import", "--local", str(events)).stdout.rpartition("millimetric-mcp ")[2]
    refused = machine.run("import", "--local", str(events), "--site", "https://shop.example")

    assert f"millimetric-mcp {printed}" in refused.stderr
    assert machine.run(*printed.split()).stdout == "1 events were deleted\n"
