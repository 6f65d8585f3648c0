"""Every shell block of docs/operate.md, run in order in a directory that stands for ``/``.

Replaced are only what would change the machine or needs the network: the user, the package manager,
the clone, the installation of the package, and the service manager, which starts and stops what the
units of deploy/ say. As on Debian, ``venv`` works once its package is installed.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[3]
PAGE = (REPOSITORY / "docs" / "operate.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.S)
TABLE = re.findall(r"^\| `(millimetric-mcp (?:projects|keys) [^`]*)` \|", PAGE, re.M)
UNIT = "etc/systemd/system/millimetric.service"

STANDS_FOR = """\
#!{python}
import os, re, signal, subprocess, sys, time
from pathlib import Path
root, name, args = Path({root!r}), Path(sys.argv[0]).name, sys.argv[1:]

def read_unit(key):
    return re.findall(rf"^{{key}}=(.*)$", (root / "{unit}").read_text(), re.M)

def start():
    settings = dict(line.split("=", 1) for line in read_unit("Environment"))
    command = f"exec {{read_unit('ExecStart')[0]}} --port {port}".replace("/opt", f"{{root}}/opt")
    for name in ("MILLIMETRIC_DATA_DIR", "MILLIMETRIC_KEYS_DIR"):
        settings[name] = str(root) + settings[name]
    settings["MILLIMETRIC_CONTROL"] = ""
    with (root / "log").open("ab") as log:
        child = subprocess.Popen(["sh", "-c", command], env=os.environ | settings,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    (root / "pid").write_text(str(child.pid))

def stop():
    pid = int((root / "pid").read_text())
    os.kill(pid, signal.SIGTERM)
    while Path(f"/proc/{{pid}}/cmdline").exists() and Path(f"/proc/{{pid}}/cmdline").read_text():
        time.sleep(0.05)

def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)

if name == "sudo":
    args = args[2:] if args[0] == "-u" else args
    os.execvp(args[0], args)
elif name == "install":
    kept = [a for a, before in zip(args, ["", *args]) if not {{a, before}} & {{"-o", "-g"}}]
    Path(kept[-1]).parent.mkdir(parents=True, exist_ok=True)
    if kept[-1].endswith("/"):
        Path(kept[-1]).mkdir(parents=True, exist_ok=True)
    os.execv("/usr/bin/install", ["install", *kept])
elif name == "apt-get":
    with (root / "packages").open("a") as packages:
        packages.write(" ".join(args[1:]) + "\\n")
elif name == "git" and args[0] == "clone":
    clone = Path(Path(args[1]).name)
    clone.mkdir()
    (clone / "deploy").symlink_to({repository!r} + "/deploy")
elif name == "git" and args[0] == "pull":
    sys.exit(0 if Path("deploy").exists() else "this is no clone")
elif name == "python3" and args[:2] == ["-m", "venv"]:
    if "python3-venv" not in (root / "packages").read_text().split():
        sys.exit("ensurepip is not available. Install the python3-venv package.")
    program(Path(args[2], "bin/pip"), "#!/bin/sh\\nexit 0\\n")
    program(Path(args[2], "bin/millimetric-mcp"),
        "#!/bin/sh\\nexec {python} -m millimetric_mcp \\"$@\\"\\n")
elif name == "systemctl":
    if args[0] in {{"stop", "restart"}}:
        stop()
    if args[0] in {{"start", "restart"}} or args[:2] == ["enable", "--now"]:
        start()
elif name != "useradd":
    sys.exit(f"what does {{name}} {{args}} do?")
"""
RUN_SQL = """
import json, sys
from chdb.session import Session

session = Session(sys.argv[1])
session.query("SYSTEM FLUSH LOGS")
for statement in filter(None, map(str.strip, sys.stdin.read().split(";"))):
    session.query(statement)
logs = "SELECT name, create_table_query FROM system.tables WHERE name IN ('query_log', 'trace_log')"
lines = str(session.query(logs, "JSONCompactEachRow")).splitlines()
print(json.dumps(dict(map(json.loads, lines))))
"""
REPLACED = ("sudo", "install", "python3", "systemctl", "useradd", "apt-get", "git")


class Server:
    """A directory that stands for ``/``, and commands as they are on the page."""

    def __init__(self, root: Path) -> None:
        self.root = self.cwd = root
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        text = STANDS_FOR.format(
            python=sys.executable,
            repository=str(REPOSITORY),
            root=str(root),
            port=self.port,
            unit=UNIT,
        )
        for name in REPLACED:
            program = root / "replaced" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(text)
            program.chmod(0o755)
        for directory in ("var/lib", "var/backups", "etc/caddy", "opt"):
            (root / directory).mkdir(parents=True)

    def place(self, command: str) -> str:
        moved = re.sub(r"(?<![\w/])/(var|opt|etc)/", rf"{self.root}/\1/", command)
        return moved.replace("127.0.0.1:8787", f"127.0.0.1:{self.port}")

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command where the one before has left off, as in a shell."""
        end = self.root / "cwd"
        done = subprocess.run(
            ["sh", "-euc", f"{self.place(command)}\npwd > {end}"],
            cwd=self.cwd,
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("MILLIMETRIC_")},
                "PATH": f"{self.root}/replaced:{os.environ['PATH']}",
                "PYTHONPATH": str(REPOSITORY),
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode == 0:
            self.cwd = Path(end.read_text().removesuffix("\n"))
        return done

    def list_keys(self) -> list[dict[str, object]]:
        done = self.run(
            "/opt/millimetric/bin/millimetric-mcp keys list --json --data-dir /var/lib/millimetric"
        )
        return json.loads(done.stdout)


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    yield server
    if (tmp_path / "pid").exists():
        server.run("systemctl stop millimetric.service")


def test_every_command_of_the_page_succeeds_in_order(server):
    for block in BLOCKS:
        command = block
        if "AbCd1234" in block:
            command = block.replace("AbCd1234", str(server.list_keys()[0]["prefix"]))
        done = server.run(command)
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        if "/health" in block:
            assert '"status":"ok"' in done.stdout
        if "/metrics" in block:
            assert "\nmillimetric_store_up 1.0\n" in done.stdout
        if "--kind pk" in block:
            tag = done.stdout.splitlines()[-1]
            assert tag.startswith('<script async src="https://analytics.shop.example/v1/a.js"')
        if "millimetric-mcp check" in block:
            assert "WRONG" not in done.stdout
        if "restore /var/backups/millimetric/before-upgrade" in block:
            assert {key["project"] for key in server.list_keys()} == {"default", "shop"}


def test_the_page_names_the_oldest_python_that_the_package_allows():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=")
    assert f"Python {oldest} or newer" in " ".join(PAGE.split())


def test_the_nightly_backup_writes_a_month_and_deletes_old_ones(server):
    first_health = next(n for n, block in enumerate(BLOCKS) if "/health" in block)
    for block in BLOCKS[: first_health + 1]:
        assert server.run(block).returncode == 0
    backups = server.root / "var" / "backups" / "millimetric"
    for name, age_days in (("2001-01", 100), ("2001-02", 10), ("by-hand", 100)):
        (backups / name).mkdir()
        os.utime(backups / name, (0, backups.stat().st_mtime - age_days * 86_400))
    unit = (REPOSITORY / "deploy" / "millimetric-backup.service").read_text()

    for command in re.findall(r"^ExecStart=(.*)$", unit, re.M):
        plain = command.replace("$$", "$").replace("%%", "%")
        done = server.run(f"export MILLIMETRIC_DATA_DIR=/var/lib/millimetric\n{plain}")
        assert done.returncode == 0, done.stderr

    found = sorted(path.name for path in backups.iterdir())
    assert found[:1] == ["2001-02"]
    assert found[2:] == ["by-hand"]
    assert re.fullmatch(r"20\d\d-\d\d", found[1])
    assert list((backups / found[1]).glob("*/manifest.json"))


def test_every_command_of_the_table_of_projects_and_keys_succeeds(server):
    def run(command: str) -> str:
        settings = "MILLIMETRIC_DATA_DIR=/var/lib/data MILLIMETRIC_KEYS_DIR=/var/lib/keys"
        program = f"{settings} {sys.executable} -m millimetric_mcp"
        done = server.run(command.replace("millimetric-mcp", program))
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    run("millimetric-mcp keys create --kind rk")
    run("millimetric-mcp migrate")
    for command in TABLE:
        if "set shop --origin" in command:
            run("millimetric-mcp keys create --kind pk --project shop --origin https://a.example")
        keys = json.loads(run("millimetric-mcp keys list --json"))
        run(command.replace("AbCd1234", keys[-1]["prefix"]) + " --yes" * ("shop" in command))
        if "rename" in command:  # the next ones are about the former name
            run("millimetric-mcp projects rename shop-eu shop --yes")
    assert len(TABLE) > 9


def test_the_page_limits_the_logs_of_a_real_engine(tmp_path):
    logs = ("query_log", "trace_log")
    tables = "".join(
        f"<{log}><database>system</database><table>{log}</table></{log}>" for log in logs
    )
    (tmp_path / "config.xml").write_text(f"<clickhouse>{tables}</clickhouse>")
    done = subprocess.run(
        [sys.executable, "-c", RUN_SQL, f"{tmp_path}/store?config-file={tmp_path}/config.xml"],
        input=re.search(r"```sql\n(.*?)```", PAGE, re.S)[1],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    tables = json.loads(done.stdout)
    assert set(tables) == set(logs)
    for statement in tables.values():
        assert "TTL event_date + toIntervalDay(7)" in statement
