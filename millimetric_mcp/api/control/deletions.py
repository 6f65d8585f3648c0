"""The log of deletions: whose events must be deleted, and receipts of those that are.

An id is never stored, only a salted hash of it, which the store compares with.
"""

import hmac
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy import func, insert, or_, select, update

from millimetric_mcp.api.control.engine import Database
from millimetric_mcp.api.control.schema import DeletionKind, deletions

_SALT_BYTES = 16
_COLUMNS = ("id", "project_id", "kind", "user_hash", "cutoff", "requested_at", "completed_at")


@dataclass(frozen=True, slots=True)
class Deletion:
    """One deletion: every event of a user or visitor that was acknowledged before ``cutoff``.

    ``id_hash`` is sha256(salt || id in UTF-8), 32 bytes; the id is an ``anonymous_id`` if
    ``kind`` is VISITOR, else a ``user_id``. The salt belongs to the deployment; it is derived
    from the pepper and not stored. Times are UTC, exact to the microsecond. ``completed_at`` is
    None until the events are deleted.
    """

    id: str
    project_id: int
    kind: DeletionKind
    salt: bytes = field(repr=False)
    id_hash: bytes
    cutoff: datetime
    requested_at: datetime
    completed_at: datetime | None = None


class DeletionLog:
    """Deletions, pending and completed, shared by every process of a deployment.

    A process claims a deletion for a limited time. If it dies, another process claims the
    deletion later and runs it again, so running one twice must do no harm.
    Every method raises StoreUnavailable if the database fails.
    """

    def __init__(self, database: Database, *, pepper: bytes) -> None:
        self._database = database
        # The label is part of the hashes in existing databases.
        self._salt = hmac.digest(pepper, b"erasures", "sha256")[:_SALT_BYTES]

    def add(
        self,
        *,
        store: str,
        project_id: int,
        kind: DeletionKind,
        id_to_delete: str,
        cutoff: datetime,
        requested_at: datetime,
    ) -> Deletion:
        """Log a deletion for the event store of that id; it survives a crash from then on."""
        values: dict[str, Any] = {
            "id": secrets.token_hex(16),
            "project_id": project_id,
            "kind": kind,
            "user_hash": sha256(self._salt + id_to_delete.encode()).digest(),
            "cutoff": cutoff,
            "requested_at": requested_at,
        }
        with self._database.writing() as connection:
            connection.execute(insert(deletions).values(store=store, **values))
        return self._read_row(values)

    def replace_linked(self, deletion: Deletion, visitor_hashes: Iterable[bytes]) -> None:
        """Replace a LINKED deletion by one of the user and one of each visitor.

        Once the user's events are deleted, the visitors could not be found again.
        """
        with self._database.writing() as connection:
            row = (
                connection.execute(
                    update(deletions)
                    .where(deletions.c.id == deletion.id, deletions.c.kind == DeletionKind.LINKED)
                    .values(kind=DeletionKind.USER)
                    .returning(deletions)
                )
                .mappings()
                .first()
            )
            visitors = [
                {
                    **(row or {}),
                    "id": secrets.token_hex(16),
                    "kind": DeletionKind.VISITOR,
                    "user_hash": visitor_hash,
                    "claimed_until": None,
                }
                for visitor_hash in visitor_hashes
            ]
            if row and visitors:
                connection.execute(insert(deletions), visitors)

    def list_pending(self) -> tuple[Deletion, ...]:
        """Return the deletions that are not completed, oldest first, claimed ones included."""
        query = (
            select(deletions)
            .where(deletions.c.completed_at.is_(None))
            .order_by(deletions.c.requested_at, deletions.c.id)
        )
        with self._database.reading() as connection:
            return tuple(map(self._read_row, connection.execute(query).mappings()))

    def claim(
        self, *, store: str, now: datetime, lease_s: float, limit: int = 1000
    ) -> tuple[Deletion, ...]:
        """Claim at most ``limit`` of the store's pending deletions, oldest first.

        No other process can claim them for ``lease_s`` seconds, which must exceed the
        difference between the machines' clocks. Deletions without a store belong to any store.
        """
        free = (
            select(deletions.c.id)
            .where(
                deletions.c.completed_at.is_(None),
                or_(deletions.c.store.is_(None), deletions.c.store == store),
                or_(deletions.c.claimed_until.is_(None), deletions.c.claimed_until <= now),
            )
            .order_by(deletions.c.requested_at, deletions.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        take = (
            update(deletions)
            .where(deletions.c.id.in_(free.scalar_subquery()))
            .values(claimed_until=now + timedelta(seconds=lease_s))
            .returning(deletions)
        )
        with self._database.writing() as connection:
            claimed = [self._read_row(row) for row in connection.execute(take).mappings()]
        return tuple(sorted(claimed, key=lambda deletion: (deletion.requested_at, deletion.id)))

    def count_pending(self) -> tuple[int, datetime | None]:
        """Return how many deletions are not done, and when the oldest was requested."""
        query = select(func.count(), func.min(deletions.c.requested_at)).where(
            deletions.c.completed_at.is_(None)
        )
        with self._database.reading() as connection:
            count, oldest = connection.execute(query).one()
        return count, oldest

    def renew(self, deletion_ids: Sequence[str], *, now: datetime, lease_s: float) -> None:
        """Keep claimed deletions for ``lease_s`` seconds more."""
        self._change(deletion_ids, claimed_until=now + timedelta(seconds=lease_s))

    def release(self, deletion_ids: Sequence[str]) -> None:
        """Give claimed deletions back, so that any process can claim them at once."""
        self._change(deletion_ids, claimed_until=None)

    def complete(self, deletion_ids: Sequence[str], *, now: datetime) -> None:
        """Mark deletions as completed; of several completions the first one's time stays."""
        self._change(deletion_ids, completed_at=now)

    def _change(self, deletion_ids: Sequence[str], **values: datetime | None) -> None:
        with self._database.writing() as connection:
            connection.execute(
                update(deletions)
                .where(deletions.c.id.in_(deletion_ids), deletions.c.completed_at.is_(None))
                .values(values)
            )

    def _read_row(self, row: Mapping[Any, Any]) -> Deletion:
        values: dict[str, Any] = {name: row.get(name) for name in _COLUMNS}
        return Deletion(salt=self._salt, id_hash=values.pop("user_hash"), **values)
