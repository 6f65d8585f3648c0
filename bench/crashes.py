"""Kills the API under mixed load, again and again, and counts what is lost, doubled or halved."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from bench.crash_child import ALL_STEPS
from bench.processes import find_free_port, start_worker
from millimetric_mcp.api.control.datadir import STORE_DIR
from millimetric_mcp.api.store import ClientPool, embedded_target
from millimetric_mcp.demo.processes import Keys, clean_environment

WRITERS = 6
KINDS, SHARES = ("track", "batch", "identify", "forget", "read"), (50, 15, 10, 3, 22)
BATCH_EVENTS = 20
LOAD_S = (0.1, 0.8)
STEP_S = 3
START_TIMEOUT_S = 60
ERASURE_TIMEOUT_S = 90
WINDOW = {"from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}


@dataclass
class Sent:
    """A request, and what is known of it: stored, not stored, or (None) neither."""

    events: int
    is_stored: bool | None = None
    is_erased: bool = False


@dataclass
class Counts:
    """What was sent and what went wrong. ``unseen`` were acknowledged and missing in an answer."""

    cycles: int = 0
    killed_at_a_step: int = 0
    acknowledged_events: int = 0
    acknowledged_forgets: int = 0
    checked_reads: int = 0
    lost: int = 0
    doubled: int = 0
    halved: int = 0
    refused_but_stored: int = 0
    erased_but_stored: int = 0
    unseen: int = 0
    ids_left_in_files: int = 0

    @property
    def faults(self) -> int:
        """How much went wrong, altogether."""
        return (
            self.lost
            + self.doubled
            + self.halved
            + self.refused_but_stored
            + self.erased_but_stored
            + self.unseen
            + self.ids_left_in_files
        )


@dataclass
class Crashes:
    """One data directory over many starts and kills; ``sent`` goes by the requests' own ids."""

    data_dir: Path
    keys: Keys
    seed: int
    counts: Counts = field(default_factory=Counts)
    sent: dict[str, Sent] = field(default_factory=dict)
    deleted_users: set[str] = field(default_factory=set)
    _url: str = ""
    _users: int = 0

    def run(self, cycles: int) -> Counts:
        """Starts and kills the API ``cycles`` times, each step in turn and random moments."""
        chance = random.Random(self.seed)
        for number in range(cycles):
            # Every second kill is at a chosen step, the others at random moments.
            step = ALL_STEPS[number // 2 % len(ALL_STEPS)] if number % 2 else None
            asyncio.run(self._cycle(number, step, chance))
            self.counts.cycles += 1
        asyncio.run(self._finish())
        with start_worker() as worker:
            stored = worker.run(count_stored, self.data_dir / STORE_DIR)
        self._compare(stored)
        return self.counts

    async def _cycle(self, number: int, step: str | None, chance: random.Random) -> None:
        process = await self._start(step, chance.randint(1, 6))
        writers = [
            asyncio.create_task(self._write(f"{number}-{writer}", chance.randint(0, 2**32)))
            for writer in range(WRITERS)
        ]
        # At its step the process kills itself: it gets some time to reach it.
        load_s = chance.uniform(*LOAD_S) + (STEP_S if step else 0)
        with suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(process.wait, load_s)
        self.counts.killed_at_a_step += process.returncode == -signal.SIGKILL
        process.kill()
        process.wait()
        await asyncio.gather(*writers)

    async def _start(self, step: str | None, count: int) -> "subprocess.Popen[bytes]":
        port = find_free_port()
        self._url = f"http://127.0.0.1:{port}"
        start = ["bench.crash_child", step, str(count)] if step else ["millimetric_mcp"]
        options = ["--port", str(port), "--data-dir", str(self.data_dir), "--rate-limits", "off"]
        process = self._spawn([*start, "api", *options, "--log-level", "warning"])
        async with asyncio.timeout(START_TIMEOUT_S), httpx.AsyncClient(trust_env=False) as http:
            while process.poll() is None:
                with suppress(httpx.TransportError):
                    if (await http.get(f"{self._url}/health")).is_success:
                        return process
                await asyncio.sleep(0.02)
        if step and process.returncode == -signal.SIGKILL:
            return process  # the start took events over from the journal, and came to the step
        raise RuntimeError(f"the API did not start: exit code {process.returncode}")

    def _spawn(self, arguments: Sequence[str]) -> "subprocess.Popen[bytes]":
        with (self.data_dir.parent / "api.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=clean_environment(os.environ),
            )

    async def _write(self, name: str, seed: int) -> None:
        """One caller: writes, asks for what it wrote, and now and then forgets its user."""
        chance = random.Random(seed)
        headers = {"Authorization": f"Bearer {self.keys.write}"}
        user, own = self._new_user(), list[str]()
        async with httpx.AsyncClient(base_url=self._url, headers=headers, trust_env=False) as http:
            with suppress(httpx.TransportError):  # killed
                for number in range(10_000):
                    [kind] = chance.choices(KINDS, SHARES)
                    if kind == "forget":
                        await self._forget(http, user, own)
                        own.clear()
                        user = self._new_user()
                    elif kind == "read":
                        await self._read(http, user, own)
                    else:
                        request = f"r{name}-{number}"
                        own.append(request)
                        await self._send(http, kind, request, user)

    def _new_user(self) -> str:
        self._users += 1
        return f"user-of-crashes-{self._users}"

    async def _send(self, http: httpx.AsyncClient, kind: str, request: str, user: str) -> None:
        event = {"event": "crash", "anonymous_id": request, "user_id": user}
        bodies: dict[str, Any] = {
            "track": event,
            "batch": {"events": [event] * BATCH_EVENTS},
            "identify": {"anonymous_id": request, "user_id": user},
        }
        sent = self.sent[request] = Sent(BATCH_EVENTS if kind == "batch" else 1)
        answer = await http.post(f"/v1/{kind}", json=bodies[kind])
        if answer.is_success:
            sent.is_stored = True
            self.counts.acknowledged_events += sent.events
        elif answer.status_code == 503:
            sent.is_stored = False

    async def _forget(self, http: httpx.AsyncClient, user: str, own: Sequence[str]) -> None:
        asked = [self.sent[request] for request in own]
        for sent in asked:
            sent.is_stored = None  # until the answer
        answer = await http.post("/v1/forget", json={"user_id": user})
        if answer.is_success:
            self.deleted_users.add(user)
            self.counts.acknowledged_forgets += 1
            for sent in asked:
                sent.is_erased = True
            after = f"after-{user}"
            await self._send(http, "track", after, user)

    async def _read(self, http: httpx.AsyncClient, user: str, own: Sequence[str]) -> None:
        certain = sum(self.sent[request].events for request in own if self.sent[request].is_stored)
        possible = sum(self.sent[request].events for request in own)
        answer = await http.get(
            "/v1/query",
            params=WINDOW | {"user_id": user, "limit": 1000},
            headers={"Authorization": f"Bearer {self.keys.read}"},
        )
        if answer.is_success and possible < 1000:
            found = len(answer.json()["rows"])
            self.counts.checked_reads += 1
            self.counts.unseen += not certain <= found <= possible

    async def _finish(self) -> None:
        """Lets pending deletions end, then stops the API as an operator does."""
        process = await self._start(None, 0)
        try:
            for _ in range(ERASURE_TIMEOUT_S):
                await asyncio.sleep(1)
                left = await asyncio.to_thread(self._find_erased_in_journal)
                if not left and await self._has_erased_all():
                    break
            self.counts.ids_left_in_files = left
        finally:
            process.terminate()
            process.wait()

    async def _has_erased_all(self) -> bool:
        headers = {"Authorization": f"Bearer {self.keys.read}"}
        async with httpx.AsyncClient(base_url=self._url, headers=headers, trust_env=False) as http:
            for user in self.deleted_users:
                asked = WINDOW | {"user_id": user}
                answer = await http.get("/v1/query", params=asked, timeout=60)
                if len(answer.raise_for_status().json()["rows"]) > 1:
                    return False
        return True

    def _find_erased_in_journal(self) -> int:
        files = (self.data_dir / STORE_DIR / "journal").rglob("*.*")
        texts = [file.read_bytes() for file in files]
        return sum(f'"{user}"'.encode() in text for user in self.deleted_users for text in texts)

    def _compare(self, stored: dict[str, int]) -> None:
        for request, sent in self.sent.items():
            found = stored.pop(request, 0)
            self.counts.doubled += found > sent.events
            self.counts.halved += 0 < found < sent.events
            self.counts.lost += sent.is_stored is True and not found
            self.counts.refused_but_stored += sent.is_stored is False and found > 0
            self.counts.erased_but_stored += sent.is_erased and found > 0
        self.counts.doubled += len(stored)  # they were never sent


def count_stored(directory: Path) -> dict[str, int]:
    """How many events each request's id has in the stopped store; runs in a worker."""
    statement = "SELECT anonymous_id, count() FROM events GROUP BY anonymous_id"
    with closing(ClientPool(embedded_target(directory))) as pool:
        return {str(name): int(count) for name, count in pool.query(statement)}
