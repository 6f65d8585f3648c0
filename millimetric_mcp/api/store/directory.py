"""Locks on the data directory: the embedded engine allows one process."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

from millimetric_mcp.api.store.dsn import StoreTarget
from millimetric_mcp.api.store.journal import MIN_FREE_BYTES, check_space
from millimetric_mcp.errors import DataDirectoryInUse, SettingsError, StoreUnavailable

LOCK_FILE = "lock"
PROBE_BYTES = 64 * 1024

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


def check_writable(directory: Path, *, min_free_bytes: int = MIN_FREE_BYTES) -> None:
    """Return if events can be written in ``directory``.

    Raises:
        StoreUnavailable: it can't.
    """
    try:
        check_space(directory, min_free_bytes=min_free_bytes)
        with NamedTemporaryFile(dir=directory, prefix="probe-") as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StoreUnavailable(f"the event store's directory can't be written: {reason}") from None


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
