"""Keys of every kind and state, and the count of the answers that are wrong."""

import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bench.workspace import open_keys
from millimetric_mcp.api.control import FIRST_PROJECT
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.keys import KeyEnv, KeyKind
from tests.torture.harness import ORIGIN

PROJECTS = ("", "test ", "other ")
"""What the names of a project's keys begin with."""


@dataclass
class Tally:
    """Counts answers, and prints those that are wrong."""

    asked: int = 0
    wrong: int = 0

    def compare(self, what: str, found: object, expected: object) -> None:
        self.asked += 1
        if found != expected:
            self.wrong += 1
            print(f"{what}: {found}, not {expected}", file=sys.stderr, flush=True)


def add_test_keys(api):
    """Add keys of the first project's test data to those of the API."""
    with open_keys(api.data_dir) as control:
        for kind in KeyKind:
            api.keys[f"test {kind}"] = create(control, kind, env=KeyEnv.TEST).reveal()


def add_bad_keys(api):
    """Add tokens that the API refuses to its keys; return the codes of their refusal, by name."""
    expected = {
        "nonsense": ErrorCode.MALFORMED_API_KEY,
        "ak": ErrorCode.MALFORMED_API_KEY,
    }
    api.keys |= {"nonsense": "-", "ak": "ak_live_12345678_" + "a" * 40}
    with open_keys(api.data_dir) as control:
        for kind in KeyKind:
            expired = create(control, kind, expires_at=datetime.now(UTC) - timedelta(seconds=1))
            revoked = create(control, kind)
            control.revoke_key(revoked.prefix)
            for state, key in (("expired", expired), ("revoked", revoked)):
                api.keys[f"{state} {kind}"] = key.reveal()
                expected[f"{state} {kind}"] = ErrorCode.INVALID_API_KEY
    for kind in KeyKind:
        _, env, prefix, secret = api.keys[kind].split("_", 3)
        invalid = {
            f"{kind} with another secret": f"{kind}_{env}_{prefix}_{'x' * len(secret)}",
            f"{kind} with another prefix": f"{kind}_{env}_AAAAAAAA_{secret}",
            f"{kind} as a test key": f"{kind}_test_{prefix}_{secret}",
        }
        swapped = {
            f"{kind} as {other}": f"{other}_{env}_{prefix}_{secret}"
            for other in KeyKind
            if other is not kind
        }
        cut = {f"cut {kind}": f"{kind}_{env}_{prefix}"}
        api.keys |= invalid | swapped | cut
        expected |= dict.fromkeys(invalid, ErrorCode.INVALID_API_KEY)
        expected |= dict.fromkeys(swapped, ErrorCode.KEY_KIND_MISMATCH)
        expected |= dict.fromkeys(cut, ErrorCode.MALFORMED_API_KEY)
    return expected


def create(control, kind, *, env=KeyEnv.LIVE, expires_at=None):
    origins = [ORIGIN] if kind is KeyKind.PK else []
    return control.create_key(
        kind=kind, env=env, project=FIRST_PROJECT, origins=origins, expires_at=expires_at
    ).key
