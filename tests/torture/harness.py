"""An API to torture: started with limits, asked and looked at from outside."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from bench.processes import find_free_port, stop
from bench.report import Check
from bench.workspace import create_key
from millimetric_mcp.api.control import FIRST_PROJECT
from millimetric_mcp.contract.keys import KeyKind
from millimetric_mcp.demo.processes import clean_environment

ORIGIN = "https://shop.example"
WINDOW = {"from": "1970-01-02T00:00:00Z", "to": "2100-01-01T00:00:00Z"}
START_TIMEOUT_S = 120
MAX_SHOWN = 5
OTHER_PROJECT = "other"
UNEXPECTED = '"trace"'
"""Stands in the log line of each unexpected error, and in no other."""


@dataclass
class Scale:
    """How much is tried; ``quick`` shows only that everything runs."""

    quick: bool

    def pick(self, full: float, quick: float) -> float:
        return quick if self.quick else full


@dataclass
class Api:
    """A running API, and a key of each kind of two projects by kind and project."""

    process: "subprocess.Popen[bytes]"
    port: int
    data_dir: Path
    log: Path
    keys: dict[str, str] = field(repr=False)
    _http: httpx.Client = field(default_factory=lambda: httpx.Client(trust_env=False, timeout=60))

    def ask(self, method: str, path: str, *, key: str | None = "sk", **request) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.keys[key]}"} if key else {}
        headers |= {"Origin": ORIGIN, **request.pop("headers", {})}
        return self._http.request(
            method, f"http://127.0.0.1:{self.port}{path}", headers=headers, **request
        )

    def post(self, path: str, body: object, *, key: str = "sk") -> int:
        return self.ask("POST", path, key=key, json=body).status_code

    def track(self, event: str, *, key: str = "sk", **columns: object) -> int:
        return self.post("/v1/track", {"event": event, **columns}, key=key)

    def read(self, path: str, *, key: str = "rk", **params: object) -> httpx.Response:
        return self.ask("GET", path, key=key, params=WINDOW | params)

    def count(self, *, key: str = "rk", **filters: object) -> int:
        """Return the number of stored events of the key's project."""
        rows = self.read("/v1/stats", key=key, **filters).raise_for_status().json()["rows"]
        return int(rows[0]["value"]) if rows else 0

    def count_unexpected(self) -> int:
        """Return how many unexpected errors the log has, and show them."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        found = [line for line in lines if UNEXPECTED in line or line.startswith("Traceback")]
        print(*found[:MAX_SHOWN], sep="\n", file=sys.stderr, flush=True)
        return len(found)

    def end(self, number: int = signal.SIGTERM) -> float:
        """Return how many seconds the process takes to end after the signal."""
        began_s = time.monotonic()
        stop(self.process, number=number)
        return time.monotonic() - began_s


@contextmanager
def run_api(
    data_dir: Path,
    *options: str,
    wrapper: Sequence[str] = (),
    program: Sequence[str] = ("millimetric_mcp",),
    limits: str = "off",
    environ: Mapping[str, str] | None = None,
) -> Iterator[Api]:
    """Run the API below ``wrapper``, a command such as ``prlimit --nofile=256``.

    ``program`` is the module that runs, and its arguments before the command. ``environ`` has
    settings that can't be options.
    """
    keys = _read_keys(data_dir)
    port, log = find_free_port(), data_dir.with_name(data_dir.name + ".log")
    command = [*wrapper, sys.executable, "-m", *program, "api", "--port", str(port)]
    place = ["--data-dir", str(data_dir), "--keys-dir", str(data_dir.with_name("keys"))]
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [*command, *place, "--rate-limits", limits, "--log-level", "warning", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=clean_environment(os.environ) | dict(environ or {}),
        )
    api = Api(process, port, data_dir, log, keys)
    try:
        _wait_until_it_serves(api)
        yield api
    finally:
        stop(process)


def _read_keys(data_dir: Path) -> dict[str, str]:
    """Return keys for the data directory; new ones at each start, the old ones go on."""
    return {
        prefix + kind.value: create_key(
            data_dir, kind, project=project, origins=[ORIGIN] if kind is KeyKind.PK else []
        ).key.reveal()
        for prefix, project in (("", FIRST_PROJECT), ("other ", OTHER_PROJECT))
        for kind in KeyKind
    }


def _wait_until_it_serves(api: Api) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s and api.process.poll() is None:
        with suppress(httpx.TransportError):
            if api.ask("GET", "/health").is_success:
                return
        time.sleep(0.05)
    raise RuntimeError(f"the API did not start: {api.log.read_text(errors='replace')[-2000:]}")


def none(what: str, value: float) -> Check:
    """Return the check that something never happens."""
    return Check(what, value, "", 0, at_most=True)


def at_most(what: str, value: float, bound: float, unit: str) -> Check:
    return Check(what, value, unit, bound, at_most=True)


def at_least(what: str, value: float, bound: float, unit: str = "") -> Check:
    return Check(what, value, unit, bound, at_most=False)
