"""What a restore refuses, before it needs the engine."""

import os
from contextlib import closing
from datetime import UTC, datetime

import pytest

from millimetric_mcp.api import backups
from millimetric_mcp.api.backups import Manifest
from millimetric_mcp.api.control import open_control
from millimetric_mcp.cli import main

PEPPER = "a pepper of enough characters for this"
SALT = "a salt of enough characters for this"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in [name for name in os.environ if name.startswith("MILLIMETRIC_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def backup(tmp_path):
    """A backup with 30 files of a store, and without secrets."""
    backup = tmp_path / "backup"
    (backup / "store").mkdir(parents=True)
    for number in range(30):
        (backup / "store" / f"{number:02}").write_text("as it was written")
    dsn = f"sqlite:///{backup / 'control.sqlite3'}"
    with closing(open_control(dsn, pepper=PEPPER.encode())):
        pass
    for path in backup.glob("control.sqlite3-*"):
        path.unlink()
    manifest = Manifest(
        millimetric_mcp="0.1.0",
        created_at=datetime(2026, 5, 16, tzinfo=UTC),
        store_id="a",
        schema_version="0001",
        tables={"events": 0},
        files=backups.list_files(backup, base=None),
    )
    (backup / backups.MANIFEST).write_text(manifest.model_dump_json())
    return backup


@pytest.fixture
def restore(backup, tmp_path, capsys):
    """Restores into a directory two levels down; returns the exit code and what was said."""

    def run():
        code = main(["restore", str(backup), "--data-dir", str(tmp_path / "new" / "data")])
        return code, capsys.readouterr().err

    return run


def test_a_restore_without_its_pepper_creates_nothing(restore, tmp_path):
    code, said = restore()

    assert code == 2
    assert (
        f"The backup has no pepper. Copy this file of the old data directory to {tmp_path}" in said
    )
    assert said.count("Nothing was changed.") == 2
    assert not (tmp_path / "new").exists()


def test_a_restore_with_another_pepper_leaves_nothing_behind(restore, tmp_path, monkeypatch):
    monkeypatch.setenv("MILLIMETRIC_PEPPER", "another " + PEPPER)
    monkeypatch.setenv("MILLIMETRIC_IP_SALT", SALT)

    code, said = restore()

    assert code == 2
    assert "MILLIMETRIC_PEPPER: this control database was created with another value." in said
    assert not (tmp_path / "new").exists()


def test_a_restore_that_fails_keeps_a_directory_that_was_there(restore, tmp_path, monkeypatch):
    (tmp_path / "new" / "data").mkdir(parents=True)
    monkeypatch.setenv("MILLIMETRIC_PEPPER", "another " + PEPPER)
    monkeypatch.setenv("MILLIMETRIC_IP_SALT", SALT)

    assert restore()[0] == 2
    assert list((tmp_path / "new" / "data").iterdir()) == []


def test_a_restore_after_an_interrupted_one_says_so(restore, tmp_path):
    (tmp_path / "new" / "data" / ".restoring").mkdir(parents=True)

    code, said = restore()

    assert code == 2
    assert "was interrupted. Delete what is in" in said


def test_a_restore_names_every_missing_and_damaged_file(restore, backup, tmp_path):
    for number in range(0, 30, 2):
        (backup / "store" / f"{number:02}").unlink()
    (backup / "store" / "07").write_text("as it was wrItten")

    code, said = restore()

    assert code == 1
    assert said.splitlines() == [
        f"millimetric-mcp: The backup {backup} can't be used.",
        "Missing, 15 of its 31 files:",
        *(f"  store/{number:02}" for number in range(0, 30, 2)),
        "Damaged, 1 of its 31 files:",
        "  store/07",
        "Nothing was changed. Restore another backup, or another copy of this one.",
    ]
    assert not (tmp_path / "new").exists()
