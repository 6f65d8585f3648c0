import io
import json
import os
import pty
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from millimetric_mcp.api.control import datadir, open_control
from millimetric_mcp.cli import main
from millimetric_mcp.cli.keys import announce_first_keys
from millimetric_mcp.contract.keys import hash_secret, parse_api_key

RUN = "from millimetric_mcp.cli import main; raise SystemExit(main())"


class Keys:
    """``millimetric-mcp keys`` on one data directory and control database."""

    def __init__(self, data_dir: Path, dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.data_dir = data_dir
        self.options = ["--data-dir", str(data_dir), "--control", dsn]
        self._dsn = dsn
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        code = main(["keys", arguments[0], *self.options, *arguments[1:]])
        return code, *self._capsys.readouterr()

    def json(self, *arguments: str):
        code, out, _ = self(*arguments, "--json")
        assert code == 0
        return json.loads(out)

    def open_control(self):
        return open_control(self._dsn, pepper=datadir.read_or_make_secret(self.data_dir / "pepper"))


@pytest.fixture
def keys(tmp_path, control_dsn, capsys, monkeypatch) -> Keys:
    for name in [name for name in os.environ if name.startswith("MILLIMETRIC_")]:
        monkeypatch.delenv(name)
    return Keys(tmp_path / "data", control_dsn, capsys)


def test_json_prints_the_key_and_its_parts(keys):
    made = keys.json("create", "--kind", "rk", "--env", "test", "--project", "shop")
    assert list(made) == ["key", "kind", "env", "prefix", "project"]
    parsed = parse_api_key(made["key"])
    assert (parsed.kind, parsed.env, parsed.prefix) == ("rk", "test", made["prefix"])
    assert (made["kind"], made["env"], made["project"]) == ("rk", "test", "shop")


def test_a_created_key_is_the_one_the_api_finds(keys):
    made = keys.json("create", "--kind", "sk", "--retention-days", "30")
    control = keys.open_control()
    record = control.find_keys([made["prefix"]])[made["prefix"]]
    pepper = datadir.read_or_make_secret(keys.data_dir / "pepper")
    assert record.secret_hash == hash_secret(parse_api_key(made["key"]).secret, pepper=pepper)
    assert record.project == "default"
    assert [kept.days for kept in control.list_retentions()] == [30]
    control.close()


def test_a_browser_keys_origins_are_stored_in_the_form_of_browsers(keys):
    origins = ["--origin", "HTTPS://Shop.example:443/", "--origin", "http://localhost:5173"]
    keys.json("create", "--kind", "pk", *origins)
    assert keys.json("list")[0]["origins"] == ["http://localhost:5173", "https://shop.example"]


def test_a_new_key_goes_to_a_private_file_when_stdout_is_not_a_terminal(keys):
    code, out, err = keys("create", "--kind", "sk", "--project", "My shop")
    (prefix,) = [key["prefix"] for key in keys.json("list")]
    path = keys.data_dir / f"keys-My-shop-sk-{prefix}.env"
    assert (code, err) == (0, "")
    assert out == (
        f"New for project My shop: server key.\nIt is saved in {path} (readable only by you).\n"
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (line,) = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    name, _, key = line.partition("=")
    assert name == "MILLIMETRIC_KEY"
    assert parse_api_key(key).prefix == prefix
    assert key not in out


def test_a_key_file_can_be_read_by_a_shell(keys):
    keys("create", "--kind", "pk", "--origin", "https://a.example", "--project", "it's; `false`")
    (path,) = keys.data_dir.glob("keys-*.env")
    script = f". {path} && echo ${{MILLIMETRIC_PK%%_*}}"
    done = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("pk\n", "")


def test_a_key_is_revoked_when_its_file_can_t_be_written(keys, monkeypatch):
    keys.json("create", "--kind", "rk")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("millimetric_mcp.api.control.datadir.write_private_file", fail)
    code, out, err = keys("create", "--kind", "sk")
    assert (code, out) == (2, "")
    assert ".env: No space left on device" in err
    assert [key["revoked_at"] is None for key in keys.json("list")] == [True, False]


def test_a_new_key_is_printed_on_a_terminal_and_not_saved(keys):
    controller, terminal = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", RUN, "keys", "create", "--kind", "rk", *keys.options],
        stdout=terminal,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(terminal)
    shown = os.read(controller, 10_000).decode()
    os.close(controller)
    assert (done.returncode, done.stderr) == (0, b"")
    assert parse_api_key(shown.split("MILLIMETRIC_RK=")[1].strip()).kind == "rk"
    assert list(keys.data_dir.glob("keys-*")) == []


def test_a_first_start_saves_its_keys_once_to_a_private_file(keys):
    keys.data_dir.mkdir()
    control = keys.open_control()
    stdout = io.StringIO()
    announce_first_keys(control, data_dir=keys.data_dir, stdout=stdout)
    announce_first_keys(control, data_dir=keys.data_dir, stdout=stdout)
    control.close()
    (path,) = keys.data_dir.glob("keys-default-sk-rk-pk-*.env")
    assert stdout.getvalue() == (
        "New for project default: server key, read key, browser key.\n"
        f"They are saved in {path} (readable only by you).\n"
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = [line.partition("=") for line in path.read_text().splitlines() if line[0] != "#"]
    assert [name for name, _, _ in lines] == ["MILLIMETRIC_KEY", "MILLIMETRIC_RK", "MILLIMETRIC_PK"]
    listed = {key["prefix"] for key in keys.json("list")}
    assert {parse_api_key(key).prefix for _, _, key in lines} == listed
    assert "# for browsers, from http://localhost:5173, http://localhost:8787" in path.read_text()


def test_a_list_shows_every_key_without_its_secret(keys):
    sk = keys.json("create", "--kind", "sk", "--retention-days", "90")
    origins = ["--origin", "https://a.example", "--origin", f"https://{'long.' * 12}example"]
    pk = keys.json("create", "--kind", "pk", *origins, "--project", "[b]x")
    keys("revoke", sk["prefix"])
    today = f"{datetime.now(UTC):%Y-%m-%d}"

    code, out, _ = keys("list")

    assert code == 0
    assert out.splitlines() == [
        "Project [b]x",
        f"  {pk['prefix']}  pk  live  created {today}  active",
        "            https://a.example",
        f"            https://{'long.' * 12}example",
        "Project default (events are kept 90 days)",
        f"  {sk['prefix']}  sk  live  created {today}  revoked {today}",
    ]


def test_the_list_as_json_has_every_column(keys):
    made = keys.json("create", "--kind", "rk", "--project", "shop")
    (listed,) = keys.json("list")
    assert listed.pop("created_at").endswith("Z")
    assert listed == {
        "prefix": made["prefix"],
        "kind": "rk",
        "env": "live",
        "project": "shop",
        "origins": [],
        "retention_days": None,
        "revoked_at": None,
    }


def test_an_empty_list_shows_the_command_that_creates_a_key(keys):
    keys.data_dir.mkdir()
    keys.open_control().close()
    command = f"millimetric-mcp keys create --kind sk --data-dir {keys.data_dir} --control DSN"
    assert keys("list")[1] == f"There are no keys yet. Create one: {command}\n"
    assert keys.json("list") == []


@pytest.mark.parametrize("arguments", [("list",), ("revoke", "AbCd1234")], ids=["list", "revoke"])
def test_a_mistyped_data_directory_is_not_created(keys, tmp_path, capsys, arguments):
    directory = tmp_path / "typo"
    assert main(["keys", *arguments, "--data-dir", str(directory)]) == 2
    assert f"{directory} holds no API keys" in capsys.readouterr().err
    assert not directory.exists()


def test_revoking_twice_says_already_revoked(keys):
    prefix = keys.json("create", "--kind", "sk")["prefix"]
    first, second = keys("revoke", prefix), keys("revoke", prefix)
    assert first == (0, f"{prefix} is revoked. The API refuses it within 5 seconds.\n", "")
    assert second == (0, f"{prefix} is already revoked.\n", "")
    assert keys.json("revoke", prefix) == {"prefix": prefix, "revoked": True}
    assert keys.json("list")[0]["revoked_at"] is not None


def test_revoking_fails_when_the_prefix_is_unknown(keys):
    keys.json("create", "--kind", "sk")
    code, out, err = keys("revoke", "aaaaaaaa", "--json")
    assert code == 1
    assert json.loads(out) == {"prefix": "aaaaaaaa", "revoked": False}
    assert "There is no key with that prefix." in err
    assert f"millimetric-mcp keys list --data-dir {keys.data_dir}" in err


def test_revoking_fails_without_showing_the_secret_when_given_the_whole_key(keys):
    made = keys.json("create", "--kind", "sk")
    code, out, err = keys("revoke", made["key"])
    assert code == 2
    assert f"Give only the key's prefix, not the key: {made['prefix']}" in err
    assert made["key"].split("_", 3)[3] not in out + err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--kind", "pk"], "--origin: add one for a pk key, such as"),
        (
            ["--kind", "sk", "--origin", "https://a.example"],
            "--origin: remove it. It is for pk keys",
        ),
        (["--kind", "pk", "--origin", "https://a.example/shop"], "no path"),
        (["--kind", "pk", "--origin", "https://*.a.example"], "no wildcard"),
        (
            ["--kind", "pk", "--origin", "a.example"],
            "'a.example' is not an origin. Did you mean https://a.example?",
        ),
        (["--kind", "sk", "--project", " "], "--project: use 1 to 57 printable"),
        (["--kind", "sk", "--project", "x" * 65], "--project: use 1 to 57 printable"),
        (["--kind", "sk", "--project", "a\nb=c"], "--project: use 1 to 57 printable"),
        (["--kind", "sk", "--retention-days", "-1"], "--retention-days: use 1 to 36500"),
        (["--kind", "sk", "--retention-days", "36501"], "--retention-days: use 1 to 36500"),
    ],
)
def test_a_wrong_option_is_explained_and_creates_nothing(keys, arguments, sentence):
    code, out, err = keys("create", *arguments)
    assert (code, out) == (2, "")
    assert sentence in err
    assert not keys.data_dir.exists()


def test_every_wrong_option_is_named_at_once(keys):
    _, _, err = keys(
        "create",
        "--kind",
        "pk",
        "--project",
        "",
        "--retention-days",
        "-1",
        "--origin",
        "*",
        "--origin",
        "https://ok.example",
    )
    assert len(err.splitlines()) == 3
    assert "'*' is not an origin" in err


def test_no_key_is_created_with_another_pepper(keys, monkeypatch):
    keys.json("create", "--kind", "sk")
    monkeypatch.setenv("MILLIMETRIC_PEPPER", "quite another pepper")
    code, _, err = keys("create", "--kind", "sk")
    assert code == 2
    assert "Set MILLIMETRIC_PEPPER to the same value on every machine" in err
