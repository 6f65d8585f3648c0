"""Backup, restore and check as commands, beside a running API and without one."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

DRILLS = int(os.environ.get("MILLIMETRIC_RESTORE_DRILLS", "5"))


def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MILLIMETRIC_")}
    return subprocess.run(
        [sys.executable, "-m", "millimetric_mcp", *map(str, arguments)],
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
        env=environment | variables,
    )


def back_up(api, directory: Path, *options: str) -> Path:
    done = run("backup", directory, "--data-dir", api.data_dir, "--json", *options)
    assert done.returncode == 0, done.stderr
    return Path(json.loads(done.stdout)["backup"])


def send(api, *event_ids: str, **fields: str) -> None:
    events = [{"event": "x", "event_id": event_id, **fields} for event_id in event_ids]
    assert api.post("/v1/batch", {"events": events}).status_code == 202


def read_events(data_dir: Path) -> set[tuple[str, ...]]:
    """Every stored event as it is on the disk, read by an engine in a separate process."""
    code = (
        "import sys; from pathlib import Path\n"
        "from millimetric_mcp.api.store import ClientPool, embedded_target\n"
        "pool = ClientPool(embedded_target(Path(sys.argv[1])))\n"
        "for row in pool.query('SELECT event_id, toString(cityHash64(*)) FROM events'):\n"
        "    print(*row)\n"
        "pool.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(data_dir / "store")],
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    return {tuple(line.split()) for line in done.stdout.splitlines()}


def list_all(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


@pytest.fixture
def backup(start_api, tmp_path) -> Path:
    """A backup of an API that has stopped, with the events one and two."""
    api = start_api()
    send(api, "one", "two")
    backup = back_up(api, tmp_path / "backups")
    api.terminate()
    return backup


def test_a_backup_of_a_running_api_is_restored_with_its_events_and_keys(start_api, tmp_path):
    api = start_api()
    send(api, "one", "two")
    backup = back_up(api, tmp_path / "backups")
    send(api, "later")
    keys = api.keys
    api.terminate()
    shutil.rmtree(api.data_dir)

    done = run("restore", tmp_path / "backups", "--data-dir", api.data_dir)

    assert (done.returncode, done.stdout) == (0, f"{api.data_dir}: 2 events of {backup}\n")
    again = start_api()
    again.keys = keys
    assert {row["event_id"] for row in again.rows("/v1/query")} == {"one", "two"}
    send(again, "three")


def test_a_backup_of_a_stopped_api_has_what_it_stored(start_api, tmp_path):
    api = start_api()
    send(api, "one")
    api.kill()

    back_up(api, tmp_path / "backups")

    stored = read_events(api.data_dir)
    run("restore", tmp_path / "backups", "--data-dir", tmp_path / "restored")
    assert read_events(tmp_path / "restored") == stored
    assert {event_id for event_id, _ in stored} == {"one"}


def test_a_second_backup_stores_only_what_changed_and_stands_alone(start_api, tmp_path):
    api = start_api()
    send(api, "one")
    first = back_up(api, tmp_path / "backups")
    send(api, "two")
    second = back_up(api, tmp_path / "backups")
    stored = read_all_through(api)

    parts = [path for path in (second / "store").rglob("*") if path.is_file()]
    assert len([path for path in parts if path.stat().st_nlink == 1]) < len(parts) / 2
    shutil.rmtree(first)
    done = run("restore", second, "--data-dir", tmp_path / "restored")
    assert done.returncode == 0, done.stderr
    assert {event_id for event_id, _ in read_events(tmp_path / "restored")} == stored


def read_all_through(api) -> set[object]:
    return {row["event_id"] for row in api.rows("/v1/query", limit=1000)}


def test_every_backup_under_load_has_all_events_acknowledged_before_it(start_api, tmp_path):
    api = start_api()
    acknowledged: list[str] = []
    stop = threading.Event()

    def write(writer: int) -> None:
        number = 0
        while not stop.is_set():
            ids = [f"w{writer}-{number}-{k}" for k in range(5)]
            send(api, *ids)
            acknowledged.extend(ids)
            number += 1

    writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for writer in writers:
        writer.start()
    try:
        made = []
        for _ in range(DRILLS):
            before = set(acknowledged)
            made.append((before, back_up(api, tmp_path / "backups")))
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    api.terminate()
    final = read_events(api.data_dir)

    for before, backup in made:
        restored = tmp_path / f"restored-{backup.name}"
        done = run("restore", backup, "--data-dir", restored)
        assert done.returncode == 0, done.stderr
        events = read_events(restored)
        assert before <= {event_id for event_id, _ in events}
        assert events <= final
        assert len(events) % 5 == 0


def test_the_backup_of_a_running_api_never_has_half_of_a_deletion(start_api, tmp_path):
    api = start_api()
    send(api, *(f"gone-{n}" for n in range(50)), user_id="leaves")
    assert api.post("/v1/forget", {"user_id": "leaves"}).status_code == 200

    backup = back_up(api, tmp_path / "backups")
    keys = api.keys
    api.kill()
    shutil.rmtree(api.data_dir)

    assert run("restore", backup, "--data-dir", api.data_dir).returncode == 0
    again = start_api()
    again.keys = keys
    again.wait_until(lambda: not again.rows("/v1/query"))


def test_a_restore_names_missing_files_and_changes_nothing(backup, tmp_path):
    files = sorted(path for path in (backup / "store").rglob("*") if path.is_file())
    missing = files[::2]
    for path in missing:
        path.unlink()
    target = tmp_path / "restored"

    done = run("restore", backup, "--data-dir", target)

    first, what, *names, last = done.stderr.splitlines()
    assert done.returncode == 1
    assert first == f"millimetric-mcp: The backup {backup} can't be used."
    assert what == f"Missing, {len(missing)} of its {len(files) + 3} files:"
    assert len(missing) > 5
    assert sorted(names) == sorted(f"  {path.relative_to(backup)}" for path in missing)
    assert last.startswith("Nothing was changed. Restore another backup")
    assert not target.exists()


def test_a_restore_names_a_changed_file_and_changes_nothing(backup, tmp_path):
    [part] = (backup / "store" / "data" / "millimetric" / "events").rglob("data.packed")
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)

    done = run("restore", backup, "--data-dir", tmp_path / "restored")

    assert done.returncode == 1
    assert "\nDamaged, 1 of its" in done.stderr
    assert f" files:\n  {part.relative_to(backup)}\n" in done.stderr
    assert not (tmp_path / "restored").exists()


def test_a_restore_into_a_directory_with_data_is_refused(backup, tmp_path):
    data_dir = tmp_path / "data"
    before = list_all(data_dir)

    done = run("restore", backup, "--data-dir", data_dir)

    assert done.returncode == 1
    assert f"{data_dir} is not empty: " in done.stderr
    assert list_all(data_dir) == before


def test_a_backup_without_secrets_is_restored_with_the_old_ones_only(start_api, tmp_path):
    api = start_api()
    send(api, "one")
    backup = back_up(api, tmp_path / "backups", "--without-secrets")
    target = tmp_path / "restored"
    secrets = {name: (api.data_dir / name).read_bytes() for name in ("pepper", "ip-salt")}

    without = run("restore", backup, "--data-dir", target)
    was_created = target.exists()
    target.mkdir()
    for name in secrets:
        (target / name).write_text("x" * 43)
        (target / name).chmod(0o600)
    with_others = run("restore", backup, "--data-dir", target)
    for name, content in secrets.items():
        (target / name).write_bytes(content)
    with_own = run("restore", backup, "--data-dir", target)

    assert not {"pepper", "ip-salt"} & list_all(backup)
    assert (without.returncode, was_created) == (2, False)
    assert "The backup has no pepper" in without.stderr
    assert "MILLIMETRIC_IP_SALT. Nothing was changed." in without.stderr
    assert with_others.returncode == 2
    assert (
        "MILLIMETRIC_PEPPER: this control database was created with another" in with_others.stderr
    )
    assert with_own.returncode == 0, with_own.stderr
    assert {event_id for event_id, _ in read_events(target)} == {"one"}


def test_an_interrupted_restore_is_not_taken_for_a_data_directory(start_api, tmp_path):
    (tmp_path / "data" / ".restoring").mkdir(parents=True)

    api = start_api(wait=False)

    assert api.process.wait(30) == 2
    assert "was interrupted" in api.stderr()


def test_a_backup_that_fails_leaves_nothing_behind_and_says_what_to_do(start_api, tmp_path):
    api = start_api()
    first = back_up(api, tmp_path / "backups")
    (first / "store" / ".backup").unlink()
    before = list_all(tmp_path / "backups")

    done = run("backup", tmp_path / "backups", "--data-dir", api.data_dir)

    assert done.returncode == 1
    assert "choose another directory" in done.stderr
    assert list_all(tmp_path / "backups") == before


@pytest.fixture
def long_name(tmp_path) -> Path:
    """A directory whose path is longer than a socket's may be."""
    directory = tmp_path / ("long-" * 25)
    directory.mkdir()
    return directory


def test_a_data_directory_with_a_long_path_is_backed_up_too(start_api_in, long_name, tmp_path):
    with start_api_in(long_name) as start:
        api = start()
        send(api, "one")

        backup = back_up(api, tmp_path / "backups")

    assert json.loads((backup / "manifest.json").read_text())["tables"]["events"] == 1


def test_only_the_owner_can_read_a_backup_or_ask_the_api(start_api, tmp_path):
    api = start_api()
    backup = back_up(api, tmp_path / "backups")

    private = [backup.parent, backup, *backup.rglob("*"), api.data_dir / "api.sock"]
    assert {path.stat().st_mode & 0o077 for path in private} == {0}


@pytest.mark.parametrize("running", [True, False])
def test_the_check_finds_all_in_order(start_api, running):
    api = start_api()
    send(api, "one", "two")
    if not running:
        api.terminate()

    done = run("check", "--data-dir", api.data_dir)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok    store: 2 events, every file has its checksum.\n" in done.stdout
    assert "WRONG" not in done.stdout


def test_the_check_finds_a_damaged_file_of_the_events(start_api):
    api = start_api()
    send(api, *(f"e{n}" for n in range(100)))
    api.terminate()
    store = api.data_dir / "store"
    part = max(store.rglob("data.packed"), key=lambda path: path.stat().st_size)
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)

    done = run("check", "--data-dir", api.data_dir, "--json")

    findings = {one["subject"]: one for one in json.loads(done.stdout)["findings"]}
    assert done.returncode == 1
    assert "Restore a backup" in findings["store"]["remedy"]


def test_the_check_finds_a_journal_with_damaged_lines(start_api):
    api = start_api()
    send(api, "one")
    assert api.terminate() == 0
    [journal] = (api.data_dir / "store" / "journal").iterdir()
    (journal / "0000000000000001.journal").write_bytes(b"00000000 no list of columns\n")

    again = start_api()
    again.wait_until(lambda: any(journal.glob("*.damaged")))
    done = run("check", "--data-dir", api.data_dir)

    assert done.returncode == 1
    assert "WRONG journal: 1 files have damaged lines" in done.stdout


def test_the_check_finds_events_of_projects_that_the_control_database_lacks(start_api):
    api = start_api()
    send(api, "one", "two")
    api.terminate()
    with sqlite3.connect(api.data_dir / "control.sqlite3") as control:
        control.execute("UPDATE millimetric_projects SET id = id + 1")

    done = run("check", "--data-dir", api.data_dir)

    assert done.returncode == 1
    assert "WRONG projects: 2 events belong to 1 projects" in done.stdout


def test_the_check_finds_deletions_of_another_store(start_api):
    api = start_api()
    send(api, "one", user_id="u")
    api.post("/v1/forget", {"user_id": "u"})
    api.wait_until(lambda: not api.rows("/v1/query"))
    api.terminate()
    with sqlite3.connect(api.data_dir / "control.sqlite3") as control:
        control.execute("UPDATE millimetric_forgets SET store = 'another', completed_at = NULL")

    done = run("check", "--data-dir", api.data_dir)

    assert done.returncode == 1
    assert "WRONG deletions: 1 deletions wait for another store" in done.stdout


def test_the_check_finds_another_pepper(start_api):
    api = start_api()
    api.terminate()
    (api.data_dir / "pepper").write_text("another pepper of enough characters\n")

    done = run("check", "--data-dir", api.data_dir)

    assert done.returncode == 2
    assert "restore the file pepper" in done.stderr


def test_a_backup_of_events_or_keys_on_servers_is_refused_with_what_to_do(tmp_path):
    done = run(
        *("backup", tmp_path / "backups", "--data-dir", tmp_path / "data"),
        *("--store", "clickhouse://db.example:8123/events"),
        *("--control", "postgresql://db.example/control"),
        MILLIMETRIC_PEPPER="a pepper of enough characters for this",
        MILLIMETRIC_IP_SALT="a salt of enough characters for this",
    )

    assert done.returncode == 2
    assert "its own BACKUP" in done.stderr
    assert "pg_dump" in done.stderr
    assert not (tmp_path / "backups").exists()
