"""The ``millimetric-mcp`` command; only here are argv and the environment read.

Each command's module is imported when it runs, so ``--version`` and ``--help`` load no server,
and the MCP server loads nothing of the embedded API.
"""

import argparse
import gc
import os
import select
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TextIO

from millimetric_mcp import __version__
from millimetric_mcp.cli.installation import describe_missing_extra
from millimetric_mcp.errors import MillimetricError, SettingsError

__all__ = ["main"]

Run = Callable[[argparse.Namespace, Mapping[str, str]], int]

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_NO_READER = 141
"""What a shell calls a command that SIGPIPE ended."""

_API_COMMANDS = frozenset(
    {
        "api",
        "keys",
        "projects",
        "local",
        "migrate",
        "backup",
        "restore",
        "check",
        "classify",
        "demo",
        "import",
        "report",
    }
)
_KEYWORDS = {"import": "imports"}
"""The modules of commands whose names are words of Python."""
_UNSUPPORTED = (
    "The embedded API runs on Linux and macOS. On Windows use WSL, or the MCP server "
    "(--transport stdio) with MILLIMETRIC_HOST set to an API on another machine."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 for a failure, 2 for wrong settings."""
    try:
        return _run_and_report(argv)
    except BaseException as error:
        if _is_interrupted(error):
            return EXIT_INTERRUPTED
        raise


def _is_interrupted(error: BaseException | None) -> bool:
    """Return whether an exception is due to Ctrl-C: other code may have put its own around that."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(_is_interrupted, error.exceptions))
    if error is None or isinstance(error, KeyboardInterrupt):
        return error is not None
    return _is_interrupted(error.__cause__ or error.__context__)


def _run_and_report(argv: Sequence[str] | None) -> int:
    """Run one command, say in a sentence what failed, and return the exit code."""
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        if sys.stdout and not sys.stdout.closed:  # there may be none
            sys.stdout.flush()
    except SettingsError as error:
        for sentence in error.errors:
            print(f"millimetric-mcp: {sentence}", file=sys.stderr)
        return EXIT_USAGE
    except MillimetricError as error:
        print(f"millimetric-mcp: {error}", file=sys.stderr)
        return EXIT_FAILURE
    except OSError as error:
        has_reader = _has_reader(sys.stdout)
        _discard(sys.stdout)
        if not has_reader:
            return EXIT_NO_READER
        what = f"{error.filename}: " if error.filename else "reading or writing failed: "
        print(f"millimetric-mcp: {what}{error.strerror or type(error).__name__}", file=sys.stderr)
        return EXIT_FAILURE
    return code


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:], "--help"]
    if arguments[:1] in (["version"], ["--version"]):
        print(f"millimetric-mcp {__version__}")
        return 0
    if arguments[:1] in ([], ["--local"]):
        arguments.insert(0, "serve")
    if arguments[:1] == ["api"]:  # its modules take a second to load
        signal.signal(signal.SIGTERM, _end_at_once)
    from millimetric_mcp.cli.parser import build_parser, find_command  # noqa: PLC0415

    options = build_parser(find_command(arguments)).parse_args(arguments)
    _check_output(options.command)
    return _load(options.command)(options, os.environ)


def _end_at_once(*_: object) -> None:
    # Nothing runs yet that has to end first. An exception would not do: a C extension that is
    # being imported turns it into an ImportError.
    os._exit(0)


def _check_output(command: str) -> None:
    """Discard what goes to closed outputs; raise if the command prints keys."""
    if sys.stdout is None and command == "keys":
        raise SettingsError(["keys: standard output is closed. Open it: the keys go there."])
    if command != "serve":
        sys.stdout = sys.stdout or _open_devnull()
        sys.stderr = sys.stderr or _open_devnull()


def _open_devnull() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


def _has_reader(stream: TextIO) -> bool:
    """Return False if what reads the output has ended, as ``head`` does when it has enough."""
    with suppress(ValueError, AttributeError, OSError):  # it is closed, or there is none
        poll = select.poll()  # not on Windows
        poll.register(stream, 0)
        return not any(events & select.POLLERR for _, events in poll.poll(0))
    return True


def _discard(stream: TextIO) -> None:
    """Discard what could not be written; Python would try again, and fail, when it ends."""
    with suppress(OSError, ValueError, AttributeError):  # it is closed, or there is none
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, stream.fileno())
        os.close(descriptor)


def _load(command: str) -> Run:
    # Imports free nothing, and collecting takes a tenth of the start. What they created is
    # left out of later collections too.
    gc.disable()
    try:
        module = _KEYWORDS.get(command, command)
        run: Run = import_module(f"millimetric_mcp.cli.{module}").run
    except ModuleNotFoundError as error:
        if command not in _API_COMMANDS or (error.name or "").startswith("millimetric_mcp"):
            raise
        if sys.platform == "win32" or error.name == "fcntl":
            raise SettingsError([_UNSUPPORTED]) from None
        missing = f"{error.name} is not installed"
        sentence = describe_missing_extra(f"'{command}'", "api", missing=missing)
        raise SettingsError([sentence]) from None
    finally:
        gc.freeze()
        gc.enable()
    return run
