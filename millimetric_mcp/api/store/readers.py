"""Threads that run questions: each project in turn, and none longer than somebody waits for it."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from secrets import token_hex
from typing import TypeVar

from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.errors import RequestError, StoreUnavailable

MAX_WAITING = 100
"""So many questions of one project wait; further ones are refused."""

ResultT = TypeVar("ResultT")


class Readers:
    """A few threads for the questions of all projects. Belongs to one event loop.

    A free thread takes the oldest question of the project whose turn it is, so that the many
    questions of one project don't delay another's. ``stop`` ends the running question of a mark.
    """

    def __init__(
        self, threads: int, name: str, *, stop: Callable[[str], None], timeout_s: float
    ) -> None:
        self._threads = ThreadPoolExecutor(threads, name)
        self._stopping = ThreadPoolExecutor(1, f"{name}-stop")
        self.executors = (self._threads, self._stopping)
        self._stop = stop
        self._timeout_s = timeout_s
        self._free = threads
        # By project, the one whose turn is next first.
        self._waiting: dict[int, deque[asyncio.Future[None]]] = {}

    async def run(self, project_id: int, work: Callable[[str], ResultT]) -> ResultT:
        """Return what ``work`` returns in a thread; its argument is the question's mark.

        If the caller is cancelled or the time is up, the question is stopped.

        Raises:
            StoreUnavailable: too many questions are waiting, or the time was up before it began.
            RequestError: query_too_large, it ran until the time was up.
        """
        has_begun = False
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._take_turn(project_id)
                has_begun = True
                return await self._run(work)
        except TimeoutError:
            if has_begun:
                raise RequestError(ErrorCode.QUERY_TOO_LARGE) from None
            raise StoreUnavailable("the question waited too long for its turn") from None

    async def _take_turn(self, project_id: int) -> None:
        if self._free:
            self._free -= 1
            return
        queue = self._waiting.setdefault(project_id, deque())
        if len(queue) >= MAX_WAITING:
            raise StoreUnavailable("too many questions of the project are waiting")
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in queue:
                queue.remove(turn)
            elif not turn.cancelled():
                self._pass_turn()
            raise

    def _pass_turn(self) -> None:
        """Give a free thread to the next project that waits."""
        while self._waiting:
            project_id = next(iter(self._waiting))
            queue = self._waiting.pop(project_id)
            turn = queue.popleft() if queue else None
            if queue:
                self._waiting[project_id] = queue
            if turn and not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    async def _run(self, work: Callable[[str], ResultT]) -> ResultT:
        loop, mark = asyncio.get_running_loop(), token_hex(8)
        try:
            job = self._threads.submit(work, mark)
        except RuntimeError:
            self._pass_turn()
            raise StoreUnavailable("the event store is closed") from None

        def pass_turn(_: object) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._pass_turn)

        job.add_done_callback(pass_turn)
        try:
            return await asyncio.wrap_future(job)
        except asyncio.CancelledError:
            with suppress(RuntimeError):  # it is closed, and ends its questions
                self._stopping.submit(self._stop, mark)
            raise
