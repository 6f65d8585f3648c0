"""When events go from the journal to the engine: in the background, or when somebody asks."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Lock

from millimetric_mcp.api.store.commit import MAX_GROUP_EVENTS
from millimetric_mcp.api.store.inserts import Rows
from millimetric_mcp.api.store.journal import Journal, Segment
from millimetric_mcp.api.store.threads import run
from millimetric_mcp.errors import StoreUnavailable

GATHER_S = 0.2
"""How long events wait in the journal for others, unless somebody asks for them."""
MAX_WAITING_EVENTS = 2 * MAX_GROUP_EVENTS
MAX_WAITING_BYTES = 32 * 1024 * 1024
"""With so much in the journal, writes wait for the engine. At half of it, they are handed over."""
MAX_SMALL_BYTES = 64 * 1024
"""The event loop writes no more than this itself."""
RETRY_S = 1.0

_log = logging.getLogger(__name__)

HandOver = Callable[[Sequence[Segment], int], object]
"""Takes segments and the number of attempts before."""


class Handover:
    """Acknowledges requests that are in the journal, and gives them to ``hand_over`` later.

    ``hand_over`` runs in the thread of ``writers``, or in that of a reader who needs the events
    now. While it fails, nothing is lost: it is called again, reads are refused, and so are writes
    when the journal has no room for more.
    """

    def __init__(
        self, journal: Journal, hand_over: HandOver, *, writers: ThreadPoolExecutor
    ) -> None:
        self._journal = journal
        self._hand_over = hand_over
        self._writers = writers
        self.executor = ThreadPoolExecutor(1, "store-journal")
        # Since the start: what the journal has taken, and what the engine has. In the same order.
        self._acknowledged = self._acknowledged_bytes = 0
        self._handed_over = self._handed_over_bytes = 0
        self._handovers = 0
        # Held by the thread that hands over; it guards the following three.
        self._engine_lock = Lock()
        self._sealed: list[Segment] = []
        self._attempts = 0
        self._stored: list[Segment] = []
        self._failure: StoreUnavailable | None = None
        self._closing = False
        self._work = asyncio.Event()
        self._hurry = asyncio.Event()
        self._progress = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to hand over; needs a running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def write(self, requests: Sequence[Rows]) -> None:
        """Return when the requests are in the journal. One call at a time.

        Raises:
            StoreUnavailable: none is stored.
            StoreUncertain: it is unknown whether they are stored.
        """
        if not self._has_room():
            await self._wait_for_room()
        if not self._write_quickly(requests):
            await run(self.executor, self._journal.append, requests)
            self._note_written(requests, _count_bytes(requests))

    def write_now(self, request: Rows) -> bool:
        """Write the request in the event loop, if that is quick; return whether it is written.

        Not while `write` runs. Errors are those of `write`.
        """
        return self._has_room() and self._write_quickly([request])

    def _write_quickly(self, requests: Sequence[Rows]) -> bool:
        size_bytes = _count_bytes(requests)
        if not self._journal.is_quick or size_bytes > MAX_SMALL_BYTES:
            return False
        self._journal.append(requests)  # to wake a thread would take longer
        self._note_written(requests, size_bytes)
        return True

    def _note_written(self, requests: Sequence[Rows], size_bytes: int) -> None:
        self._acknowledged += sum(map(len, requests))
        self._acknowledged_bytes += size_bytes
        self._work.set()
        if not self._has_room(share=0.5):
            self._hurry.set()

    def flush(self) -> None:
        """Return when the engine has every event that was acknowledged before the call.

        It hands over in the caller's thread: to wake another one takes longer than an insert when
        the event loop is busy.

        Raises:
            StoreUnavailable: it does not take them.
        """
        wanted = self._acknowledged
        if self._handed_over < wanted:
            with self._engine_lock:
                self.check()
                self._hand_over_until(wanted)

    def check(self) -> None:
        """Raise StoreUnavailable while the engine takes no events."""
        if self._failure is not None:
            raise self._failure

    def measure(self) -> dict[str, float]:
        """Return what waits in the journal, and what has left it since the start."""
        return {
            "journal_events": max(0, self._acknowledged - self._handed_over),
            "journal_bytes": max(0, self._acknowledged_bytes - self._handed_over_bytes),
            "journal_handovers_total": self._handovers,
            "journal_handed_over_events_total": self._handed_over,
        }

    async def flush_for_deletion(self) -> None:
        """Return when no file holds an event that was acknowledged before the call.

        Damaged files that were kept are deleted: it is unknown whose events they hold.

        Raises:
            StoreUnavailable: the engine does not take the events, or a file can't be removed.
        """
        await run(self._writers, self._work_off)
        removed = await run(self.executor, self._journal.remove_damaged)
        if removed:
            _log.warning("store: %d damaged files of the journal were deleted", removed)

    async def close(self) -> None:
        """Hand over what is left, then end. What the engine refuses stays in the journal."""
        self._closing = True
        self._work.set()
        self._hurry.set()
        if self._task is not None:
            await self._task

    def _has_room(self, *, share: float = 1) -> bool:
        events = self._acknowledged - self._handed_over
        size_bytes = self._acknowledged_bytes - self._handed_over_bytes
        return events < MAX_WAITING_EVENTS * share and size_bytes < MAX_WAITING_BYTES * share

    async def _wait_for_room(self) -> None:
        async with self._progress:
            await self._progress.wait_for(lambda: self._has_room() or self._failure is not None)
        if not self._has_room():
            self.check()

    async def _run(self) -> None:
        is_last = False
        while not is_last:
            await self._work.wait()
            self._work.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(GATHER_S):
                    await self._hurry.wait()
            self._hurry.clear()
            is_last = self._closing
            await self._work_off_at_last()

    async def _work_off_at_last(self) -> None:
        """Work off what waits. What fails is done again, until the end."""
        while True:
            with suppress(StoreUnavailable):
                await run(self._writers, self._work_off)
                await self._tell_progress()
                return
            if self._closing:
                return
            await self._tell_progress()
            await asyncio.sleep(RETRY_S)

    async def _tell_progress(self) -> None:
        async with self._progress:
            self._progress.notify_all()

    def _work_off(self) -> None:
        """Hand over everything, and remove the files whose events the engine has.

        Raises:
            StoreUnavailable: either fails; it is tried again later.
        """
        with self._engine_lock:
            self._hand_over_until(self._acknowledged)
            stored = list(self._stored)
        try:
            self._journal.remove(stored)
        except OSError as error:
            _log.error("store: files of the journal can't be removed (%s)", error.strerror)
            raise StoreUnavailable("files of the journal can't be removed") from None
        del self._stored[: len(stored)]

    def _hand_over_until(self, wanted: int) -> None:
        """Hand over until the engine has ``wanted`` events. Only with the engine's lock.

        Raises:
            StoreUnavailable: it has failed twice.
        """
        while self._handed_over < wanted:
            self._sealed = self._sealed or self._journal.seal()
            try:
                self._hand_over(self._sealed, self._attempts)
            except Exception as error:  # noqa: BLE001 - whatever it is, the events must wait
                _log.error("store: events wait in the journal (%s)", type(error).__name__)
                self._attempts += 1
                if self._attempts == 1:
                    continue
                self._failure = StoreUnavailable("the event store does not take events now")
                raise self._failure from None
            self._note_handed_over()

    def _note_handed_over(self) -> None:
        requests = [rows for segment in self._sealed for rows in segment.requests]
        self._handed_over += sum(map(len, requests))
        self._handed_over_bytes += _count_bytes(requests)
        self._handovers += 1
        self._stored += self._sealed
        self._sealed, self._attempts, self._failure = [], 0, None


def _count_bytes(requests: Iterable[Rows]) -> int:
    return sum(len(rows.text) for rows in requests)
