"""What commands ask of the process that holds the store and the control database."""

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millimetric_mcp import __version__
from millimetric_mcp.api.channel import Request
from millimetric_mcp.api.control import Control
from millimetric_mcp.api.control.datadir import CONTROL_FILE, STORE_DIR
from millimetric_mcp.api.store import Store, newest_version

BACKUP = "backup"
COUNT_PROJECT = "count project"
DELETE_PROJECT = "delete project"
INSPECT = "inspect"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Administration:
    """Answers the requests of ``backup``, ``check`` and ``projects delete``.

    ``last_writes_s`` is how long a revoked key may still write: the time that the API's processes
    remember keys for, and that a request takes.
    """

    control: Control
    store: Store
    last_writes_s: float = 5.0

    async def answer(self, request: Request) -> dict[str, Any]:
        """Return the answer to a request, whose ``do`` says what to do.

        Raises:
            StoreError: the store or the control database failed.
        """
        if request["do"] == BACKUP:
            base = request["base"]
            return await self._back_up(Path(request["directory"]), Path(base) if base else None)
        if request["do"] == COUNT_PROJECT:
            ids = await asyncio.to_thread(self.control.projects.find_ids, request["name"])
            return {"events": sum([await self.store.count_project(one) for one in ids])}
        if request["do"] == DELETE_PROJECT:
            return await self._delete_project(request["name"])
        return {"store": await self.store.inspect()}

    async def _delete_project(self, name: str) -> dict[str, Any]:
        """Delete a project's events, keys and records. If it is interrupted, it can be repeated."""
        projects = self.control.projects
        ids = await asyncio.to_thread(projects.find_ids, name)
        await asyncio.to_thread(projects.revoke_keys, ids)
        await asyncio.sleep(self.last_writes_s)
        events = sum([await self.store.delete_project(one) for one in ids])
        prefixes = await asyncio.to_thread(projects.remove, ids)
        _log.info(
            "administration: removed project %s on request: %d events, %d keys",
            name,
            events,
            len(prefixes),
        )
        return {"events": events, "prefixes": list(prefixes)}

    async def _back_up(self, directory: Path, base: Path | None) -> dict[str, Any]:
        tables = await self.store.back_up(
            directory / STORE_DIR,
            base=base / STORE_DIR if base else None,
            # No deletion is between its two halves now: its rows and its record stay together.
            finish=lambda: self.control.copy_to(directory / CONTROL_FILE),
        )
        return {
            "store_id": self.store.id,
            "schema_version": newest_version(),
            "millimetric_mcp": __version__,
            "tables": tables,
        }
