"""Files to import: their lines, their first bytes, and an id made of their content."""

import codecs
import gzip
import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, cast

from millimetric_mcp.errors import ImportFailed

SAMPLE_BYTES = 64 * 1024
HEAD_BYTES = 4096
MAX_LINE_BYTES = 1024 * 1024
_ENCRYPTED = 1
"""A bit of a zip member's flags."""
_ZIPPED = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA})


@dataclass(frozen=True)
class SourceFile:
    """One file on disk, or one member of a zip file; gzip is inflated while it is read."""

    path: Path
    member: str | None = None
    _open_files: list[IO[bytes]] = field(default_factory=list, repr=False, compare=False)

    @property
    def name(self) -> str:
        return f"{self.path.name}:{self.member}" if self.member else self.path.name

    @property
    def size_bytes(self) -> int:
        return self.path.stat().st_size

    @property
    def done_bytes(self) -> int:
        """How much of the file on disk is read."""
        return self._open_files[-1].tell() if self._open_files else 0

    @cached_property
    def sample(self) -> bytes:
        """The first bytes, inflated."""
        with self.open() as file:
            return file.read(SAMPLE_BYTES)

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open the file, inflated, without the byte order mark that some programs begin with."""
        try:
            with self.path.open("rb") as raw:
                self._open_files.append(raw)
                try:
                    yield from self._inflate(raw)
                finally:
                    self._open_files.pop()
        except (gzip.BadGzipFile, EOFError, zipfile.BadZipFile, zlib.error):
            raise ImportFailed(f"{self.name} is a broken archive. Compress it again.") from None

    def _inflate(self, raw: IO[bytes]) -> Iterator[IO[bytes]]:
        if self.member is not None:
            with zipfile.ZipFile(raw) as archive, archive.open(self.member) as file:
                yield _skip_mark(file)
        elif _starts_with(raw, b"\x1f\x8b"):
            with gzip.open(raw) as file:
                yield _skip_mark(cast("IO[bytes]", file))
        else:
            yield _skip_mark(raw)

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield the lines that are not empty, and the number of each, from 1.

        Only the beginning of a line above `MAX_LINE_BYTES` is yielded.
        """
        with self.open() as file:
            number, is_rest = 0, False
            while line := file.readline(MAX_LINE_BYTES):
                if not is_rest:
                    number += 1
                    if stripped := line.strip():
                        yield number, stripped
                is_rest = not line.endswith(b"\n")

    @contextmanager
    def text(self) -> Iterator[io.TextIOWrapper]:
        """Open the file as text; invalid UTF-8 is replaced."""
        with self.open() as file:
            yield io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline="")

    def make_id(self, options: str) -> str:
        """Return an id of the content and the options that decide what becomes of it.

        It begins with `head_id`.
        """
        digest = hashlib.blake2b(options.encode(), digest_size=10)
        with self.open() as file:
            while block := file.read(1024 * 1024):
                digest.update(block)
        return f"{self.head_id}-{digest.hexdigest()}"

    def find_beside(self, name: str) -> "SourceFile | None":
        """Return the file of that name in the same directory, or in the same zip file."""
        if self.member is None:
            path = self.path.with_name(name)
            return SourceFile(path) if path.is_file() else None
        wanted = "".join(self.member.rpartition("/")[:2]) + name
        return next((file for file in list_sources(self.path) if file.member == wanted), None)

    @cached_property
    def head_id(self) -> str:
        """An id of the file's beginning: the same for a log that has grown."""
        return hashlib.blake2b(self.sample[:HEAD_BYTES], digest_size=5).hexdigest()


def list_sources(path: Path) -> list[SourceFile]:
    """Return the file, or the data files of a zip file.

    Raises:
        ImportFailed: it is no file.
    """
    if not path.is_file():
        raise ImportFailed(f"{path} {_describe_no_file(path)}. Name a file.")
    with path.open("rb") as raw:
        if not _starts_with(raw, b"PK\x03\x04"):
            return [SourceFile(path)]
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if _is_data(entry.filename)]
    except zipfile.BadZipFile:
        raise ImportFailed(f"{path} is a broken zip file. Fetch it again.") from None
    if not entries:
        raise ImportFailed(f"{path} holds no .csv, .json, .jsonl, .ndjson or .log file.")
    if any(entry.flag_bits & _ENCRYPTED or entry.compress_type not in _ZIPPED for entry in entries):
        raise ImportFailed(f"{path} is encrypted, or compressed in an unusual way. Unpack it.")
    return [SourceFile(path, name) for name in sorted(entry.filename for entry in entries)]


def _describe_no_file(path: Path) -> str:
    if path.is_dir():
        return "is a directory"
    if path.exists() or path == Path("-"):
        return "is no file on disk, and an import reads its file more than once"
    return "does not exist"


def _is_data(name: str) -> bool:
    return name.lower().endswith((".csv", ".json", ".jsonl", ".ndjson", ".log"))


def _skip_mark(file: IO[bytes]) -> IO[bytes]:
    if _starts_with(file, codecs.BOM_UTF8):
        file.seek(len(codecs.BOM_UTF8))
    return file


def _starts_with(file: IO[bytes], magic: bytes) -> bool:
    found = file.read(len(magic)) == magic
    file.seek(0)
    return found
