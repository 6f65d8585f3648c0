"""Background work of the API: requested deletions, and retention of events by age."""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from millimetric_mcp.api.control import Control, Deletion, DeletionKind
from millimetric_mcp.api.store import Store
from millimetric_mcp.errors import StoreError, StoreRefused
from millimetric_mcp.web.log import log_failure

LINKED = DeletionKind.LINKED

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Intervals:
    """Seconds between looks for deletions, a claim's lease and renewal, and between removals."""

    poll_s: float = 2.0
    lease_s: float = 10.0
    renew_s: float = 3.0
    retention_s: float = 3600.0


class Maintenance:
    """Two loops over one event store and control database; several processes may run them.

    Deletions survive a crash: they are logged before they are acknowledged, and the next
    process that claims one runs it again. If ``default_retention_days`` is None, events of
    projects without a setting are kept for ever. ``save_use`` stores which keys were used.
    """

    def __init__(
        self,
        *,
        control: Control,
        store: Store,
        clock: Callable[[], datetime],
        default_retention_days: int | None,
        save_use: Callable[[], None] = lambda: None,
        intervals: Intervals = Intervals(),
    ) -> None:
        self._control = control
        self._store = store
        self._clock = clock
        self._default_retention_days = default_retention_days
        self._save_use = save_use
        self._intervals = intervals
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start both loops in the running event loop."""
        loops = (self._delete_repeatedly(), self._expire_repeatedly())
        self._tasks = [asyncio.create_task(loop) for loop in loops]

    def wake(self) -> None:
        """Look for deletions now, not at the next interval."""
        self._wake.set()

    async def close(self) -> None:
        """Stop both loops; the next process repeats a deletion that was running."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _delete_repeatedly(self) -> None:
        while True:
            with _logged("deletions wait"):
                await self.delete_pending()
            with _logged("the days of the keys' last use wait"):
                await asyncio.to_thread(self._save_use)
            with suppress(TimeoutError):
                # wait_for loses a cancellation that comes with a wake, in Python 3.11.
                async with asyncio.timeout(self._intervals.poll_s):
                    await self._wake.wait()
            self._wake.clear()

    async def delete_pending(self) -> None:
        """Run all of this store's deletions that no other process has claimed.

        Raises:
            StoreError: one failed. It and those not done can be claimed again at once. If the
                store refuses one project's, the other projects' are done.
        """
        deletions = self._control.deletions
        claimed = await asyncio.to_thread(
            deletions.claim,
            store=self._store.id,
            now=self._clock(),
            lease_s=self._intervals.lease_s,
        )
        if not claimed:
            return
        left = {deletion.id for deletion in claimed}
        renewing = asyncio.create_task(self._renew_repeatedly(left))
        try:
            # Visitors of a user are found before any events go, and claimed in the next round.
            try:
                await self._find_visitors(one for one in claimed if one.kind is LINKED)
            finally:
                await self._delete([one for one in claimed if one.kind is not LINKED], left)
        finally:
            renewing.cancel()
            if left:
                # An exception from here would replace a cancellation.
                with _logged("unfinished deletions wait until their lease ends"):
                    await asyncio.to_thread(deletions.release, list(left))

    async def _find_visitors(self, linked: Iterable[Deletion]) -> None:
        """Replace LINKED deletions by deletions of a user and its visitors, for the next round."""
        refused: StoreRefused | None = None
        for deletion in linked:
            try:
                visitors = await self._store.find_own_visitors(
                    deletion.project_id,
                    salt=deletion.salt,
                    user_hash=deletion.id_hash,
                    cutoff=deletion.cutoff,
                )
            except StoreRefused as error:
                refused = error
                continue
            await asyncio.to_thread(self._control.deletions.replace_linked, deletion, visitors)
            self.wake()
        if refused is not None:
            raise refused

    async def _renew_repeatedly(self, deletion_ids: Collection[str]) -> None:
        while True:
            await asyncio.sleep(self._intervals.renew_s)
            with _logged("another process may claim running deletions"):
                await asyncio.to_thread(
                    self._control.deletions.renew,
                    list(deletion_ids),
                    now=self._clock(),
                    lease_s=self._intervals.lease_s,
                )

    async def _delete(self, deletions: Sequence[Deletion], left: set[str]) -> None:
        """Run deletions together; one project at a time if the store refuses that.

        Removes from ``left`` the ids of those that are done.
        """
        if not deletions:
            return
        try:
            removed = await self._store.delete_people(
                salt=deletions[0].salt,
                users=_find_cutoffs(deletions, DeletionKind.USER),
                visitors=_find_cutoffs(deletions, DeletionKind.VISITOR),
            )
        except StoreRefused:
            project_ids = {deletion.project_id for deletion in deletions}
            if len(project_ids) == 1:
                raise
        else:
            done = [deletion.id for deletion in deletions]
            await asyncio.to_thread(self._control.deletions.complete, done, now=self._clock())
            left.difference_update(done)
            await self._log_removed(deletions, removed)
            return
        refused: StoreRefused | None = None
        for project_id in project_ids:
            own = [deletion for deletion in deletions if deletion.project_id == project_id]
            try:
                await self._delete(own, left)
            except StoreRefused as error:
                refused = error
        if refused is not None:
            raise refused

    async def _log_removed(self, deletions: Sequence[Deletion], removed: Mapping[int, int]) -> None:
        names = await asyncio.to_thread(self._control.name_projects)
        for project_id in sorted({deletion.project_id for deletion in deletions}):
            ids = {(one.kind, one.id_hash) for one in deletions if one.project_id == project_id}
            _log.info(
                "maintenance: forget removed %d events of %d users or visitors of project %s",
                removed.get(project_id, 0),
                len(ids),
                names[project_id],
            )

    async def _expire_repeatedly(self) -> None:
        while True:
            with _logged("events past their retention stay"):
                await self.expire_all()
            await asyncio.sleep(self._intervals.retention_s)

    async def expire_all(self) -> None:
        """Remove every project's events from UTC days before those that it keeps.

        Raises:
            StoreError: the control database failed, or the store failed for a project; the
                other projects' events are removed.
        """
        today = self._clock().date()
        retentions = await asyncio.to_thread(
            self._control.list_retentions, default_days=self._default_retention_days
        )
        failure: StoreError | None = None
        for kept in retentions:
            first_day = today - timedelta(days=kept.days)
            try:
                removed = await self._store.expire(kept.project_id, first_day=first_day)
            except StoreError as error:
                failure = error
                continue
            if removed:
                _log.info(
                    "maintenance: retention removed %d events of project %s older than %s, "
                    "because %s keeps %d days",
                    removed,
                    kept.project,
                    first_day,
                    "the project" if kept.is_own else "--retention-days",
                    kept.days,
                )
        if failure is not None:
            raise failure


@contextmanager
def _logged(consequence: str) -> Iterator[None]:
    """Log an error instead of raising it, so that its loop goes on."""
    try:
        yield
    except StoreError as error:
        _log.error("maintenance: %s: %s", consequence, error)
    except Exception as error:  # noqa: BLE001 - the loop must go on
        log_failure(_log, f"maintenance: {consequence}", error)


def _find_cutoffs(
    deletions: Sequence[Deletion], kind: DeletionKind
) -> dict[tuple[int, bytes], datetime]:
    """Return each id's latest cutoff, by project id and hash."""
    cutoffs: dict[tuple[int, bytes], datetime] = {}
    for deletion in deletions:
        if deletion.kind is kind:
            found = deletion.project_id, deletion.id_hash
            cutoffs[found] = max(deletion.cutoff, cutoffs.get(found, deletion.cutoff))
    return cutoffs
