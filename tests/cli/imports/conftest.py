"""Files in each format, and what the importer reads from them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from millimetric_mcp.cli.imports.files import list_sources
from millimetric_mcp.cli.imports.formats import find_format
from millimetric_mcp.cli.imports.records import Reading
from millimetric_mcp.cli.imports.sending import ImportCounts, check_part, count_events, cut_parts


class Found:
    """What a file holds: valid events, reasons of rejected records, and what was left out."""

    def __init__(self, path: Path, **options: object) -> None:
        reading = Reading(**options)
        counts, rejected = ImportCounts(), []
        self.events: list[dict] = []
        self.formats: list[str] = []
        for source in list_sources(path):
            found = find_format(source, name=None, is_mapped=bool(reading.columns))
            self.formats.append(found.name)
            for part in cut_parts(found.read(source, reading), counts, rejected.append):
                self.events += count_events(check_part(part, counts, rejected.append), counts)
        self.rejected = [(item.place, item.found.reason) for item in rejected]
        self.left_out = counts.left_out
        self.first, self.last = counts.first, counts.last


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Found]:
    """Reads a text as a file of that name."""

    def read_text(text: str | bytes, name: str = "file", **options: object) -> Found:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return Found(path, **options)

    return read_text


@pytest.fixture
def read_file() -> type[Found]:
    return Found
