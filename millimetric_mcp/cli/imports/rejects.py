"""The file of the records that were rejected, each with its place and the reason."""

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from millimetric_mcp.cli.imports.records import Item, Rejected


class RejectsFile:
    """Creates its file, readable by its owner only, with the first record that is rejected.

    ``written`` are the files of this run: several sources may have the same one.
    """

    def __init__(self, source: str, *, path: str | None, written: set[Path]) -> None:
        self._source = source
        self._written = written
        name = source.replace(":", "-").replace("/", "-")
        self._wanted = Path(path) if path else Path(f"{name}.rejects.ndjson")
        self._file: TextIO | None = None
        self.path: Path | None = None

    def add(self, item: Item) -> None:
        """Write a rejected record as one line of JSON."""
        if self._file is None:
            keep = os.O_APPEND if self._wanted in self._written else os.O_TRUNC
            self._written.add(self._wanted)
            flags = os.O_CREAT | os.O_WRONLY | keep
            self._file = os.fdopen(os.open(self._wanted, flags, 0o600), "w", encoding="utf-8")
            self.path = self._wanted
        reason = item.found.reason if isinstance(item.found, Rejected) else ""
        text = item.text
        record = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        entry = {"file": self._source, "place": item.place, "reason": reason, "record": record}
        self._file.write(json.dumps(entry, default=str, ensure_ascii=False) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
