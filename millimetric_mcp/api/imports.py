"""Imports: each part is stored once, however often it is sent; all parts can be taken back."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from millimetric_mcp.api.control import Claim, ImportLog, PartWriter
from millimetric_mcp.api.store import Store
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.columns import StoredEvent
from millimetric_mcp.contract.keys import KeyRecord
from millimetric_mcp.contract.validation import format_timestamp
from millimetric_mcp.errors import RequestError, StoreUncertain

LEASE_S = 180.0
"""Longer than a server takes to end an insert, even one that got no answer."""
BUSY_RETRY_S = 1

_log = logging.getLogger(__name__)


class ImportedPart(NamedTuple):
    """A part of an import: its number, and its events as they are stored."""

    import_id: str
    chunk: int
    events: Sequence[StoredEvent]


@dataclass(frozen=True, kw_only=True, repr=False)
class Imports:
    """The imports of every project. A part's place in the store is its import's number and its own.

    ``clock`` returns the UTC time.
    """

    log: ImportLog
    store: Store
    clock: Callable[[], datetime]
    writer_id: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def _writer(self) -> PartWriter:
        return PartWriter(self.writer_id, self.store.id, LEASE_S, self.store.is_alone)

    async def store_part(self, project_id: int, given: ImportedPart) -> Mapping[str, Any]:
        """Store a part, unless it is stored.

        Raises:
            RequestError: import_busy.
            StoreError: the part is not stored, or that is unknown. It may be sent again.
        """
        part = await asyncio.to_thread(
            self.log.claim,
            self._writer,
            project_id=project_id,
            import_id=given.import_id,
            chunk=given.chunk,
            now=self.clock(),
        )
        if part.claim is Claim.BUSY:
            raise RequestError(ErrorCode.IMPORT_BUSY, retry_after_s=BUSY_RETRY_S)
        if part.claim is Claim.STORED:
            return {"ok": True, "count": part.events, "duplicate": True}
        place = (part.number << 32) + given.chunk
        if part.claim is Claim.CHECK:
            count = await self.store.count_imported(project_id, parts=(place, place))
            if count:
                await asyncio.to_thread(self.log.finish, part, chunk=given.chunk, events=count)
                return {"ok": True, "count": count, "duplicate": True}
        try:
            await self.store.append_part(given.events, import_part=place)
        except StoreUncertain:
            raise  # it stays claimed, so that the next request asks the store
        except Exception:
            await asyncio.to_thread(self.log.release, part, chunk=given.chunk)
            raise
        count = len(given.events)
        await asyncio.to_thread(self.log.finish, part, chunk=given.chunk, events=count)
        return {"ok": True, "count": count, "duplicate": False}

    async def undo(self, record: KeyRecord, import_id: str) -> Mapping[str, Any]:
        """Delete an import's events, then its parts' claims, so that it can be sent again.

        Raises:
            RequestError: import_busy.
            StoreError: some events may still be there. It may be repeated.
        """
        found = await asyncio.to_thread(
            self.log.begin_undo,
            self._writer,
            project_id=record.project_id,
            import_id=import_id,
            now=self.clock(),
        )
        if found is None:
            return {"ok": True, "deleted": 0}
        if found.claim is Claim.BUSY:
            raise RequestError(ErrorCode.IMPORT_BUSY, retry_after_s=BUSY_RETRY_S)
        first = found.number << 32
        deleted = await self.store.delete_imported(
            record.project_id, parts=(first, first + (1 << 32) - 1)
        )
        await asyncio.to_thread(self.log.end_undo, found.number)
        _log.info("imports: %d events of project %s were taken back", deleted, record.project)
        return {"ok": True, "deleted": deleted}

    async def list(self, project_id: int) -> Mapping[str, Any]:
        """Return the project's imports, oldest first."""
        records = await asyncio.to_thread(self.log.list, self.store.id, project_id)
        shown = [
            {
                "import_id": record.import_id,
                "started_at": format_timestamp(record.started_at),
                "events": record.events,
                "chunks": record.chunks,
                "is_undoing": record.is_undoing,
            }
            for record in records
        ]
        return {"ok": True, "imports": shown}
