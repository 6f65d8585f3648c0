"""The ``millimetric-mcp`` command: argv and the environment end here.

Each command's module is imported when it runs, so that ``--version`` and ``--help`` load no
server, and the MCP server loads nothing of the embedded API.
"""

import argparse
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TextIO

from millimetric_mcp import __version__
from millimetric_mcp.errors import MillimetricError, SettingsError

__all__ = ["main"]

Run = Callable[[argparse.Namespace, Mapping[str, str]], int]

EXIT_FAILURE = 1
EXIT_USAGE = 2

_API_COMMANDS = frozenset({"api", "keys", "migrate", "classify", "demo"})
_UNSUPPORTED = (
    "The embedded API runs on Linux and macOS. On Windows use WSL, or the MCP server "
    "(--transport stdio) with MILLIMETRIC_HOST set to an API on another machine."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0, 1 for a failure, 2 for wrong settings."""
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        if sys.stdout and not sys.stdout.closed:  # there may be none
            sys.stdout.flush()
    except SettingsError as error:
        for fault in error.errors:
            print(f"millimetric-mcp: {fault}", file=sys.stderr)
        return EXIT_USAGE
    except MillimetricError as error:
        print(f"millimetric-mcp: {error}", file=sys.stderr)
        return EXIT_FAILURE
    except OSError as error:
        _silence(sys.stdout)
        what = f"{error.filename}: " if error.filename else "reading or writing failed: "
        print(f"millimetric-mcp: {what}{error.strerror or type(error).__name__}", file=sys.stderr)
        return EXIT_FAILURE
    except KeyboardInterrupt:
        return 128 + 2
    return code


def _run(arguments: list[str]) -> int:
    if arguments == ["--version"]:
        print(f"millimetric-mcp {__version__}")
        return 0
    if arguments[:1] == ["api"]:  # its modules take a second to load
        signal.signal(signal.SIGTERM, _end_before_serving)
    from millimetric_mcp.cli.parser import build_parser  # noqa: PLC0415

    options = build_parser().parse_args(arguments)
    _ensure_output(options.command)
    return _load(options.command or "serve")(options, os.environ)


def _end_before_serving(*_: object) -> None:
    """Nothing is under way yet that has to be drained. An exception would do for Python's own
    code, but an extension that is being imported makes another of it."""
    os._exit(0)


def _ensure_output(command: str | None) -> None:
    """A closed standard output is no fault of the API's, but of a command that tells keys."""
    if sys.stdout is None and command == "keys":
        raise SettingsError(["keys: standard output is closed, and keys are told there"])
    if sys.stdout is None and command == "api":
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - to the end


def _silence(stream: TextIO) -> None:
    """What could not be written is not tried again when Python ends, which would say so too."""
    with suppress(OSError, ValueError, AttributeError):  # it is closed, or there is none
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, stream.fileno())
        os.close(descriptor)


def _load(command: str) -> Run:
    try:
        with _uncollected():
            run: Run = import_module(f"millimetric_mcp.cli.{command}").run
    except ModuleNotFoundError as error:
        if command not in _API_COMMANDS or (error.name or "").startswith("millimetric_mcp"):
            raise
        if sys.platform == "win32" or error.name == "fcntl":
            raise SettingsError([_UNSUPPORTED]) from None
        missing = (
            f"'{command}' needs the api extra ({error.name} is not installed): "
            "pip install 'millimetric-mcp[api]'"
        )
        raise SettingsError([missing]) from None
    return run


@contextmanager
def _uncollected() -> Iterator[None]:
    """Imports make much and free nothing; the collector's looking through it is a tenth of a
    start. What is loaded then stays out of its sight."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
