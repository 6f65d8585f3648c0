"""What the API does by itself: erasures that were asked for, and events past their retention."""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from millimetric_mcp.api.control import Control, Forget
from millimetric_mcp.api.store import Store
from millimetric_mcp.errors import StoreError, StoreRefused

FORGET_POLL_S = 2.0
FORGET_LEASE_S = 10.0
FORGET_RENEW_S = 3.0
RETENTION_PERIOD_S = 3600.0

_log = logging.getLogger(__name__)


class Maintenance:
    """Two loops over one store and control database; several processes may run them at once.

    Erasures survive a crash: they are logged before they are acknowledged and are done again
    by whoever claims them next. ``default_retention_days`` of None keeps events for ever.
    """

    def __init__(
        self,
        *,
        control: Control,
        store: Store,
        clock: Callable[[], datetime],
        default_retention_days: int | None,
    ) -> None:
        self._control = control
        self._store = store
        self._clock = clock
        self._default_retention_days = default_retention_days
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins both loops; needs a running event loop."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._forget_loop()), loop.create_task(self._expire_loop())]

    def wake(self) -> None:
        """Looks for erasures now rather than at the next poll."""
        self._wake.set()

    async def close(self) -> None:
        """Stops both loops; an erasure under way is done again by the next process."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _forget_loop(self) -> None:
        while True:
            with _noted("erasures wait"):
                await self.forget_pending()
            with suppress(TimeoutError):
                # Not wait_for, which in Python 3.11 loses a cancellation that comes with a wake.
                async with asyncio.timeout(FORGET_POLL_S):
                    await self._wake.wait()
            self._wake.clear()

    async def forget_pending(self) -> None:
        """Does every erasure of this store that nobody else has claimed, all at once.

        Raises:
            StoreError: one failed; those not done are free to be claimed again. What the store
                refuses for one project is not the others' affair: theirs are done.
        """
        log = self._control.forgets
        claimed = await asyncio.to_thread(
            log.claim, store=self._store.id, now=self._clock(), lease_s=FORGET_LEASE_S
        )
        if not claimed:
            return
        left = {forget.id for forget in claimed}
        keeping = asyncio.create_task(self._keep_claims(left))
        try:
            await self._forget(claimed, left)
        finally:
            keeping.cancel()
            if left:
                await asyncio.to_thread(log.release, list(left))

    async def _keep_claims(self, forget_ids: Collection[str]) -> None:
        """So that nobody else starts on an erasure that takes longer than its lease."""
        while True:
            await asyncio.sleep(FORGET_RENEW_S)
            with _noted("claims of erasures run out"):
                await asyncio.to_thread(
                    self._control.forgets.renew,
                    list(forget_ids),
                    now=self._clock(),
                    lease_s=FORGET_LEASE_S,
                )

    async def _forget(self, forgets: Sequence[Forget], left: set[str]) -> None:
        """All at once, or a project's at once where the store refuses that.

        ``left`` loses what is done.
        """
        try:
            await self._store.delete_users(salt=forgets[0].salt, cutoffs=_find_cutoffs(forgets))
        except StoreRefused:
            shares = _split_by_project(forgets)
            if len(shares) == 1:
                raise
            await self._forget_each(shares, left)
        else:
            done = [forget.id for forget in forgets]
            await asyncio.to_thread(self._control.forgets.complete, done, now=self._clock())
            left.difference_update(done)

    async def _forget_each(self, shares: Collection[Sequence[Forget]], left: set[str]) -> None:
        refusal: StoreRefused | None = None
        for forgets in shares:
            try:
                await self._forget(forgets, left)
            except StoreRefused as error:
                refusal = error
        if refusal is not None:
            raise refusal

    async def _expire_loop(self) -> None:
        while True:
            with _noted("expiry waits"):
                await self.expire_all()
            await asyncio.sleep(RETENTION_PERIOD_S)

    async def expire_all(self) -> None:
        """Removes every project's events from before the UTC days it keeps.

        Raises:
            StoreError: the store failed for a project, and what it could do for the others is
                done; or the control database failed.
        """
        today = self._clock().date()
        retentions = await asyncio.to_thread(
            self._control.list_retentions, default_days=self._default_retention_days
        )
        failure: StoreError | None = None
        for project_id, kept_days in retentions.items():
            try:
                await self._store.expire(project_id, first_day=today - timedelta(days=kept_days))
            except StoreError as error:
                failure = error
        if failure is not None:
            raise failure


@contextmanager
def _noted(consequence: str) -> Iterator[None]:
    """Logs a failure, so that a loop outlives it: what is not ours by its type alone."""
    try:
        yield
    except StoreError as error:
        _log.error("maintenance: %s: %s", consequence, error)
    except Exception as error:  # noqa: BLE001 - nobody would start the loop again
        _log.error("maintenance: %s: %s", consequence, type(error).__name__)


def _find_cutoffs(forgets: Sequence[Forget]) -> dict[tuple[int, bytes], datetime]:
    """Each user's latest cutoff, by project id and user hash."""
    cutoffs: dict[tuple[int, bytes], datetime] = {}
    for forget in forgets:
        user = forget.project_id, forget.user_hash
        cutoffs[user] = max(forget.cutoff, cutoffs.get(user, forget.cutoff))
    return cutoffs


def _split_by_project(forgets: Sequence[Forget]) -> Collection[Sequence[Forget]]:
    by_project: dict[int, list[Forget]] = {}
    for forget in forgets:
        by_project.setdefault(forget.project_id, []).append(forget)
    return by_project.values()
