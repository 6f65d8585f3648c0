"""The server's entry in the files of MCP clients."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from millimetric_mcp.cli import jsonc, main
from millimetric_mcp.cli.clients import CLIENTS
from millimetric_mcp.cli.installation import own_command

READ_KEY = f"rk_live_abcdefgh_{'s' * 32}"
WITH_REFERENCES = [name for name, client in CLIENTS.items() if client.reference]
WITHOUT_REFERENCES = [name for name, client in CLIENTS.items() if not client.reference]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home and project; the environment has no settings."""
    for name in ("MILLIMETRIC_RK", "MILLIMETRIC_KEY", "MILLIMETRIC_HOST", "CODEX_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("OPENCLAW_CONFIG_PATH", "OPENCLAW_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def configure(home, capsys):
    """Run ``config``; return its exit code, and its JSON, or else its errors."""

    def run(*arguments):
        code = main(["config", *arguments, "--json"])
        out, err = capsys.readouterr()
        return code, json.loads(out) if out else err

    return run


def read_entry(name, file):
    text = Path(file).read_text()
    found = tomllib.loads(text) if CLIENTS[name].is_toml else jsonc.parse(text)
    for part in (*CLIENTS[name].container, "millimetric"):
        found = found[part]
    return found


@pytest.mark.parametrize("name", CLIENTS)
def test_an_entry_for_the_local_api_holds_the_full_command_and_no_keys(configure, name):
    code, facts = configure(name, "--local", "--write")
    entry = read_entry(name, facts["file"])

    assert code == 0
    assert [entry["command"], *entry["args"]] == [*own_command(), "--local"]
    assert Path(entry["command"]).is_absolute()
    assert "MILLIMETRIC" not in json.dumps(entry)


@pytest.mark.parametrize("name", WITH_REFERENCES)
def test_an_entry_refers_to_the_keys_and_holds_none(configure, monkeypatch, name):
    monkeypatch.setenv("MILLIMETRIC_RK", READ_KEY)
    monkeypatch.setenv("MILLIMETRIC_HOST", "https://api.shop.example")
    _, facts = configure(name, "--write")
    text = Path(facts["file"]).read_text()

    assert READ_KEY not in text
    assert "MILLIMETRIC_RK" in text
    assert "MILLIMETRIC_KEY" not in text
    assert read_entry(name, facts["file"])["env"]["MILLIMETRIC_HOST"] == "https://api.shop.example"


@pytest.mark.parametrize("name", CLIENTS)
def test_keys_are_written_into_a_private_file_when_asked(configure, monkeypatch, name):
    monkeypatch.setenv("MILLIMETRIC_RK", READ_KEY)
    _, facts = configure(name, "--write", "--inline-keys")
    file = Path(facts["file"])

    assert read_entry(name, facts["file"])["env"] == {"MILLIMETRIC_RK": READ_KEY}
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o644)
    configure(name, "--write", "--inline-keys")  # the file has the entry already
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", WITHOUT_REFERENCES)
def test_a_client_that_reads_no_variables_gets_no_keys_unless_asked(configure, monkeypatch, name):
    monkeypatch.setenv("MILLIMETRIC_RK", READ_KEY)
    code, errors = configure(name, "--write")
    _, printed = configure(name)

    assert code == 2
    assert "Use --local, which needs no keys, or --inline-keys" in errors
    assert not Path(printed["file"]).exists()
    assert READ_KEY not in json.dumps(printed)


def test_everything_else_in_a_commented_file_stays(configure, home):
    file = home / ".vscode" / "mcp.json"
    file.parent.mkdir()
    before = (
        "{\n    // the team's servers\n"
        '    "servers": {\n'
        '        "other": { "command": "other", }, // keep\n'
        "    },\n"
        '    "inputs": [\n        { "id": "a" }\n    ],\n}\n'
    )
    file.write_text(before)
    _, facts = configure("vscode", "--write")
    after = file.read_text()

    assert [line for line in before.splitlines() if line not in after.splitlines()] == [
        '        { "id": "a" }'  # a comma follows it now
    ]
    assert [item["id"] for item in jsonc.parse(after)["inputs"]] == ["a", "millimetric-rk"]
    assert Path(facts["backup"]).read_text() == before


def test_everything_else_in_a_toml_file_stays(configure, home):
    file = home / ".codex" / "config.toml"
    file.parent.mkdir()
    before = (
        '# mine\nmodel = "o3" # the best\n\n[mcp_servers.other]\ncommand = "other"\n\n'
        "[mcp_servers.millimetric]\n# note\n"
        'command = "old"\nenv_vars = ["TZ", "MILLIMETRIC_RK"]\n\n[profiles.a]\nmodel = "b"\n'
    )
    file.write_text(before)
    _, facts = configure("codex", "--local", "--write")
    after = file.read_text()

    for line in before.splitlines():
        assert line in after or line.startswith(('command = "old', "env_vars"))
    assert tomllib.loads(after)["mcp_servers"]["millimetric"]["env_vars"] == ["TZ"]
    assert Path(facts["backup"]).read_text() == before


def test_what_stands_after_a_toml_entry_stays_there_in_later_writes(configure, home, monkeypatch):
    file = home / ".codex" / "config.toml"
    file.parent.mkdir()
    rest = '\n\n# the other one\n[mcp_servers.other]\ncommand = "other"\n'
    file.write_text('[mcp_servers.millimetric]\ncommand = "old"' + rest)
    for host in ("https://a.example", "local", "https://b.example"):
        monkeypatch.setenv("MILLIMETRIC_HOST", host)
        configure("codex", "--write")

        assert file.read_text().endswith(rest)
    assert read_entry("codex", file)["env"] == {"MILLIMETRIC_HOST": "https://b.example"}


def test_a_toml_entry_whose_tables_are_apart_is_merged(configure, home):
    (home / "old.toml").write_text(
        '[mcp_servers.millimetric]\ncommand = "old"\n\n[z]\nq = 1\n\n'
        '[mcp_servers.millimetric.env]\nTZ = "UTC"\n'
    )
    configure("codex", "--local", "--write", "--file", "old.toml")

    entry = read_entry("codex", home / "old.toml")
    assert [entry["command"], *entry["args"]] == [*own_command(), "--local"]
    assert entry["env"] == {"TZ": "UTC"}


def test_an_older_entry_keeps_its_own_variables_and_loses_the_keys(configure, home):
    file = home / ".mcp.json"
    old = {
        "command": "millimetric-mcp",
        "disabled": True,
        "env": {"MILLIMETRIC_TIMEZONE": "Europe/Berlin", "MILLIMETRIC_RK": READ_KEY},
    }
    file.write_text(json.dumps({"mcpServers": {"millimetric": old}}, indent=2))
    configure("claude-code", "--local", "--write")
    entry = read_entry("claude-code", file)

    assert entry["env"] == {"MILLIMETRIC_TIMEZONE": "Europe/Berlin"}
    assert entry["disabled"] is True
    assert entry["args"] == [*own_command()[1:], "--local"]


def test_an_older_entry_over_http_is_replaced(configure, home):
    file = home / ".mcp.json"
    old = {"type": "http", "url": "http://localhost:8787/mcp", "headers": {"Authorization": "x"}}
    file.write_text(json.dumps({"mcpServers": {"millimetric": old}}))
    configure("claude-code", "--local", "--write")

    assert read_entry("claude-code", file).keys() == {"command", "args"}


@pytest.mark.parametrize("old", [[], {"env": [1]}, {"env": "x"}])
def test_an_older_entry_that_is_invalid_is_replaced(configure, home, old):
    (home / "old.json").write_text(json.dumps({"mcpServers": {"millimetric": old}}))
    configure("claude-code", "--write", "--file", "old.json")

    assert read_entry("claude-code", home / "old.json")["env"] == {
        "MILLIMETRIC_RK": "${MILLIMETRIC_RK}"
    }


@pytest.mark.parametrize("old", ["= 3", ".env = 3", ".env_vars = 3"])
def test_an_older_toml_entry_that_is_invalid_is_replaced(configure, home, old):
    (home / "old.toml").write_text(f"[mcp_servers]\nmillimetric{old}\n")
    configure("codex", "--write", "--file", "old.toml")

    assert read_entry("codex", home / "old.toml")["env_vars"] == ["MILLIMETRIC_RK"]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("vscode", '{"inputs": 3}', "inputs is not a list"),
        ("vscode", '{"inputs": null}', "inputs is not a list"),
        ("codex", "mcp_servers = 1", "mcp_servers is not written as [mcp_servers.NAME]"),
        ("codex", "[[mcp_servers]]", "mcp_servers is not written as [mcp_servers.NAME]"),
        ("codex", 'mcp_servers = {a = {command = "b"}}', "mcp_servers is not written as"),
    ],
)
def test_a_file_with_another_form_is_named_and_not_changed(
    configure, tmp_path, name, text, sentence
):
    file = tmp_path / "file"
    file.write_text(text)
    code, errors = configure(name, "--write", "--file", str(file))

    assert code == 2
    assert f"{file}: {sentence}" in errors
    assert file.read_text() == text


def test_a_toml_file_keeps_its_byte_order_mark(configure, home):
    (home / "old.toml").write_bytes(b'\xef\xbb\xbfmodel = "o3"\n')
    configure("codex", "--local", "--write", "--file", "old.toml")
    content = (home / "old.toml").read_bytes()

    assert content.startswith(b'\xef\xbb\xbfmodel = "o3"\n')
    assert b'args = ["--local"]' in content


@pytest.mark.parametrize("name", CLIENTS)
def test_nothing_is_written_when_the_entry_is_there_already(configure, name):
    _, first = configure(name, "--local", "--write")
    before = sorted(Path(first["file"]).parent.iterdir())
    _, second = configure(name, "--local", "--write")

    assert (first["changed"], second["changed"]) == (True, False)
    assert sorted(Path(first["file"]).parent.iterdir()) == before


@pytest.mark.parametrize("name", ["claude-code", "codex"])
def test_an_invalid_file_is_named_and_not_changed(configure, tmp_path, name):
    file = tmp_path / "broken"
    file.write_text("{ [broken")
    code, errors = configure(name, "--local", "--write", "--file", str(file))

    assert code == 2
    assert f"{file}: not valid " in errors
    assert file.read_text() == "{ [broken"
    assert list(tmp_path.glob("broken*")) == [file]


def test_a_link_stays_a_link_and_the_file_keeps_its_mode(configure, home):
    real = home / "dotfiles.json"
    real.write_text("{}")
    real.chmod(0o640)
    (home / ".mcp.json").symlink_to(real)
    configure("claude-code", "--local", "--write")

    assert (home / ".mcp.json").is_symlink()
    assert "millimetric" in real.read_text()
    assert real.stat().st_mode & 0o777 == 0o640


def test_a_key_together_with_local_is_refused(configure, monkeypatch):
    monkeypatch.setenv("MILLIMETRIC_RK", READ_KEY)
    code, errors = configure("cursor", "--local", "--write")

    assert code == 2
    assert "Remove MILLIMETRIC_RK, or remove --local" in errors


def test_inline_keys_without_a_key_is_refused(configure):
    code, errors = configure("cursor", "--inline-keys")

    assert code == 2
    assert "--inline-keys: no key is set." in errors


def test_the_entry_is_printed_without_writing(home, capsys):
    code = main(["config", "claude-code"])
    out, err = capsys.readouterr()

    assert code == 0
    assert json.loads(out)["mcpServers"]["millimetric"]["env"] == {
        "MILLIMETRIC_RK": "${MILLIMETRIC_RK}"
    }
    assert f"# For {home / '.mcp.json'}. Add --write" in err
    assert list(home.iterdir()) == []


def test_the_command_is_this_installation(configure):
    _, facts = configure("cursor", "--local")

    assert Path(facts["entry"]["command"]).parent == Path(sys.executable).parent


def test_own_command_runs_in_any_directory(tmp_path):
    done = subprocess.run(
        [*own_command(), "--version"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("millimetric-mcp ")
