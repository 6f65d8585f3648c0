"""``millimetric-mcp demo``: see everything work, with nothing to set up."""

import logging
import sys
from argparse import Namespace
from collections.abc import Mapping
from importlib.util import find_spec

from millimetric_mcp.cli.console import open_console
from millimetric_mcp.cli.installation import describe_missing_extra
from millimetric_mcp.demo.processes import end_on_sigterm_as_on_ctrl_c
from millimetric_mcp.demo.walkthrough import run_demo
from millimetric_mcp.errors import SettingsError

__all__ = ["run"]

MIN_EVENTS = 1000
MAX_EVENTS = 100_000_000
PIPE_WIDTH_CHARS = 80
API_MODULES = ("chdb", "clickhouse_connect", "sqlalchemy", "uvicorn", "ua_parser")


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    """Run the demo; return 1 if a number in a result differs from what was sent.

    Raises:
        SettingsError: ``--events`` is out of range, or the api extra is not installed.
        DemoFailed: it could not run to its end.
    """
    _check_extra()
    if not MIN_EVENTS <= options.events <= MAX_EVENTS:
        raise SettingsError([f"--events: use {MIN_EVENTS} to {MAX_EVENTS}."])
    console = open_console(width=None if sys.stdout.isatty() else PIPE_WIDTH_CHARS)
    # An interrupted run may be over before asyncio notices that its child has ended.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    end_on_sigterm_as_on_ctrl_c()
    is_correct = run_demo(console, events=options.events, keep=options.keep, environ=environ)
    return 0 if is_correct else 1


def _check_extra() -> None:
    """Raise if the extra of the API is missing, before the API starts as a child process."""
    absent = [name for name in API_MODULES if find_spec(name) is None]
    if absent:
        missing = f"{', '.join(absent)} not installed"
        raise SettingsError([describe_missing_extra("'demo'", "api", missing=missing)])
