"""What the API needs of an event store."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Protocol

from millimetric_mcp.api.store.deletions import Cutoffs
from millimetric_mcp.api.store.names import StoredName
from millimetric_mcp.contract.columns import StoredEvent
from millimetric_mcp.contract.reads import WindowParams


class Store(Protocol):
    """An event store. Methods raise no errors but `StoreError`.

    ``is_alone`` if no other process can write to it. After `close`, ``left_running`` says whether
    some work did not end in time. ``checks`` are those of `Health`, by name.
    """

    id: str
    is_alone: bool
    left_running: bool
    checks: dict[str, Callable[[], Awaitable[None]]]

    def start(self) -> None:
        """Begin to accept writes; needs a running event loop."""

    def observe_groups(self, observe: Callable[[int], None]) -> None:
        """Call ``observe`` with the number of events of each group that is written at once."""

    async def close(self) -> None:
        """Write what is queued, then release everything."""

    async def append(self, events: Sequence[StoredEvent]) -> None:
        """Return when all events of one request are durably stored.

        Raises:
            StoreUnavailable: none is stored.
            StoreUncertain: it is unknown whether they are stored.
        """

    async def append_part(self, events: Sequence[StoredEvent], *, import_part: int) -> None:
        """Return when all events of an import's part are durably stored. Raises as `append`."""

    async def count_imported(self, project_id: int, *, parts: tuple[int, int]) -> int:
        """Return how many events came with ``parts``: the first and last ``import_part``."""

    async def delete_imported(self, project_id: int, *, parts: tuple[int, int]) -> int:
        """Delete the events that came with ``parts``; return how many when they are gone."""

    async def flush(self) -> None:
        """Return when the store's files hold every event that was acknowledged before.

        Raises:
            StoreUnavailable: they do not yet; the events are safe.
        """

    async def read(self, project_id: int, params: WindowParams) -> Mapping[str, Any]:
        """Return the response to a read endpoint's request, without the parameters it repeats.

        A cancelled call stops the query. Each project has its turn.

        Raises:
            RequestError: query_too_large.
        """

    async def list_names(
        self,
        project_id: int,
        *,
        except_events: Collection[str],
        source_rules: Collection[str],
        since: datetime,
        limit: int,
    ) -> Sequence[StoredName]:
        """Return the names of a project's events since a time, at most ``limit`` of each kind.

        Those that only browser keys sent come first, then those of most events. Events with one
        of ``except_events`` as name, and sources by other rules than ``source_rules``, are left
        out. Every event acknowledged before counts.
        """

    async def now(self) -> datetime:
        """Return the store's own time in UTC, exact to the microsecond."""

    async def list_damage(self) -> Sequence[str]:
        """Return a sentence on each kind of damage that a person has to check."""

    async def delete_people(
        self, *, salt: bytes, users: Cutoffs, visitors: Cutoffs
    ) -> Mapping[int, int]:
        """Delete events that arrived before each one's cutoff; return when it is done.

        Returns how many there were, by project id.
        """

    async def find_own_visitors(
        self, project_id: int, *, salt: bytes, user_hash: bytes, cutoff: datetime
    ) -> Sequence[bytes]:
        """Return the hashes of visitors that were tied to this user, and to no other."""

    async def count_project(self, project_id: int) -> int:
        """Return how many events a project has."""

    async def delete_project(self, project_id: int) -> int:
        """Delete every event of a project; return how many there were, when it is done."""

    async def expire(self, project_id: int, *, first_day: date) -> int:
        """Delete events from days before ``first_day``; return how many there were."""

    async def back_up(
        self, directory: Path, *, base: Path | None, finish: Callable[[], None]
    ) -> Mapping[str, int]:
        """Copy the embedded store to a new directory; return how many rows each table has.

        Every event acknowledged before is in it. Deletions wait until ``finish`` has returned.
        ``base`` is an earlier backup, whose unchanged files become hard links.
        """

    async def measure(self) -> Mapping[str, float]:
        """Return the store's metrics by name: of a server only what waits to be sent to it.

        Raises:
            StoreError: the store does not answer.
        """

    async def inspect(self) -> Mapping[str, Any]:
        """Return what `inspection.inspect` finds."""
