"""The command in child processes: exit codes and output."""

import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest

from millimetric_mcp import __version__
from millimetric_mcp.cli.console import open_console

COMMANDS = (
    "serve",
    "api",
    "local",
    "config",
    "doctor",
    "open",
    "report",
    "keys",
    "projects",
    "migrate",
    "backup",
    "restore",
    "check",
    "import",
    "export",
    "classify",
    "demo",
)


def run(
    *arguments: str, stdout: int | IO[str] = subprocess.PIPE, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MILLIMETRIC_")}
    return subprocess.run(
        [sys.executable, "-m", "millimetric_mcp", *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        check=False,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        env=environment | variables,
    )


def test_the_version_is_printed_without_importing_mcp():
    code = (
        "import sys; from millimetric_mcp.cli import main; code = main(['--version']);"
        "assert not {'mcp', 'httpx'} & set(sys.modules), 'imported'; sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, text=True, timeout=60
    )

    assert (done.returncode, done.stdout) == (0, f"millimetric-mcp {__version__}\n"), done.stderr


def test_the_mcp_server_on_stdio_starts_without_what_only_other_commands_use():
    code = (
        "import sys; from millimetric_mcp.cli import main; code = main([]);"
        "others = {'httpx', 'platformdirs', 'sqlalchemy', 'chdb', 'rich', 'millimetric_mcp.api'};"
        "print(*others & set(sys.modules), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "\n")


def test_the_help_names_every_command():
    done = run("--help")

    assert done.returncode == 0
    for command in COMMANDS:
        assert f"\n    {command} " in done.stdout


@pytest.mark.parametrize(
    "command",
    [
        *COMMANDS,
        *(f"keys {action}" for action in ("create", "list", "rotate", "revoke", "clean")),
        *(f"projects {action}" for action in ("list", "create", "rename", "set", "delete")),
        *(f"local {action}" for action in ("status", "stop", "path")),
    ],
)
def test_the_help_of_a_command_has_an_example_and_fits_80_columns(command):
    done = run(*command.split(), "--help", COLUMNS="200")

    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert lines[0].startswith(f"usage: millimetric-mcp {command}")
    assert any(line.startswith(f"  millimetric-mcp {command}") for line in lines)
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["key", "list"], "'key' is not a command. Did you mean 'keys'? The commands are serve, "),
        (["frobnicate"], "'frobnicate' is not a command. The commands are serve, api, "),
        (["--port", "9000"], "write options after a command: millimetric-mcp serve --port"),
    ],
    ids=["similar", "unknown", "option first"],
)
def test_an_unknown_command_is_refused_with_a_hint(arguments, sentence):
    done = run(*arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["keys", "create", "--kind", "xx"], "--kind: 'xx' is invalid. Use "),
        (["keys", "revoke"], "prefix is missing. See: millimetric-mcp keys revoke --help"),
        (["demo", "--events", "x"], "--events: 'x' is invalid. Use a whole number."),
        (["api", "--nope"], "--nope is unknown. See: millimetric-mcp api --help"),
        (["api", "--port"], "--port needs a value. See: millimetric-mcp api --help"),
    ],
    ids=" ".join,
)
def test_a_wrong_argument_is_one_plain_sentence(arguments, sentence):
    done = run(*arguments)

    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert sentence in line


@pytest.mark.parametrize(
    "options",
    [["--port", "9000"], ["--host", "0.0.0.0", "--port", "9000"]],
    ids=" ".join,
)
def test_an_address_is_refused_when_the_transport_is_stdio(options):
    done = run("serve", *options)

    assert (done.returncode, done.stdout) == (2, "")
    assert "--port: the stdio transport listens nowhere. Add --transport http" in done.stderr


def test_a_store_is_not_created_when_the_data_directory_is_mistyped(tmp_path):
    done = run("migrate", "--data-dir", str(tmp_path / "typo"))

    assert done.returncode == 2
    assert f"There is no store in {tmp_path}/typo/store. Check --data-dir" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_backup_names_its_argument_when_that_is_a_file(tmp_path):
    data_dir = {"MILLIMETRIC_DATA_DIR": str(tmp_path / "data")}
    run("keys", "create", "--kind", "sk", "--json", **data_dir)
    done = run("backup", __file__, **data_dir)

    assert done.returncode == 2
    assert done.stderr == f"millimetric-mcp: DIR: {__file__} is a file. Choose a directory.\n"


def test_help_and_version_work_as_words():
    assert run("help").stdout == run("--help").stdout
    assert run("help", "keys", "list").stdout == run("keys", "list", "--help").stdout
    assert run("version").stdout == f"millimetric-mcp {__version__}\n"


def test_every_wrong_setting_is_named_at_once_without_secrets():
    done = run(
        "serve",
        "--port=99999",
        "--timezone=Mars/Olympus",
        MILLIMETRIC_KEY="rk_live_abcdefgh_planted",
        MILLIMETRIC_RK="planted_too",
        MILLIMETRIC_HOST="ftp://planted.example",
    )

    assert done.returncode == 2
    lines = done.stderr.splitlines()
    for name in ("--port", "--timezone", "MILLIMETRIC_KEY", "MILLIMETRIC_RK", "MILLIMETRIC_HOST"):
        assert len([line for line in lines if name in line]) == 1, done.stderr
    assert "planted" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_store_dsn_with_a_password_is_never_quoted():
    done = run("migrate", MILLIMETRIC_STORE="mysql://user:planted@db.example/events")

    assert done.returncode == 2
    assert "MILLIMETRIC_STORE" in done.stderr
    assert "planted" not in done.stderr + done.stdout


@pytest.mark.parametrize("arguments", [["api"], ["demo"], ["migrate"]], ids=" ".join)
def test_a_command_of_the_api_names_the_supported_systems_when_python_has_no_fcntl(arguments):
    code = (
        "import sys; sys.modules['fcntl'] = None; from millimetric_mcp.cli import main;"
        f"sys.exit(main({arguments}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, text=True, timeout=60
    )

    assert result.returncode == 2
    assert result.stderr == (
        "millimetric-mcp: The embedded API runs on Linux and macOS. On Windows use WSL, or the MCP "
        "server (--transport stdio) with MILLIMETRIC_HOST set to an API on another machine.\n"
    )


def test_an_option_wins_over_its_variable():
    done = run("serve", "--transport=carrier-pigeon", MILLIMETRIC_MCP_TRANSPORT="stdio")

    assert done.returncode == 2
    assert "--transport" in done.stderr


def test_classify_explains_a_visit_as_text_and_as_json():
    url = "https://shop.example/?utm_source=facebook&utm_medium=cpc&fbclid=abc"

    people = run("classify", url, "--referrer", "https://l.facebook.com/")
    machines = run("classify", url, "--referrer", "https://l.facebook.com/", "--json")

    assert "Rule fb_ad_redirect" in people.stdout
    assert '"rule_id": "fb_ad_redirect"' in machines.stdout


def test_classify_explains_a_visit_as_an_api_with_the_same_setting_does():
    visit = ("classify", "https://shop.example/?fbclid=1")

    by_variable = run(*visit, MILLIMETRIC_FBCLID="social")
    by_option = run(*visit, "--fbclid", "social")
    wrong = run(*visit, "--fbclid", "organic")

    assert "facebook / social  (low confidence)\nRule fbclid_social\n" in by_variable.stdout
    assert by_option.stdout == by_variable.stdout
    assert wrong.returncode == 2
    assert "paid or social" in wrong.stderr


@pytest.mark.parametrize(
    ("options", "field"),
    [
        pytest.param(["shop.example/?fbclid=1"], "url", id="no absolute url"),
        pytest.param([f"https://shop.example/?fbclid={'1' * 2048}"], "url", id="long url"),
        pytest.param(
            ["https://shop.example/?fbclid=1", "--referrer", "https://l.facebook.com/".ljust(2049)],
            "referrer",
            id="long referrer",
        ),
    ],
)
def test_classify_explains_a_visit_that_the_api_would_refuse(options, field):
    done = run("classify", *options)

    assert done.returncode == 0
    assert "Rule f" in done.stdout
    [warning] = done.stderr.splitlines()
    assert warning.startswith(f"millimetric-mcp: the API would refuse this {field}: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--version",),
        ("classify", "https://shop.example/"),
        ("keys", "list"),
        ("keys", "list", "--json"),
    ],
    ids=" ".join,
)
def test_a_command_fails_with_a_sentence_when_its_output_can_t_be_written(arguments, tmp_path):
    variables = {"MILLIMETRIC_DATA_DIR": str(tmp_path)}
    assert run("keys", "create", "--kind", "sk", "--json", **variables).returncode == 0
    with Path("/dev/full").open("w") as full:
        done = run(*arguments, stdout=full, **variables)

    assert done.returncode == 1
    assert done.stderr == ("millimetric-mcp: reading or writing failed: No space left on device\n")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("classify https://shop.example/", 0),
        ("config cursor --json", 0),
        ("local path", 0),
        ("local status", 1),
    ],
)
def test_a_command_does_its_work_when_stdout_is_closed(arguments, code, tmp_path):
    command = f'exec "{sys.executable}" -m millimetric_mcp {arguments} >&-'
    environ = {**os.environ, "MILLIMETRIC_DATA_DIR": str(tmp_path)}

    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, check=False, timeout=60, env=environ
    )

    assert (done.returncode, done.stderr) == (code, b"")


def test_a_console_leaves_a_closed_pipe_to_the_command(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with suppress(BrokenPipeError), os.fdopen(writing, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        with pytest.raises(BrokenPipeError):
            open_console(width=80).print("a")


def test_no_key_is_created_when_stdout_is_closed(tmp_path):
    keys = f'"{sys.executable}" -m millimetric_mcp keys create --kind sk --data-dir "{tmp_path}"'

    done = subprocess.run(
        ["sh", "-c", f"exec {keys} >&-"], capture_output=True, text=True, check=False, timeout=60
    )

    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    assert "keys: standard output is closed." in done.stderr


def test_a_store_is_migrated_once(tmp_path):
    first = run("migrate", "--data-dir", str(tmp_path), "--json")
    second = run("migrate", "--data-dir", str(tmp_path))

    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["applied"][:2] == ["0001_events", "0002_identity"]
    assert (second.returncode, second.stdout) == (0, "up to date\n")


def test_the_mcp_server_says_what_it_waits_for_when_started_on_a_terminal():
    controller, terminal = pty.openpty()
    server = subprocess.Popen(
        [sys.executable, "-m", "millimetric_mcp"],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(terminal)
    lines = [server.stderr.readline() for _ in range(4)]
    os.close(controller)  # the input ends
    out, _ = server.communicate(timeout=60)

    assert lines[0].startswith("This is the MCP server on stdio. It waits for messages")
    assert max(map(len, lines)) <= 80
    assert lines[3] == "serve --transport http'. Ctrl-C stops it.\n"
    assert out == ""
