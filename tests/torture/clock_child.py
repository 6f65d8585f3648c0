"""The API with a clock that is ahead of the system's by the seconds in a file.

``python -m tests.torture.clock_child FILE api …``
"""

import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

from millimetric_mcp.api import app
from millimetric_mcp.api.control import database
from millimetric_mcp.api.store import writers
from millimetric_mcp.cli import main

OFFSET = Path(sys.argv[1])


class JumpingClock(datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + timedelta(seconds=int(OFFSET.read_text()))


def read_time_ns():
    return time.time_ns() + int(OFFSET.read_text()) * 10**9


if __name__ == "__main__":
    app.datetime = database.datetime = JumpingClock
    writers.time = SimpleNamespace(time_ns=read_time_ns, monotonic=time.monotonic)
    sys.exit(main(sys.argv[2:]))
