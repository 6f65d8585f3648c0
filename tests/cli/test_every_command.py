"""What holds for every command: help with an example, exit codes, and no traceback, ever."""

import argparse
import os
import re
import signal
import subprocess
import sys

import pytest

from millimetric_mcp import cli
from millimetric_mcp.cli.parser import build_parser

DEADLINE_S = 60
MISSING = "/nonexistent/there.ndjson"
ARGUMENTS = {
    "serve": ["--transport", "http", "--port", "0"],
    "api": ["--port", "0"],
    "config": ["claude-code"],
    "keys create": ["--kind", "rk"],
    "keys revoke": ["AbCd1234"],
    "backup": ["copy"],
    "restore": ["copy"],
    "import": [MISSING],
    "classify": ["https://shop.example/?fbclid=1"],
    "demo": ["--events", "1000"],
}
"""What a command needs besides its name; a command that needs nothing has no entry."""


def list_commands(parser: argparse.ArgumentParser, path: tuple[str, ...] = ()):
    """Every command with its parser, from the command line's own tree."""
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    for group in groups:
        for name, command in group.choices.items():
            yield from list_commands(command, (*path, name))
    if not groups:
        yield " ".join(path), parser


PARSERS = dict(list_commands(build_parser()))
ENDLESS = {"serve", "api", "demo"}


@pytest.fixture
def environ(tmp_path):
    """A home directory without settings."""
    own = {k: v for k, v in os.environ.items() if not k.startswith("MILLIMETRIC_")}
    places = {name: str(tmp_path / name) for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    return {**own, **places, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}


def run(code_or_command, environ, tmp_path, **options):
    return subprocess.run(
        [sys.executable, *code_or_command],
        env=environ,
        cwd=tmp_path,
        text=True,
        check=False,
        timeout=DEADLINE_S,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        **options,
    )


def arguments_of(command):
    return [*command.split(), *ARGUMENTS.get(command, [])]


@pytest.mark.parametrize("command", PARSERS)
def test_the_help_of_every_command_has_an_example_that_is_read_without_error(command):
    text = PARSERS[command].format_help()
    start = f"  millimetric-mcp {command}"
    lines = [line for line in text.splitlines() if line.startswith(start)]

    assert lines
    assert PARSERS[command].description


def test_the_help_and_the_reference_document_the_exit_codes(environ, tmp_path):
    text = run(
        ["-m", "millimetric_mcp", "--help"], environ, tmp_path, stdout=subprocess.PIPE
    ).stdout

    for code in ("0", "1", "2", "130", "141"):
        assert f"\n  {code:5} " in text


@pytest.mark.parametrize("command", PARSERS)
def test_an_unknown_option_is_a_usage_error_of_every_command(command, environ, tmp_path):
    arguments = [*arguments_of(command), "--frobnicate"]
    done = run(["-m", "millimetric_mcp", *arguments], environ, tmp_path, stdout=subprocess.PIPE)

    assert done.returncode == 2
    assert "--frobnicate" in done.stderr or "is missing" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", PARSERS)
@pytest.mark.parametrize("after_s", [0.02, 0.2, 0.6])
def test_ctrl_c_ends_every_command_without_a_traceback(command, after_s, environ, tmp_path):
    code = (
        "import signal, sys; from millimetric_mcp.cli import main;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"  # ignored if run with `&`
        "signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT));"
        f"signal.setitimer(signal.ITIMER_REAL, {after_s});"
        f"sys.exit(main({arguments_of(command)!r}))"
    )
    done = run(["-c", code], environ, tmp_path, stdout=subprocess.PIPE)

    # The alarm may come when Python has ended the command, and its own handlers are gone.
    late = -signal.SIGALRM
    assert done.returncode in {0, 1, 2, 3, 130, late}, done.stderr
    # Python reports an interrupt in one of its callbacks, and goes on.
    said = re.sub(r"Exception ignored in: .*?\nKeyboardInterrupt: ?\n", "", done.stderr, flags=re.S)
    assert "Traceback" not in said, done.stderr


def test_ctrl_c_just_before_a_server_starts_is_no_error_of_its_application(environ, tmp_path):
    code = (
        "import signal, sys; from millimetric_mcp import cli;"
        "from millimetric_mcp.web import serve;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"  # ignored if run with `&`
        "listen = serve.listen;"
        "serve.listen = lambda *a: signal.raise_signal(signal.SIGINT) or listen(*a);"
        "sys.exit(cli.main(['serve', '--transport', 'http', '--port', '0']))"
    )
    done = run(["-c", code], environ, tmp_path, stdout=subprocess.PIPE)

    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(PARSERS.keys() - ENDLESS))
def test_a_closed_pipe_ends_every_command_without_a_traceback(command, environ, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    done = run(["-m", "millimetric_mcp", *arguments_of(command)], environ, tmp_path, stdout=writing)
    os.close(writing)

    assert done.returncode in {0, 1, 2, 3, 141}, done.stderr
    assert "Traceback" not in done.stderr
    assert "Broken pipe" not in done.stderr


def test_a_reader_that_has_enough_is_no_failure(environ, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    arguments = ["-m", "millimetric_mcp", "classify", "https://shop.example/"]
    done = run(arguments, environ, tmp_path, stdout=writing)
    os.close(writing)

    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(PARSERS.keys() - ENDLESS))
def test_every_command_ends_with_a_documented_code_on_an_empty_machine(command, environ, tmp_path):
    done = run(["-m", "millimetric_mcp", *arguments_of(command)], environ, tmp_path, stdout=-1)

    assert done.returncode in {0, 1, 2, 3}
    assert "Traceback" not in done.stderr
    assert done.stdout or done.stderr


def test_a_missing_file_is_named(environ, tmp_path):
    done = run(["-m", "millimetric_mcp", "import", MISSING], environ, tmp_path, stdout=-1)

    assert done.returncode in {1, 2}
    assert MISSING in done.stderr


def test_ctrl_c_that_other_code_has_wrapped_ends_a_command_without_a_traceback(monkeypatch):
    def wrap(_arguments):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as interrupt:
            raise RuntimeError("Error calling __set_name__") from interrupt

    def group(_arguments):
        raise BaseExceptionGroup("unhandled errors", [KeyboardInterrupt()])

    for fail in (wrap, group):
        monkeypatch.setattr(cli, "_run", fail)
        assert cli.main([]) == 130


def test_an_unexpected_error_of_a_command_is_not_taken_for_ctrl_c(monkeypatch):
    monkeypatch.setattr(cli, "_run", lambda _arguments: int("x"))
    with pytest.raises(ValueError, match="invalid literal"):
        cli.main([])
