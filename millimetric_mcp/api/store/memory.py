"""Keeps small what the embedded engine takes of the process's memory before any load."""

import ctypes
import sys
from pathlib import Path

_ENGINE_FILE = "_chdb"
_MADV_DONTNEED = 4
_MAPS = Path("/proc/self/maps")


def import_engine() -> None:
    """Import the engine without pyarrow, which it takes if it is there, and which nothing needs.

    This saves 40 MB, and half a second of the start.
    """
    left_out = {"pyarrow": None} if "pyarrow" not in sys.modules else {}
    sys.modules.update(left_out)  # type: ignore[arg-type]  # None: the import fails
    try:
        import chdb  # noqa: F401, PLC0415 - slow, and no part of a store on a server
    finally:
        for name in left_out:
            del sys.modules[name]


def release_code() -> None:
    """Unmap the engine's code that its start has used, 150 MB, of which little is used again.

    The system maps a page again, from its cache of the file, when it is used. On Linux only.
    """
    if not _MAPS.exists():
        return
    madvise = ctypes.CDLL(None).madvise
    for line in _MAPS.read_text(encoding="utf-8", errors="replace").splitlines():
        place, rights, *_, file = line.split(maxsplit=5)
        if rights == "r-xp" and Path(file).name.startswith(_ENGINE_FILE):
            start, end = (int(address, 16) for address in place.split("-"))
            madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)
