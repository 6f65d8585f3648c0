"""Backups of the embedded store. Calls block.

Each backup is complete: files that an earlier one has too are hard links to it. So any backup can
be deleted, and the others stay as they are.
"""

import os
from pathlib import Path
from xml.etree import ElementTree as ET

from millimetric_mcp.api.store.clients import ClientPool
from millimetric_mcp.api.store.statements import compose_for

_METADATA = ".backup"
"""The engine's own list of a backup's files."""


def write_backup(pool: ClientPool, directory: Path, *, base: Path | None) -> dict[str, int]:
    """Copy the store to a new directory; return how many rows each table of the copy has.

    ``base`` is an earlier backup on the same file system.
    """
    values = {"directory": str(directory)}
    if base is None:
        pool.query(compose_for("back_up", pool.target), values)
    else:
        pool.query(compose_for("back_up_changes", pool.target), values | {"base": str(base)})
        _link_unchanged(directory, base)
    return _count_backup(pool, directory)


def read_backup(pool: ClientPool, directory: Path) -> dict[str, int]:
    """Fill the empty store from a backup; return how many rows each table has now."""
    pool.query(compose_for("restore", pool.target), {"directory": str(directory)})
    return _count(pool, "count_rows")


def _count_backup(pool: ClientPool, directory: Path) -> dict[str, int]:
    pool.query(compose_for("detach_backup", pool.target))  # a process may have ended between
    pool.query(compose_for("attach_backup", pool.target), {"directory": str(directory)})
    try:
        return _count(pool, "count_backup")
    finally:
        pool.query(compose_for("detach_backup", pool.target))


def _count(pool: ClientPool, name: str) -> dict[str, int]:
    return {str(table): int(rows) for table, rows in pool.query(compose_for(name, pool.target))}


def _link_unchanged(directory: Path, base: Path) -> None:
    """Make a backup of changes complete: link the files that it has in ``base`` only."""
    places = {
        (file.findtext("size"), file.findtext("checksum")): (
            file.findtext("data_file") or file.findtext("name") or ""
        )
        for file in ET.parse(base / _METADATA).iter("file")  # noqa: S314 - the engine wrote it
    }
    metadata = ET.parse(directory / _METADATA)  # noqa: S314 - the engine wrote it
    for file in metadata.iter("file"):
        mark = file.find("use_base")
        if mark is not None:
            place = directory / (file.findtext("name") or "")
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(base / places[file.findtext("size"), file.findtext("checksum")], place)
            file.remove(mark)
    root = metadata.getroot()
    for element in [*root.findall("base_backup"), *root.findall("base_backup_uuid")]:
        root.remove(element)
    metadata.write(directory / _METADATA)
