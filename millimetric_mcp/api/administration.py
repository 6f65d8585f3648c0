"""What commands ask of the process that holds the store and the control database."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millimetric_mcp import __version__
from millimetric_mcp.api.channel import Request
from millimetric_mcp.api.control import Control
from millimetric_mcp.api.control.datadir import CONTROL_FILE, STORE_DIR
from millimetric_mcp.api.store import Store, newest_version

BACKUP = "backup"
INSPECT = "inspect"


@dataclass(frozen=True, slots=True)
class Administration:
    """Answers the requests of ``backup`` and ``check``."""

    control: Control
    store: Store

    async def answer(self, request: Request) -> dict[str, Any]:
        """Return the answer to a request, whose ``do`` says what to do.

        Raises:
            StoreError: the store or the control database failed.
        """
        if request["do"] == BACKUP:
            base = request["base"]
            return await self._back_up(Path(request["directory"]), Path(base) if base else None)
        return {"store": await self.store.inspect()}

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
