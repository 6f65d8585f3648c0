"""Keys found by prefix without asking the database each time."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from millimetric_mcp.contract.keys import KeyRecord
from millimetric_mcp.errors import StoreUnavailable

__all__ = ["KeyCache"]

_THREADS = 2


@dataclass(frozen=True, slots=True)
class _Answer:
    record: KeyRecord | None
    asked_at_s: float


class KeyCache:
    """What the database said of a prefix, for at most ``max_age_s``.

    An answer older than ``refresh_after_s`` is given while a new one is fetched, so that a
    busy key never waits and outlives a short failure of the database. Unknown prefixes have a place
    and threads of their own: strangers who guess push no known key out, nor delay it.
    Of one event loop.
    """

    def __init__(
        self,
        find_key: Callable[[str], KeyRecord | None],
        *,
        refresh_after_s: float = 1.0,
        max_age_s: float = 2.0,
        timeout_s: float = 5.0,
        max_keys: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``find_key`` is called in threads; ``clock`` gives monotonic seconds."""
        self._find_key = find_key
        self._refresh_after_s = refresh_after_s
        self._max_age_s = max_age_s
        self._timeout_s = timeout_s
        self._max_keys = max_keys
        self._clock = clock
        self._known: dict[str, _Answer] = {}
        self._unknown: dict[str, _Answer] = {}
        self._lookups: dict[str, asyncio.Task[KeyRecord | None]] = {}
        self._known_threads = ThreadPoolExecutor(_THREADS, "known-keys")
        self._unknown_threads = ThreadPoolExecutor(_THREADS, "unknown-keys")

    async def find(self, prefix: str) -> KeyRecord | None:
        """The key of that prefix, unless it is unknown or was revoked ``max_age_s`` ago.

        Raises:
            StoreUnavailable: the database failed or did not answer in time.
        """
        answer = self._known.get(prefix) or self._unknown.get(prefix)
        if answer is None:
            return await self._wait_for(prefix)
        age_s = self._clock() - answer.asked_at_s
        if age_s < self._refresh_after_s:
            return answer.record
        lookup = self._look_up(prefix)
        return answer.record if age_s < self._max_age_s else await self._wait(lookup)

    async def close(self) -> None:
        """Give up the look-ups under way."""
        lookups = tuple(self._lookups.values())
        for lookup in lookups:
            lookup.cancel()
        await asyncio.gather(*lookups, return_exceptions=True)
        self._known_threads.shutdown(wait=False, cancel_futures=True)
        self._unknown_threads.shutdown(wait=False, cancel_futures=True)

    async def _wait_for(self, prefix: str) -> KeyRecord | None:
        return await self._wait(self._look_up(prefix))

    async def _wait(self, lookup: asyncio.Task[KeyRecord | None]) -> KeyRecord | None:
        """Callers share one look-up: one that is cancelled leaves it to the others."""
        try:
            return await asyncio.wait_for(asyncio.shield(lookup), self._timeout_s)
        except TimeoutError:
            raise StoreUnavailable("the database of projects and keys did not answer") from None

    def _look_up(self, prefix: str) -> asyncio.Task[KeyRecord | None]:
        lookup = self._lookups.get(prefix)
        if lookup is None:
            lookup = asyncio.get_running_loop().create_task(self._ask(prefix))
            self._lookups[prefix] = lookup
            lookup.add_done_callback(lambda done: self._end_lookup(prefix, done))
        return lookup

    def _end_lookup(self, prefix: str, lookup: asyncio.Task[KeyRecord | None]) -> None:
        del self._lookups[prefix]
        if not lookup.cancelled():
            lookup.exception()  # seen: whoever waits gets it, a refresh has the older answer

    async def _ask(self, prefix: str) -> KeyRecord | None:
        asked_at_s = self._clock()
        threads = self._known_threads if prefix in self._known else self._unknown_threads
        loop = asyncio.get_running_loop()
        record = await loop.run_in_executor(threads, self._find_key, prefix)
        self._known.pop(prefix, None)
        self._unknown.pop(prefix, None)
        place = self._known if record else self._unknown
        place[prefix] = _Answer(record, asked_at_s)
        if len(place) > self._max_keys:
            del place[next(iter(place))]
        return record
