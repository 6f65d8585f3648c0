"""The command as a person starts it: children of their own, their exit codes and words."""

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from millimetric_mcp import __version__

COMMANDS = ("serve", "api", "keys", "migrate", "classify", "demo")


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


def test_the_version_is_told_without_importing_mcp():
    code = (
        "import sys; from millimetric_mcp.cli import main; code = main(['--version']);"
        "assert not {'mcp', 'httpx'} & set(sys.modules), 'imported'; sys.exit(code)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, text=True, timeout=60
    )

    assert (told.returncode, told.stdout) == (0, f"millimetric-mcp {__version__}\n"), told.stderr


def test_the_help_names_every_command():
    told = run("--help")

    assert told.returncode == 0
    for command in COMMANDS:
        assert f"\n    {command} " in told.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_tells_what_it_does(command):
    told = run(command, "--help")

    assert told.returncode == 0
    assert f"usage: millimetric-mcp {command}" in told.stdout
    assert len(told.stdout.splitlines()) >= 10


def test_every_wrong_setting_is_named_at_once_and_no_secret_is_shown():
    told = run(
        "serve",
        "--port=99999",
        "--timezone=Mars/Olympus",
        MILLIMETRIC_KEY="rk_live_abcdefgh_planted",
        MILLIMETRIC_RK="planted_too",
        MILLIMETRIC_HOST="ftp://planted.example",
    )

    assert told.returncode == 2
    faults = told.stderr.splitlines()
    for name in ("--port", "--timezone", "MILLIMETRIC_KEY", "MILLIMETRIC_RK", "MILLIMETRIC_HOST"):
        assert len([fault for fault in faults if name in fault]) == 1, told.stderr
    assert "planted" not in told.stderr
    assert "Traceback" not in told.stderr


def test_a_store_dsn_with_a_password_is_never_quoted():
    told = run("migrate", MILLIMETRIC_STORE="mysql://user:planted@db.example/events")

    assert told.returncode == 2
    assert "MILLIMETRIC_STORE" in told.stderr
    assert "planted" not in told.stderr + told.stdout


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
    told = run("serve", "--transport=carrier-pigeon", MILLIMETRIC_MCP_TRANSPORT="stdio")

    assert told.returncode == 2
    assert "--transport" in told.stderr


def test_a_visit_is_explained_for_people_and_for_machines():
    url = "https://shop.example/?utm_source=facebook&utm_medium=cpc&fbclid=abc"

    people = run("classify", url, "--referrer", "https://l.facebook.com/")
    machines = run("classify", url, "--referrer", "https://l.facebook.com/", "--json")

    assert "Rule fb_ad_redirect" in people.stdout
    assert '"rule_id": "fb_ad_redirect"' in machines.stdout


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
def test_a_visit_that_the_api_would_refuse_is_explained_all_the_same(options, field):
    told = run("classify", *options)

    assert told.returncode == 0
    assert "Rule f" in told.stdout
    [warning] = told.stderr.splitlines()
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
def test_output_that_can_t_be_written_is_told_in_a_sentence(arguments, tmp_path):
    variables = {"MILLIMETRIC_DATA_DIR": str(tmp_path)}
    assert run("keys", "create", "--kind", "sk", "--json", **variables).returncode == 0
    with Path("/dev/full").open("w") as full:
        told = run(*arguments, stdout=full, **variables)

    assert told.returncode == 1
    assert told.stderr == ("millimetric-mcp: reading or writing failed: No space left on device\n")


def test_a_command_needs_no_output():
    command = f'exec "{sys.executable}" -m millimetric_mcp classify https://shop.example/ >&-'

    told = subprocess.run(["sh", "-c", command], capture_output=True, check=False, timeout=60)

    assert (told.returncode, told.stderr) == (0, b"")


def test_keys_are_not_made_where_nobody_could_be_told(tmp_path):
    keys = f'"{sys.executable}" -m millimetric_mcp keys create --kind sk --data-dir "{tmp_path}"'

    told = subprocess.run(
        ["sh", "-c", f"exec {keys} >&-"], capture_output=True, text=True, check=False, timeout=60
    )

    assert (told.returncode, list(tmp_path.iterdir())) == (2, [])
    assert (
        told.stderr == "millimetric-mcp: keys: standard output is closed, and keys are told there\n"
    )


def test_a_store_is_migrated_once(tmp_path):
    first = run("migrate", "--data-dir", str(tmp_path), "--json")
    second = run("migrate", "--data-dir", str(tmp_path))

    assert first.returncode == 0, first.stderr
    assert first.stdout == '{"applied": ["0001_events", "0002_identity"]}\n'
    assert (second.returncode, second.stdout) == (0, "up to date\n")
