"""What the embedded engine takes of the process's memory before any load."""

import sys

import pytest

from millimetric_mcp.api.store.clients import ClientPool
from millimetric_mcp.api.store.dsn import StoreTarget
from millimetric_mcp.api.store.memory import release_code

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def measure_code_kb() -> int:
    """Resident memory of the engine's code."""
    found_kb, is_code = 0, False
    with open("/proc/self/smaps", encoding="utf-8") as lines:
        for line in lines:
            if "-" in line.split()[0]:
                is_code = " r-xp " in line and "/_chdb" in line
            elif is_code and line.startswith("Rss:"):
                found_kb += int(line.split()[1])
    return found_kb


def test_the_engine_answers_without_the_code_of_its_start(engine_target: StoreTarget):
    pool = ClientPool(engine_target)
    before_kb = measure_code_kb()

    release_code()

    released_kb = before_kb - measure_code_kb()
    assert pool.query("SELECT sum(number) FROM numbers(10)") == [(45,)]
    pool.close()
    assert released_kb > before_kb / 2
