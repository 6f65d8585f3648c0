"""The forget log: which erasures were asked for, and the receipts of those done.

A user's id is never kept: only a salted hash of it, by which the store finds the rows.
"""

import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from sqlalchemy import RowMapping, insert, or_, select, update

from millimetric_mcp.api.control.engine import Database
from millimetric_mcp.api.control.schema import forgets
from millimetric_mcp.api.control.times import from_us, to_us

__all__ = ["Forget", "ForgetLog"]

_SALT_BYTES = 16


@dataclass(frozen=True, slots=True)
class Forget:
    """One erasure: every event of the user acknowledged before ``cutoff``.

    ``user_hash`` is sha256(salt || user_id in UTF-8), 32 bytes; the salt is the deployment's,
    derived from its pepper and not kept beside it. Times are UTC, exact to the
    microsecond; ``completed_at`` is None until the rows are gone.
    """

    id: str
    project_id: int
    salt: bytes = field(repr=False)
    user_hash: bytes
    cutoff: datetime
    requested_at: datetime
    completed_at: datetime | None = None

    def names(self, user_id: str) -> bool:
        """Whether this is the erasure of that user."""
        return hmac.compare_digest(self.user_hash, _hash_user_id(user_id, self.salt))


class ForgetLog:
    """Erasures to do and done, shared by every process of a deployment.

    An erasure is claimed for a time and done again by whoever claims it next unless it was
    completed: a process that dies loses none, and doing one twice must be harmless.
    """

    def __init__(self, database: Database, *, pepper: bytes) -> None:
        self._database = database
        self._salt = hmac.digest(pepper, b"erasures", "sha256")[:_SALT_BYTES]

    def add(
        self, *, store: str, project_id: int, user_id: str, cutoff: datetime, requested_at: datetime
    ) -> Forget:
        """Log an erasure in the event store of that id; it survives a crash once this returns.

        Raises:
            StoreUnavailable: it was not logged.
        """
        forget = Forget(
            id=secrets.token_hex(16),
            project_id=project_id,
            salt=self._salt,
            user_hash=_hash_user_id(user_id, self._salt),
            cutoff=cutoff,
            requested_at=requested_at,
        )
        with self._database.writing() as connection:
            connection.execute(
                insert(forgets).values(
                    id=forget.id,
                    store=store,
                    project_id=project_id,
                    user_hash=forget.user_hash,
                    cutoff=to_us(cutoff),
                    requested_at=to_us(requested_at),
                )
            )
        return forget

    def list_pending(self) -> tuple[Forget, ...]:
        """The erasures not completed, claimed or not, oldest first."""
        query = (
            select(forgets)
            .where(forgets.c.completed_at.is_(None))
            .order_by(forgets.c.requested_at, forgets.c.id)
        )
        with self._database.reading() as connection:
            return tuple(
                _to_forget(row, self._salt) for row in connection.execute(query).mappings()
            )

    def find(self, forget_id: str) -> Forget | None:
        """An erasure, its receipt once it is completed."""
        with self._database.reading() as connection:
            query = select(forgets).where(forgets.c.id == forget_id)
            row = connection.execute(query).mappings().first()
        return _to_forget(row, self._salt) if row else None

    def claim(
        self, *, store: str, now: datetime, lease_s: float, limit: int = 1000
    ) -> tuple[Forget, ...]:
        """At most ``limit`` of the store's pending erasures, oldest first, now ours.

        Nobody else has claimed them, and they stay ours for ``lease_s`` seconds: longer than
        clocks of machines differ. Those that name no store are everybody's.
        """
        free = (
            select(forgets.c.id)
            .where(
                forgets.c.completed_at.is_(None),
                or_(forgets.c.store.is_(None), forgets.c.store == store),
                or_(forgets.c.claimed_until.is_(None), forgets.c.claimed_until <= to_us(now)),
            )
            .order_by(forgets.c.requested_at, forgets.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        take = (
            update(forgets)
            .where(forgets.c.id.in_(free.scalar_subquery()))
            .values(claimed_until=_lease_end(now, lease_s))
            .returning(forgets)
        )
        with self._database.writing() as connection:
            claimed = [_to_forget(row, self._salt) for row in connection.execute(take).mappings()]
        return tuple(sorted(claimed, key=lambda forget: (forget.requested_at, forget.id)))

    def renew(self, forget_ids: Sequence[str], *, now: datetime, lease_s: float) -> None:
        """Keep claimed erasures that take longer than their lease."""
        self._set_claim(forget_ids, _lease_end(now, lease_s))

    def release(self, forget_ids: Sequence[str]) -> None:
        """Give claimed erasures back at once, to be tried again by anybody."""
        self._set_claim(forget_ids, None)

    def complete(self, forget_ids: Sequence[str], *, now: datetime) -> None:
        """Turn erasures into their receipts; the first completion's time stands."""
        with self._database.writing() as connection:
            connection.execute(
                update(forgets)
                .where(forgets.c.id.in_(forget_ids), forgets.c.completed_at.is_(None))
                .values(completed_at=to_us(now))
            )

    def _set_claim(self, forget_ids: Sequence[str], claimed_until: int | None) -> None:
        with self._database.writing() as connection:
            connection.execute(
                update(forgets)
                .where(forgets.c.id.in_(forget_ids), forgets.c.completed_at.is_(None))
                .values(claimed_until=claimed_until)
            )


def _hash_user_id(user_id: str, salt: bytes) -> bytes:
    return sha256(salt + user_id.encode()).digest()


def _lease_end(now: datetime, lease_s: float) -> int:
    return to_us(now) + round(lease_s * 1_000_000)


def _to_forget(columns: RowMapping, salt: bytes) -> Forget:
    return Forget(
        id=columns["id"],
        project_id=columns["project_id"],
        salt=salt,
        user_hash=columns["user_hash"],
        cutoff=from_us(columns["cutoff"]),
        requested_at=from_us(columns["requested_at"]),
        completed_at=None if columns["completed_at"] is None else from_us(columns["completed_at"]),
    )
