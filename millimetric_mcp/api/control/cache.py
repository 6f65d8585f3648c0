"""Finds keys by prefix without a database query for each request."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from millimetric_mcp.contract.keys import KeyRecord
from millimetric_mcp.errors import StoreUnavailable

FindKeys = Callable[[Collection[str]], Mapping[str, KeyRecord]]


@dataclass(frozen=True, slots=True)
class _Entry:
    record: KeyRecord | None
    asked_at_s: float


class KeyCache:
    """Remembers what the database said about a prefix, for at most ``max_age_s``.

    An entry older than ``refresh_after_s`` is still used while it is fetched again, so a busy
    key never waits and survives a short failure of the database. Known and unknown prefixes
    have separate space and separate look-ups: guessed keys neither displace nor delay known
    ones. Belongs to one event loop.
    """

    def __init__(
        self,
        find_keys: FindKeys,
        *,
        refresh_after_s: float = 1.0,
        max_age_s: float = 2.0,
        timeout_s: float = 5.0,
        max_keys: int = 10_000,
        max_waiting: int = 1000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``find_keys`` runs in a thread; ``clock`` returns monotonic seconds.

        At most ``max_waiting`` unknown prefixes wait for a query.
        """
        self._refresh_after_s = refresh_after_s
        self._max_age_s = max_age_s
        self._timeout_s = timeout_s
        self._max_keys = max_keys
        self._clock = clock
        self._known: dict[str, _Entry] = {}
        self._unknown: dict[str, _Entry] = {}
        self._refreshes = _Lookups(find_keys, self._remember, clock, max_waiting=max_keys)
        self._first_lookups = _Lookups(find_keys, self._remember, clock, max_waiting=max_waiting)

    async def find(self, prefix: str) -> KeyRecord | None:
        """Return the key of that prefix; None if it is unknown, or revoked ``max_age_s`` ago.

        Raises:
            StoreUnavailable: the database failed or did not answer in time, or too many
                look-ups are waiting.
        """
        entry = self._known.get(prefix) or self._unknown.get(prefix)
        age_s = self._clock() - entry.asked_at_s if entry else self._max_age_s
        if entry and age_s < self._refresh_after_s:
            return entry.record
        lookups = self._refreshes if prefix in self._known else self._first_lookups
        lookup = lookups.start(prefix)
        if entry and age_s < self._max_age_s:
            return entry.record
        # Callers share a look-up, so a caller that is cancelled must not cancel it.
        await asyncio.wait({lookup}, timeout=self._timeout_s)
        if not lookup.done():
            lookups.drop(prefix)
            raise StoreUnavailable("the database of projects and keys did not answer in time")
        return lookup.result()

    async def close(self) -> None:
        """Cancel the look-ups that are running."""
        await asyncio.gather(self._refreshes.close(), self._first_lookups.close())

    def _remember(self, prefix: str, record: KeyRecord | None, asked_at_s: float) -> None:
        self._known.pop(prefix, None)
        self._unknown.pop(prefix, None)
        entries = self._known if record else self._unknown
        entries[prefix] = _Entry(record, asked_at_s)
        if len(entries) > self._max_keys:
            del entries[next(iter(entries))]


class _Lookups:
    """Runs one query at a time, for all prefixes that wait when it begins."""

    def __init__(
        self,
        find_keys: FindKeys,
        remember: Callable[[str, KeyRecord | None, float], None],
        clock: Callable[[], float],
        *,
        max_waiting: int,
    ) -> None:
        self._find_keys = find_keys
        self._remember = remember
        self._clock = clock
        self._max_waiting = max_waiting
        self._waiting: dict[str, asyncio.Future[KeyRecord | None]] = {}
        self._running: dict[str, asyncio.Future[KeyRecord | None]] = {}
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "key-lookup")

    def start(self, prefix: str) -> asyncio.Future[KeyRecord | None]:
        """Return the prefix's look-up, a new one if none is waiting or running."""
        lookup = self._running.get(prefix) or self._waiting.get(prefix)
        if lookup is not None:
            return lookup
        if len(self._waiting) >= self._max_waiting:
            raise StoreUnavailable("too many keys are being looked up")
        loop = asyncio.get_running_loop()
        lookup = self._waiting[prefix] = loop.create_future()
        if self._task is None:
            self._task = loop.create_task(self._run())
        return lookup

    def drop(self, prefix: str) -> None:
        """Forget a look-up that still waits, so that another prefix can take its place."""
        self._waiting.pop(prefix, None)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            self._running, self._waiting = self._waiting, {}
            prefixes, asked_at_s = tuple(self._running), self._clock()
            try:
                records = await loop.run_in_executor(self._thread, self._find_keys, prefixes)
                for prefix in prefixes:
                    self._remember(prefix, records.get(prefix), asked_at_s)
                    self._running[prefix].set_result(records.get(prefix))
            except Exception as error:  # noqa: BLE001 - every caller gets it
                for lookup in self._running.values():
                    if not lookup.done():
                        lookup.set_exception(error)
                    lookup.exception()  # a refresh has no caller who would read it
            self._running = {}
        self._task = None

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        for lookup in (*self._running.values(), *self._waiting.values()):
            lookup.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)
