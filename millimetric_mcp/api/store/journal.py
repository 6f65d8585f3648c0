"""The journal of the embedded store: files that hold events until the engine has them.

A file is lines of UTF-8 text; its name is the first line's arrival. Each line is

    CHECKSUM SPACE CONTENT NEWLINE

The checksum is the CRC-32 of the content, 8 hexadecimal digits. The first line's content is the
JSON list of the columns. Each other line is one request, which is stored whole or not at all:

    ARRIVAL SPACE COUNT SPACE ROWS

The arrival is in microseconds since 1970, different for each request; ROWS are COUNT lists of
JSON with a comma between them, as the engine reads them. What follows the last newline was cut
off, and was never acknowledged; neither were last lines that begin with a zero: a file has room
for more than was written, because a flush of a longer file takes half as long again. A file gets
its name when its first line is on the disk.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from zlib import crc32

from millimetric_mcp.api.store.inserts import ROW_COLUMNS, Rows
from millimetric_mcp.errors import StoreUnavailable, StoreUncertain

MIN_FREE_BYTES = 64 * 1024 * 1024
"""Below it nothing is acknowledged: the engine must have room for what is in the journal."""
RETRY_AFTER_S = 5
RESERVED_BYTES = 1024 * 1024
MAX_QUICK_S = 0.001
"""The event loop waits for a flush if the last one took no longer."""

SUFFIX, BEGUN, DAMAGED = ".journal", ".begun", ".damaged"
_flush = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


@dataclass(frozen=True, slots=True)
class Segment:
    """A file of the journal and the requests in it. ``damaged_lines`` were left out."""

    path: Path
    columns: tuple[str, ...] = ROW_COLUMNS
    requests: list[Rows] = field(default_factory=list)
    damaged_lines: int = 0


def check_space(directory: Path, *, min_free_bytes: int = MIN_FREE_BYTES) -> None:
    """Return if the directory's disk has so many bytes free.

    Raises:
        StoreUnavailable: it has not.
        OSError: it can't be asked.
    """
    disk = os.statvfs(directory)
    if disk.f_bavail * disk.f_frsize < min_free_bytes:
        raise StoreUnavailable(
            f"the disk is full: less than {min_free_bytes // 1024**2} MiB are free",
            retry_after_s=RETRY_AFTER_S,
        )


class Journal:
    """The files of one store; all methods but `append` and `seal` raise OSError.

    `append` and `seal` may be called from several threads. Without ``fsync``, what is appended
    survives the end of the process, not a power failure.
    """

    def __init__(
        self, directory: Path, *, fsync: bool, min_free_bytes: int = MIN_FREE_BYTES
    ) -> None:
        self._directory = directory
        self._fsync = fsync
        self._min_free_bytes = min_free_bytes
        self._descriptor: int | None = None
        self._size = 0
        self._flush_s = 0.0
        self._segments: list[Segment] = []
        self._lock = Lock()

    @property
    def is_quick(self) -> bool:
        """Whether the event loop can wait for a small append: a file is open on a fast disk."""
        return self._descriptor is not None and self._flush_s <= MAX_QUICK_S

    def append(self, requests: Sequence[Rows]) -> None:
        """Return when the requests are durably in the journal.

        Raises:
            StoreUnavailable: none is, for example because the disk is full.
            StoreUncertain: it is unknown whether they are.
        """
        lines = b"".join(map(_write_request, requests))
        with self._lock:
            try:
                descriptor = self._descriptor
                if descriptor is None:
                    descriptor = self._open(requests[0].received_us)
                self._write(descriptor, lines)
            except OSError as error:
                self._cut_back()
                raise StoreUnavailable(
                    f"the journal can't be written: {error.strerror}", retry_after_s=RETRY_AFTER_S
                ) from None
            self._segments[-1].requests.extend(requests)

    def seal(self) -> list[Segment]:
        """Return what was appended since the last call; what follows goes to another file."""
        with self._lock:
            self._close()
            sealed, self._segments = self._segments, []
        return sealed

    def remove(self, segments: Sequence[Segment]) -> None:
        """Delete files whose events the engine has; a damaged one is kept under another name."""
        for segment in segments:
            if segment.damaged_lines:
                segment.path.rename(segment.path.with_suffix(DAMAGED))
            else:
                segment.path.unlink(missing_ok=True)
        self._flush_directory(self._directory)

    def read_left(self) -> Iterator[Segment]:
        """Yield what an earlier process has left, oldest first."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for directory in (self._directory.parent.parent, self._directory.parent):
            self._flush_directory(directory)
        for begun in self._directory.glob(f"*{BEGUN}"):
            begun.unlink()
        for path in sorted(self._directory.glob(f"*{SUFFIX}")):
            yield read_segment(path)

    def remove_damaged(self) -> int:
        """Delete the damaged files that were kept; return how many there were."""
        damaged = list(self._directory.glob(f"*{DAMAGED}"))
        for path in damaged:
            path.unlink()
        return len(damaged)

    def _open(self, received_us: int) -> int:
        check_space(self._directory, min_free_bytes=self._min_free_bytes)
        path = self._directory / f"{received_us:016}{SUFFIX}"
        begun = path.with_suffix(BEGUN)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        self._descriptor, self._size = os.open(begun, flags, 0o600), 0
        _reserve(self._descriptor)
        self._write(self._descriptor, _write_line(json.dumps(ROW_COLUMNS).encode()))
        begun.rename(path)
        self._segments.append(Segment(path))
        self._flush_directory(self._directory)
        return self._descriptor

    def _write(self, descriptor: int, lines: bytes) -> None:
        written = 0
        while written < len(lines):
            written += os.pwrite(descriptor, lines[written:], self._size + written)
        if self._fsync:
            started_s = time.perf_counter()
            _flush(descriptor)
            self._flush_s = time.perf_counter() - started_s
        self._size += len(lines)

    def _cut_back(self) -> None:
        """Take back what was written in part, and begin another file.

        Raises:
            StoreUncertain: it may still be there when the next process reads the file.
        """
        if self._descriptor is None:
            return
        try:
            os.ftruncate(self._descriptor, self._size)
            _flush(self._descriptor)
        except OSError as error:
            raise StoreUncertain(f"the journal can't be written: {error.strerror}") from None
        finally:
            self._close()

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _flush_directory(self, directory: Path) -> None:
        if self._fsync:
            descriptor = os.open(directory, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _reserve(descriptor: int) -> None:
    """Make room in a new file, where the system can."""
    if sys.platform == "linux":
        with suppress(OSError):  # some file systems can't
            os.posix_fallocate(descriptor, 0, RESERVED_BYTES)


def read_segment(path: Path) -> Segment:
    """Return what a file holds; without the last line, if that was cut off.

    If the first line is damaged, the columns are those of this version.
    """
    *lines, _cut_off = path.read_bytes().split(b"\n")
    while lines and lines[-1].startswith(b"\0"):
        lines.pop()
    contents = [_read_line(line) for line in lines]
    head = contents[0] if contents else None
    has_head = head is not None and head.startswith(b"[")
    return Segment(
        path,
        tuple(json.loads(head)) if head and has_head else ROW_COLUMNS,
        [_read_request(content) for content in contents[has_head:] if content],
        damaged_lines=max(contents.count(None), int(not has_head)),
    )


def _write_request(request: Rows) -> bytes:
    return _write_line(b"%d %d %b" % (request.received_us, request.count, request.text))


def _read_request(content: bytes) -> Rows:
    received_us, count, text = content.split(b" ", 2)
    return Rows(int(received_us), int(count), text)


def _write_line(content: bytes) -> bytes:
    return b"%08x %b\n" % (crc32(content), content)


def _read_line(line: bytes) -> bytes | None:
    """Return a line's content; None if it is damaged."""
    content = line[9:]
    return content if line[:9] == b"%08x " % crc32(content) else None
