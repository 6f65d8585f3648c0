"""The API as a child that kills itself with SIGKILL at one step on the way of an event.

``python -m bench.crash_child STEP COUNT api …``: at the step's COUNT-th time.
"""

import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from millimetric_mcp.api.store import segments
from millimetric_mcp.api.store.journal import Journal
from millimetric_mcp.cli import main

P = ParamSpec("P")
ResultT = TypeVar("ResultT")

STEPS: dict[str, tuple[Any, str, bool]] = {
    "before appending": (Journal, "append", True),
    "after appending": (Journal, "append", False),
    "before sealing": (Journal, "seal", True),
    "after sealing": (Journal, "seal", False),
    "before inserting": (segments, "insert_rows", True),
    "after inserting": (segments, "insert_rows", False),
    "before removing": (Journal, "remove", True),
    "after removing": (Journal, "remove", False),
}
"""What is called at each step, and whether the process dies before or after it."""
HALF_WRITTEN = "while appending"
ALL_STEPS = (*STEPS, HALF_WRITTEN)


def die_at(step: str, count: int) -> None:
    """Makes this process end without warning at the step's ``count``-th time."""
    left = count

    def strike() -> bool:
        nonlocal left
        left -= 1
        return left <= 0

    if step == HALF_WRITTEN:
        write = Journal._write  # noqa: SLF001

        def write_half(journal: Journal, descriptor: int, lines: bytes) -> None:
            half = lines[: len(lines) // 2] if strike() else lines
            write(journal, descriptor, half)
            if half is not lines:
                _die()

        setattr(Journal, "_write", write_half)  # noqa: B010 - private
    else:
        owner, name, is_before = STEPS[step]
        setattr(owner, name, _wrap(getattr(owner, name), strike, is_before=is_before))


def _wrap(
    work: Callable[P, ResultT], strike: Callable[[], bool], *, is_before: bool
) -> Callable[P, ResultT]:
    @wraps(work)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> ResultT:
        is_last = strike()
        if is_last and is_before:
            _die()
        result = work(*args, **kwargs)
        if is_last:
            _die()
        return result

    return wrapped


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    die_at(sys.argv[1], int(sys.argv[2]))
    sys.exit(main(sys.argv[3:]))
