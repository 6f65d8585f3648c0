"""The log of imports: which of their parts are stored, and which are being written.

A part is claimed before it is written and marked as stored after. A claim whose writer died is
found by the next request for the same part, which asks the store whether the part is there.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, delete, insert, select, update

from millimetric_mcp.api.control.engine import Database
from millimetric_mcp.api.control.schema import import_parts, imports

_MAX_NUMBER = 2**31 - 1


class Claim(Enum):
    """What a request has to do with a part."""

    WRITE = "it is new"
    CHECK = "its last writer may have stored it"
    STORED = "it is stored"
    BUSY = "another request writes it, or the import is being taken back"


class ClaimedPart(NamedTuple):
    """A part and what to do with it; ``events`` counts those of a stored part."""

    claim: Claim
    number: int = 0
    events: int = 0


@dataclass(frozen=True, slots=True)
class PartWriter:
    """Who writes parts: one process, to one event store.

    A claim lasts ``lease_s`` seconds. If no other process can write to the store
    (``is_alone``), claims of other writers are dead at once.
    """

    id: str
    store: str
    lease_s: float
    is_alone: bool


@dataclass(frozen=True, slots=True)
class ImportRecord:
    """One import: its stored events, and its stored parts' numbers as inclusive ranges."""

    import_id: str
    started_at: datetime
    events: int
    chunks: tuple[tuple[int, int], ...]
    is_undoing: bool


class ImportLog:
    """Imports and their parts, shared by every process of a deployment.

    Every method raises StoreUnavailable if the database fails.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(
        self, writer: PartWriter, *, project_id: int, import_id: str, chunk: int, now: datetime
    ) -> ClaimedPart:
        """Claim a part, and create its import if it is the first."""
        with self._database.writing(exclusive=True) as connection:
            number, is_undoing = _find_import(connection, writer.store, project_id, import_id)
            if is_undoing:
                return ClaimedPart(Claim.BUSY)
            if number is None:
                number = secrets.randbelow(_MAX_NUMBER) + 1
                connection.execute(
                    insert(imports).values(
                        number=number,
                        project_id=project_id,
                        import_id=import_id,
                        store=writer.store,
                        started_at=now,
                        is_undoing=False,
                    )
                )
            return _claim_part(connection, writer, number, chunk, now)

    def finish(self, part: ClaimedPart, *, chunk: int, events: int) -> None:
        """Mark a claimed part as stored."""
        with self._database.writing() as connection:
            connection.execute(
                update(import_parts)
                .where(import_parts.c.number == part.number, import_parts.c.chunk == chunk)
                .values(events=events, claimed_by=None, claimed_until=None)
            )

    def release(self, part: ClaimedPart, *, chunk: int) -> None:
        """Drop the claim of a part that is certainly not stored."""
        with self._database.writing() as connection:
            connection.execute(
                delete(import_parts).where(
                    import_parts.c.number == part.number, import_parts.c.chunk == chunk
                )
            )

    def begin_undo(
        self, writer: PartWriter, *, project_id: int, import_id: str, now: datetime
    ) -> ClaimedPart | None:
        """Close an import for new parts; None if it is unknown.

        The result's claim is BUSY if a part may be being written, else WRITE.
        """
        with self._database.writing(exclusive=True) as connection:
            number, _ = _find_import(connection, writer.store, project_id, import_id)
            if number is None:
                return None
            claims = connection.execute(
                select(import_parts.c.claimed_by, import_parts.c.claimed_until).where(
                    import_parts.c.number == number, import_parts.c.claimed_by.is_not(None)
                )
            )
            if any(_is_alive(writer, claimed_by, until, now) for claimed_by, until in claims):
                return ClaimedPart(Claim.BUSY)
            connection.execute(
                update(imports).where(imports.c.number == number).values(is_undoing=True)
            )
            return ClaimedPart(Claim.WRITE, number)

    def end_undo(self, number: int) -> None:
        """Remove an import whose events are deleted."""
        with self._database.writing() as connection:
            connection.execute(delete(import_parts).where(import_parts.c.number == number))
            connection.execute(delete(imports).where(imports.c.number == number))

    def list(self, store: str, project_id: int) -> tuple[ImportRecord, ...]:
        """Return a project's imports, oldest first."""
        query = (
            select(imports)
            .where(imports.c.store == store, imports.c.project_id == project_id)
            .order_by(imports.c.started_at, imports.c.number)
        )
        with self._database.reading() as connection:
            return tuple(_read_record(connection, row) for row in connection.execute(query).all())


def _find_import(
    connection: Connection, store: str, project_id: int, import_id: str
) -> tuple[int | None, bool]:
    """Return an import's number, and whether it is being taken back."""
    found = connection.execute(
        select(imports.c.number, imports.c.is_undoing).where(
            imports.c.project_id == project_id,
            imports.c.import_id == import_id,
            imports.c.store == store,
        )
    ).first()
    return (found.number, found.is_undoing) if found else (None, False)


def _claim_part(
    connection: Connection, writer: PartWriter, number: int, chunk: int, now: datetime
) -> ClaimedPart:
    is_this = (import_parts.c.number == number) & (import_parts.c.chunk == chunk)
    found = connection.execute(select(import_parts).where(is_this)).first()
    claimed = {
        "claimed_by": writer.id,
        "claimed_until": now + timedelta(seconds=writer.lease_s),
    }
    if found is None:
        connection.execute(
            insert(import_parts).values(number=number, chunk=chunk, events=0, **claimed)
        )
        return ClaimedPart(Claim.WRITE, number)
    if found.claimed_by is None:
        return ClaimedPart(Claim.STORED, number, found.events)
    if _is_alive(writer, found.claimed_by, found.claimed_until, now):
        return ClaimedPart(Claim.BUSY)
    connection.execute(update(import_parts).where(is_this).values(**claimed))
    return ClaimedPart(Claim.CHECK, number)


def _is_alive(writer: PartWriter, claimed_by: str, until: datetime, now: datetime) -> bool:
    return until > now and not (writer.is_alone and claimed_by != writer.id)


def _read_record(connection: Connection, row: Row[Any]) -> ImportRecord:
    stored = connection.execute(
        select(import_parts.c.chunk, import_parts.c.events)
        .where(import_parts.c.number == row.number, import_parts.c.claimed_by.is_(None))
        .order_by(import_parts.c.chunk)
    ).all()
    return ImportRecord(
        import_id=row.import_id,
        started_at=row.started_at,
        events=sum(part.events for part in stored),
        chunks=tuple(_join(part.chunk for part in stored)),
        is_undoing=row.is_undoing,
    )


def _join(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return ascending numbers as inclusive ranges."""
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges
