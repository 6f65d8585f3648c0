"""The control database locked by another process, then overwritten with noise."""

import os
import shutil
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tests.torture.harness import at_most, none, run_api

LOCK_TIMEOUT_S = 12
CALLERS_WAIT_S = 20


def measure(ask):
    began_s = time.monotonic()
    answer = ask()
    return answer.status_code, time.monotonic() - began_s


def forget(api, number):
    return api.ask("POST", "/v1/forget", json={"user_id": f"u{number}"})


def torture_locked(api):
    """Return the checks of a database that another process has locked."""
    lock = sqlite3.connect(api.data_dir / "control.sqlite3", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    try:
        written = [api.track("locked") for _ in range(20)]
        read = [api.read("/v1/sources").status_code for _ in range(5)]
        status, took_s = measure(partial(forget, api, 0))
        with ThreadPoolExecutor(20) as callers:
            together = list(callers.map(lambda n: measure(partial(forget, api, n)), range(20)))
        ready = api.ask("GET", "/health/ready").status_code
        ended_s = api.end()
    finally:
        lock.close()
    return [
        none(
            "events refused while the control database is locked", len(written) - written.count(202)
        ),
        none("reads refused while the control database is locked", len(read) - read.count(200)),
        none(
            "deletions acknowledged that can't be noted",
            [status, *(status for status, _ in together)].count(200),
        ),
        none("answers that call a locked control database ready", int(ready != 503)),
        at_most("answer to a deletion while it is locked", took_s, LOCK_TIMEOUT_S, "s"),
        at_most(
            "slowest answer to 20 deletions at once while it is locked",
            max(took_s for _, took_s in together),
            CALLERS_WAIT_S,
            "s",
        ),
        at_most("time to end after SIGTERM while it is locked", ended_s, LOCK_TIMEOUT_S, "s"),
    ]


def torture_corrupt(api):
    """Return the checks of a database of noise under the running API, and the file as it was."""
    file = api.data_dir / "control.sqlite3"
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    shutil.copy(file, api.data_dir.with_name("control.copy"))
    with file.open("r+b") as damaged:
        damaged.write(os.urandom(file.stat().st_size))
    time.sleep(6)  # longer than keys are cached
    asked = [measure(lambda: api.ask("POST", "/v1/track", json={"event": "x"})) for _ in range(20)]
    ready = api.ask("GET", "/health/ready").status_code
    return check_corrupt(asked, ready)


def check_corrupt(asked, ready):
    """Return the checks of the answers, each with its seconds, and of what readiness said."""
    return [
        none(
            "requests let in by a corrupt control database",
            sum(status < 400 for status, _ in asked),
        ),
        none(
            "requests that a corrupt control database refuses with another status than 503",
            sum(status >= 400 and status != 503 for status, _ in asked),
        ),
        at_most("slowest answer with a corrupt control database", max(s for _, s in asked), 2, "s"),
        none(
            "answers that call a control database ready that refuses events",
            int(ready != 503 and any(status == 503 for status, _ in asked)),
        ),
    ]


def start_refused(data_dir):
    """Return whether a start on the damaged file is refused with a sentence."""
    try:
        with run_api(data_dir):
            return False
    except RuntimeError as error:
        return "Traceback" not in str(error)
    except Exception as error:
        return "control" in str(error).lower() or "database" in str(error).lower()


def run(scale, directory):
    data_dir = directory / "data"
    with run_api(data_dir) as api:
        checks = torture_locked(api)
    with run_api(data_dir) as api:
        checks += torture_corrupt(api)
        unexpected = api.count_unexpected()  # both write to one log
    started = not start_refused(data_dir)
    for suffix in ("-wal", "-shm"):
        (data_dir / f"control.sqlite3{suffix}").unlink(missing_ok=True)
    shutil.copy(data_dir.with_name("control.copy"), data_dir / "control.sqlite3")
    with run_api(data_dir) as api:
        missing = 20 - api.count(event="locked")
    return [
        *checks,
        none("starts on a corrupt control database", int(started)),
        none("acknowledged events missing after the file was put back", missing),
        none("unexpected errors of the control database", unexpected),
    ]
