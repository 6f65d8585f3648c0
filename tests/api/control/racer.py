"""One process of several: says it is ready, waits for a line, does what argv says.

An action that opens the database first, so that only what follows is raced, is a generator.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from inspect import isgeneratorfunction
from pathlib import Path

from millimetric_mcp.api.control import Control, DeletionKind, datadir, open_control
from millimetric_mcp.contract.keys import KeyEnv, KeyKind
from millimetric_mcp.errors import SettingsError

PEPPER = b"pepper for the tests"
STORE = "the event store"


def say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def make_first_keys(dsn: str) -> Iterator[None]:
    control = open_control(dsn, pepper=PEPPER)
    yield
    made = control.create_first_keys(lambda _: None)
    say(json.dumps([new.key.prefix for new in made or ()]))
    control.close()


def create_key(dsn: str) -> Iterator[None]:
    control = open_control(dsn, pepper=PEPPER)
    yield
    for _ in range(5):
        new = control.create_key(kind=KeyKind.SK, env=KeyEnv.LIVE, project="shared")
        say(new.record.project_id)
    control.close()


def settle_pepper(dsn: str) -> None:
    pepper = os.urandom(16).hex()
    try:
        open_control(dsn, pepper=pepper.encode()).close()
        say("settled")
    except SettingsError:
        say("refused")


def claim_deletions(dsn: str) -> Iterator[None]:
    control = open_control(dsn, pepper=PEPPER)
    yield
    while claimed := control.deletions.claim(
        store=STORE, now=datetime.now(UTC), lease_s=60, limit=3
    ):
        for deletion in claimed:
            say(deletion.id)
            control.deletions.complete([deletion.id], now=datetime.now(UTC))
    control.close()


def log_a_deletion_and_die(dsn: str, project_id: str) -> None:
    deletion = _log_deletion(open_control(dsn, pepper=PEPPER), project_id)
    say(deletion)
    os.kill(os.getpid(), signal.SIGKILL)


def claim_a_deletion_and_die(dsn: str, lease_s: str) -> None:
    control = open_control(dsn, pepper=PEPPER)
    claimed = control.deletions.claim(store=STORE, now=datetime.now(UTC), lease_s=float(lease_s))
    say(len(claimed))
    os.kill(os.getpid(), signal.SIGKILL)


def _log_deletion(control: Control, project_id: str) -> str:
    now = datetime.now(UTC)
    deletion = control.deletions.add(
        store=STORE,
        project_id=int(project_id),
        kind=DeletionKind.USER,
        id_to_delete="user_42",
        cutoff=now,
        requested_at=now,
    )
    return deletion.id


def make_secret(path: str) -> None:
    say(datadir.read_or_make_secret(Path(path)).decode())


def main(action: str, *arguments: str) -> None:
    steps = globals()[action]
    prepared = steps(*arguments) if isgeneratorfunction(steps) else None
    if prepared:
        next(prepared)
    say("ready")
    sys.stdin.readline()
    if prepared:
        next(prepared, None)
    else:
        steps(*arguments)


main(*sys.argv[1:])
