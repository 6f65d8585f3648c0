"""The console of commands that print tables and colours."""

import errno
import os
import sys
from typing import NoReturn

from rich.console import Console

__all__ = ["open_console"]


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        """Raise BrokenPipeError, so that the command ends as every other one does."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def open_console(*, width: int | None) -> Console:
    """Return a console on standard output. None: as wide as the terminal."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # print ? for characters that the terminal lacks
    return _Console(file=sys.stdout, width=width, highlight=False)
