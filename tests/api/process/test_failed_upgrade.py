"""After a failed upgrade, the version before opens the data directory as the error says.

The newer version is a copy of this one, with a step more for each database.
"""

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import millimetric_mcp

pytestmark = pytest.mark.slow

CONTROL_STEP = """

def _add_later(connection: sa.Connection) -> None:
    connection.execute(sa.text("CREATE TABLE later (x INTEGER)"))
    connection.execute(sa.text("{statement}"))


_MIGRATIONS += (_add_later,)
"""
WORKS, FAILS = "SELECT 1", "ALTER TABLE nothing DROP COLUMN x"


@dataclass
class Newer:
    """The newer version's code, and the data directory that it runs on."""

    directory: Path
    data_dir: Path

    def __post_init__(self) -> None:
        package = Path(millimetric_mcp.__file__).parent
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(package, self.directory / package.name, ignore=ignore)
        schema = self._api / "control" / "schema.py"
        self._schema = schema.read_text()

    @property
    def _api(self) -> Path:
        return self.directory / "millimetric_mcp" / "api"

    def set_steps(self, *, store: str, control: str) -> None:
        step = self._api / "store" / "sql" / "migrations" / "9999_later.sql"
        step.write_text(store + ";\n")
        schema = self._api / "control" / "schema.py"
        schema.write_text(self._schema + CONTROL_STEP.format(statement=control))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        options = ("--data-dir", str(self.data_dir))
        return subprocess.run(
            [sys.executable, "-m", "millimetric_mcp", *arguments, *options],
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def has_upgraded_control(self) -> bool:
        with sqlite3.connect(self.data_dir / "control.sqlite3") as connection:
            found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'later'")
            return bool(found.fetchall())


@pytest.fixture
def newer(tmp_path) -> Newer:
    return Newer(tmp_path / "newer", tmp_path / "data")


@pytest.fixture
def started(start_api) -> dict[str, str]:
    """The keys of a deployment that this version has left with one event."""
    api = start_api()
    assert api.post("/v1/track", {"event": "x", "user_id": "u"}).status_code == 202
    assert api.terminate() == 0
    return api.keys


def go_back(error: str) -> None:
    """Do what the error says, but for the installation."""
    found = re.search(
        r"delete everything else in (\S+), and move the content of (\S+) there", error
    )
    assert found, error
    store, copy = map(Path, found.groups())
    for path in store.iterdir():
        if path != copy:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in list(copy.iterdir()):
        path.rename(store / path.name)


@pytest.mark.parametrize("failing", ["store", "control"])
def test_the_version_before_starts_after_a_failed_upgrade(started, newer, start_api, failing):
    newer.set_steps(**{"store": WORKS, "control": WORKS, failing: FAILS})

    failed = [
        newer.run(*command)
        for command in (["api", "--port", "0"], ["check"], ["migrate"], ["api", "--port", "0"])
    ]
    listed = newer.run("keys", "list")

    assert [one.returncode for one in failed] == [1] * 4
    for one in failed:
        assert "the upgrade failed: " in one.stderr
        assert "the database of projects and keys was not changed" in one.stderr
        assert "Traceback" not in one.stderr
    assert listed.returncode == 2
    assert "an older millimetric-mcp created this database. Start the API" in listed.stderr
    go_back(failed[-1].stderr)
    api = start_api()
    assert [row["user_id"] for row in api.rows("/v1/query")] == ["u"]
    assert api.post("/v1/track", {"event": "y"}).status_code == 202
    assert len(api.rows("/v1/query")) == 2
    assert not list((newer.data_dir / "store").glob("before-upgrade*"))


@pytest.mark.parametrize("command", ["check", "migrate"])
def test_an_upgrade_that_succeeds_at_last_upgrades_both_and_deletes_the_copy(
    started, newer, command
):
    newer.set_steps(store=WORKS, control=FAILS)
    assert newer.run(command).returncode == 1
    assert not newer.has_upgraded_control()
    newer.set_steps(store=WORKS, control=WORKS)

    done = newer.run(command)

    assert done.returncode == 0, done.stderr
    assert newer.has_upgraded_control()
    assert not list((newer.data_dir / "store").glob("before-upgrade*"))
    assert len(json.loads(newer.run("keys", "list", "--json").stdout)) == 3


def test_the_version_before_starts_on_what_a_newer_one_has_restored(started, newer, start_api):
    newer.set_steps(store=WORKS, control=WORKS)
    backups = newer.directory / "backups"
    backup = [sys.executable, "-m", "millimetric_mcp", "backup", backups]
    subprocess.run([*backup, "--data-dir", newer.data_dir], check=True, timeout=120)
    shutil.rmtree(newer.data_dir)

    restored = newer.run("restore", str(backups))

    assert restored.returncode == 0, restored.stderr
    api = start_api()
    assert [row["user_id"] for row in api.rows("/v1/query")] == ["u"]
