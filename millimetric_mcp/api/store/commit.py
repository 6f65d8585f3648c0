"""Group commit: many requests share one write; each is acknowledged after it is stored.

While one write runs, the requests for the next one gather, so groups grow with the load.
After a group of several requests there is a pause of a few milliseconds, in which the same
callers send again: this gives fewer, larger inserts. A single caller never waits, not even for
another turn of the event loop.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from millimetric_mcp.errors import StoreError, StoreRefused, StoreUnavailable, StoreUncertain

MAX_GROUP_EVENTS = 8_000
"""Bounds what a read costs: it goes through the raw rows of up to fifteen parts that are not yet
merged, and each holds one group."""
GATHER_S = 0.003
"""How long a group gathers after a group of several requests. The wait ends early when as many
requests have come as the last group had."""

_log = logging.getLogger(__name__)

EventsT = TypeVar("EventsT", bound=Sized)
"""The events of one request; their length is their number."""


@dataclass(frozen=True, slots=True)
class _Request(Generic[EventsT]):
    events: EventsT
    stored: "asyncio.Future[None]"


class GroupCommitter(Generic[EventsT]):
    """Gathers requests from a bounded queue, and gives each group of them to ``write``.

    ``max_queued_events`` limits the events that wait or are being written. A request that exceeds
    it is refused; an empty queue takes a request of any size. ``observe_group`` gets the number of
    events of each group. ``write_now`` gets the request of a single caller; it writes that and
    returns True, or returns False if that could take long.
    """

    def __init__(
        self,
        write: Callable[[Sequence[EventsT]], Awaitable[None]],
        *,
        max_queued_events: int,
        observe_group: Callable[[int], None] = lambda _: None,
        write_now: Callable[[EventsT], bool] = lambda _: False,
    ) -> None:
        self._write_group = write
        self._write_now = write_now
        self._observe_group = observe_group
        self._max_queued_events = max_queued_events
        self._queue: deque[_Request[EventsT]] = deque()
        self._queued_events = 0
        self._wake = asyncio.Event()
        self._closing = False
        self._is_single = True
        self._had_request = False
        self._task: asyncio.Task[None] | None = None

    @property
    def queued_events(self) -> int:
        """How many events wait or are being written."""
        return self._queued_events

    def start(self) -> None:
        """Begin to write; needs a running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def commit(self, events: EventsT) -> None:
        """Return when all ``events`` are durably stored.

        Raises:
            StoreUnavailable: none is stored: the queue is full, or the store refused.
            StoreUncertain: it is unknown whether they are stored.
        """
        if self._closing:
            raise StoreUnavailable("the server is stopping")
        if self._queue and self._queued_events + len(events) > self._max_queued_events:
            raise StoreUnavailable("too many events are waiting to be stored")
        if self._is_alone() and self._write_now(events):
            self._observe_group(len(events))
            return
        request = _Request(events, asyncio.get_running_loop().create_future())
        self._queue.append(request)
        self._queued_events += len(events)
        self._wake.set()
        await request.stored

    def _is_alone(self) -> bool:
        """Whether nothing else waits, and this is the only request in this turn of the loop."""
        if self._had_request or self._queued_events or not self._is_single:
            return False
        self._had_request = True
        asyncio.get_running_loop().call_soon(self._end_turn)
        return True

    def _end_turn(self) -> None:
        self._had_request = False

    async def close(self) -> None:
        """Write what is queued, then end."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while self._queue or not self._closing:
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
                continue
            group = self._take_group()
            self._observe_group(sum(len(request.events) for request in group))
            await self._write(group)
            self._is_single = len(group) == 1
            if not self._is_single:
                await self._gather(len(group))

    async def _gather(self, enough: int) -> None:
        deadline_s = time.monotonic() + GATHER_S
        while len(self._queue) < enough and (left_s := deadline_s - time.monotonic()) > 0:
            self._wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), left_s)

    def _take_group(self) -> list[_Request[EventsT]]:
        group = [self._queue.popleft()]
        size = len(group[0].events)
        while self._queue and size + len(self._queue[0].events) <= MAX_GROUP_EVENTS:
            group.append(self._queue.popleft())
            size += len(group[-1].events)
        return group

    async def _write(self, group: Sequence[_Request[EventsT]]) -> None:
        try:
            await self._write_group([request.events for request in group])
        except StoreRefused as error:
            if len(group) > 1:
                # One by one, so that no request fails because of another one's events.
                for request in group:
                    await self._write([request])
            else:
                self._settle(group, error)
        except StoreError as error:
            self._settle(group, error)
        except Exception as error:  # noqa: BLE001 - all later writes need this loop
            _log.error("store: a write failed (%s)", type(error).__name__)
            self._settle(group, StoreUncertain("the event store failed"))
        else:
            self._settle(group, None)

    def _settle(self, group: Sequence[_Request[EventsT]], error: StoreError | None) -> None:
        for request in group:
            self._queued_events -= len(request.events)
            if request.stored.done():
                continue
            if error is None:
                request.stored.set_result(None)
            else:
                request.stored.set_exception(error)
