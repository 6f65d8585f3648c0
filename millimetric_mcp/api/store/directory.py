"""Locks on the data directory: the embedded engine allows one process."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from millimetric_mcp.api.store.dsn import StoreTarget
from millimetric_mcp.errors import DataDirectoryInUse, SettingsError

LOCK_FILE = "lock"

_DATA_DIR = "--data-dir / MILLIMETRIC_DATA_DIR"
_STORE = "--store / MILLIMETRIC_STORE"


@contextmanager
def hold_directories(data_dir: Path, target: StoreTarget) -> Iterator[None]:
    """Lock the data directory and the embedded store's directory until the block ends.

    The locks end with the process too, however it ends. A server's store is not locked.

    Raises:
        DataDirectoryInUse: another process has locked one of them.
        SettingsError: one can't be written.
    """
    if not target.embedded:
        yield
        return
    store_dir = Path(target.address)
    with ExitStack() as stack:
        stack.enter_context(_lock(data_dir, _DATA_DIR))
        if store_dir.resolve() != data_dir.resolve():
            stack.enter_context(_lock(store_dir, _STORE))
        yield


@contextmanager
def _lock(directory: Path, setting: str) -> Iterator[None]:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise SettingsError(
            [f"{setting}: {directory} can't be written: {error.strerror}"]
        ) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataDirectoryInUse(
                f"another process uses {directory}. Stop it, or choose another {setting}."
            ) from None
        yield
    finally:
        os.close(descriptor)
