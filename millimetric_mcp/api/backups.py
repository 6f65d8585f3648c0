"""Backups as directories: which files each one has, with their checksums.

A directory of backups has one folder for each, named by its time. `MANIFEST` is written last, so
a folder without it is no backup.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import file_digest
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from millimetric_mcp.errors import BackupUnusable

MANIFEST = "manifest.json"
FORMAT = 1
UNFINISHED = ".unfinished"


class BackupFile(BaseModel):
    """One file of a backup."""

    model_config = ConfigDict(frozen=True)

    bytes: int
    sha256: str


class Manifest(BaseModel):
    """What a backup holds.

    ``tables`` has the rows of each table, ``schema_version`` the newest migration of the store.
    ``files`` go by their path in the backup.
    """

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    millimetric_mcp: str
    created_at: datetime
    store_id: str
    schema_version: str
    tables: Mapping[str, int]
    files: Mapping[str, BackupFile]

    @property
    def events(self) -> int:
        return self.tables["events"]


def name_backup(created_at: datetime) -> str:
    """Return the folder's name of a backup made at a UTC time; names sort by time."""
    return f"{created_at:%Y-%m-%dT%H-%M-%S}-{created_at.microsecond // 1000:03}Z"


def find_backup(directory: Path) -> Path:
    """Return the backup that is ``directory``, or the newest one in it.

    Raises:
        BackupUnusable: there is none.
    """
    found = directory if (directory / MANIFEST).is_file() else find_newest(directory)
    if found is None:
        raise BackupUnusable(
            f"{directory} holds no complete backup: no {MANIFEST} is there, and no folder has one"
        )
    return found


def find_newest(directory: Path) -> Path | None:
    """Return the newest complete backup in a directory, or None."""
    return max((manifest.parent for manifest in directory.glob(f"*/{MANIFEST}")), default=None)


def read_manifest(backup: Path) -> Manifest:
    """Return a backup's manifest.

    Raises:
        BackupUnusable: it is damaged, or of a newer version.
    """
    path = backup / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError:
        raise BackupUnusable(f"{path} is damaged. Take another backup.") from None
    if manifest.format > FORMAT:
        raise BackupUnusable(
            f"{path} was written by millimetric-mcp {manifest.millimetric_mcp}, which is newer "
            "than this one. Install that version, and restore with it."
        )
    return manifest


def list_files(backup: Path, *, base: Path | None) -> dict[str, BackupFile]:
    """Return every file of a backup with its checksum, flushed to disk.

    A file that is a hard link to one of ``base`` is not read again.
    """
    known = {}
    if base is not None:
        known = {
            (base / name).stat().st_ino: file for name, file in read_manifest(base).files.items()
        }
    files = {}
    for path in _walk(backup):
        inode = path.stat().st_ino
        files[str(path.relative_to(backup))] = known.get(inode) or _read_file(path)
    return files


def check_files(backup: Path, manifest: Manifest) -> None:
    """Compare every file with the manifest.

    Raises:
        BackupUnusable: files are missing or changed; it names all of them, one a line.
    """
    missing, damaged = [], []
    for name, file in manifest.files.items():
        if not (backup / name).is_file():
            missing.append(name)
        elif _read_file(backup / name) != file:
            damaged.append(name)
    if missing or damaged:
        lines = [
            f"The backup {backup} can't be used.",
            *_list_names("Missing", missing, manifest),
            *_list_names("Damaged", damaged, manifest),
            "Nothing was changed. Restore another backup, or another copy of this one.",
        ]
        raise BackupUnusable("\n".join(lines))


def flush(path: Path) -> None:
    """Return when a file or directory is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _walk(backup: Path) -> Iterator[Path]:
    for directory, _, names in os.walk(backup):
        yield from (Path(directory, name) for name in sorted(names) if name != MANIFEST)
        flush(Path(directory))


def _read_file(path: Path) -> BackupFile:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        digest = file_digest(file, "sha256").hexdigest()
        return BackupFile(bytes=file.tell(), sha256=digest)


def _list_names(what: str, names: Sequence[str], manifest: Manifest) -> Iterator[str]:
    if names:
        yield f"{what}, {len(names)} of its {len(manifest.files)} files:"
    yield from (f"  {name}" for name in sorted(names))
