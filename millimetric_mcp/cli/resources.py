"""What the API needs of a machine, and what the machine has."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

BASE_MEMORY_BYTES = 400_000_000
"""What the API takes when it starts; questions come on top, up to --store-memory-mb."""
MIN_DISK_BYTES = 1_000_000_000


def find_free_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes of memory that this process can still take; None if not known.

    In a container it is the container's limit that counts. ``root`` holds ``proc`` and ``sys``.
    """
    found: list[int] = []
    with suppress(OSError, ValueError, StopIteration):
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        found.append(int(line.split()[1]) * 1024)
    with suppress(OSError, ValueError):  # no limit is the word max
        group = root / "sys/fs/cgroup"
        limit, used = (
            int((group / name).read_text(encoding="ascii"))
            for name in ("memory.max", "memory.current")
        )
        found.append(max(0, limit - used))
    return min(found, default=None)


def find_free_disk(directory: Path) -> int:
    """Return the free bytes of the disk that a directory is on, or will be on."""
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    return shutil.disk_usage(existing).free


def list_shortages(
    *, memory: int | None, disk: int, store_memory_mb: int, data_dir: Path
) -> Iterator[str]:
    """Yield a sentence for each resource of which the API will run out soon."""
    needed = BASE_MEMORY_BYTES + store_memory_mb * 2**20
    if memory is not None and memory < needed:
        yield (
            f"{memory / 1e9:.1f} GB of memory are free. The API takes "
            f"{BASE_MEMORY_BYTES / 1e9:.1f} GB, and up to {store_memory_mb} MiB for questions. "
            "Free some, or lower --store-memory-mb."
        )
    if disk < MIN_DISK_BYTES:
        yield (
            f"{disk / 1e9:.1f} GB of disk are free for {data_dir}. Keep at least "
            f"{MIN_DISK_BYTES / 1e9:.0f} GB free: on a full disk the API refuses events. "
            "Free some, or choose another --data-dir."
        )
