"""A control database, and processes that use one at the same moment."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from millimetric_mcp.api.control import Control, open_control

PEPPER = b"pepper for the tests"
RACER = Path(__file__).with_name("racer.py")

Race = Callable[..., list[str]]


@pytest.fixture
def control(control_dsn: str) -> Iterator[Control]:
    opened = open_control(control_dsn, pepper=PEPPER)
    yield opened
    opened.close()


@pytest.fixture
def race() -> Race:
    """Runs ``racer.py`` with the arguments in several processes released at once."""

    def run(*arguments: str, processes: int = 4) -> list[str]:
        racers = [start_racer(*arguments) for _ in range(processes)]
        for racer in racers:
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            racer.stdin.write("go\n")
            racer.stdin.flush()
        outputs = [racer.communicate(timeout=60)[0] for racer in racers]
        assert [racer.returncode for racer in racers] == [0] * processes
        return outputs

    return run


@pytest.fixture
def start() -> Callable[..., subprocess.Popen]:
    return start_racer


def start_racer(*arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(RACER), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
