"""Which API runs on a data directory: it keeps its URL in a file that it holds locked.

The lock ends with the process, however it ends, so a file that is not locked is old.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "api.json"


@dataclass(frozen=True, slots=True)
class RunningApi:
    """An API that runs now. ``url`` is empty until it answers requests.

    ``public_url`` is that of its settings.
    """

    pid: int
    url: str
    public_url: str | None = None


@contextmanager
def hold_running_file(data_dir: Path, *, public_url: str | None) -> Iterator[Callable[[str], None]]:
    """Hold the file until the block ends; the function that is yielded writes the URL into it."""
    descriptor = os.open(data_dir / FILE, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        def write(url: str) -> None:
            file.truncate(0)
            running = RunningApi(os.getpid(), url, public_url)
            file.write(json.dumps(asdict(running)) + "\n")
            file.flush()

        write("")
        yield write


def find_running_api(data_dir: Path) -> RunningApi | None:
    """Return the API that runs on a data directory, or None."""
    try:
        with (data_dir / FILE).open(encoding="utf-8") as file:
            if not _is_locked(file.fileno()):
                return None
            text = file.read()
    except FileNotFoundError:
        return None
    # It is empty for a moment, while it is written again.
    return RunningApi(**json.loads(text)) if text else RunningApi(pid=0, url="")


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
