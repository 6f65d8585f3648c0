"""An embedded store and its data directory are one process's: the engine takes no second."""

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
    """Holds the data directory and the embedded store, wherever it lies, until the end of the
    block, or of the process however it ends. A server's store is nobody's to hold.

    Raises:
        DataDirectoryInUse: another process holds one of them.
        SettingsError: one can't be written.
    """
    if not target.embedded:
        yield
        return
    store_dir = Path(target.address)
    with ExitStack() as stack:
        stack.enter_context(_hold(data_dir, _DATA_DIR))
        if store_dir.resolve() != data_dir.resolve():
            stack.enter_context(_hold(store_dir, _STORE))
        yield


@contextmanager
def _hold(directory: Path, setting: str) -> Iterator[None]:
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
                f"another process already runs on {directory}; stop it, or choose another {setting}"
            ) from None
        yield
    finally:
        os.close(descriptor)
