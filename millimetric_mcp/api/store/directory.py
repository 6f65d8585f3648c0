"""A data directory is one process's: the embedded engine takes no second."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from millimetric_mcp.errors import DataDirectoryInUse

LOCK_FILE = "lock"


@contextmanager
def hold_directory(directory: Path) -> Iterator[None]:
    """Holds the directory until the end of the block, or of the process however it ends.

    Raises:
        DataDirectoryInUse: another process holds it.
    """
    descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataDirectoryInUse(
                f"another process already runs on {directory}; "
                "stop it, or choose another --data-dir"
            ) from None
        yield
    finally:
        os.close(descriptor)
