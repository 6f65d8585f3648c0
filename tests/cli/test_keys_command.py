import io
import json
import os
import pty
import stat
import subprocess
import sys
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from millimetric_mcp.api.control import datadir, open_control
from millimetric_mcp.cli import main
from millimetric_mcp.cli.first_start import announce_first_keys
from millimetric_mcp.cli.running import hold_running_file
from millimetric_mcp.contract.keys import hash_secret, parse_api_key
from millimetric_mcp.settings import ControlSettings, read_settings

RUN = "from millimetric_mcp.cli import main; raise SystemExit(main())"


class Keys:
    """``millimetric-mcp keys`` on one data directory and control database."""

    def __init__(self, data_dir: Path, dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.data_dir = data_dir
        self.keys_dir = data_dir.with_name("keys")
        self.options = [
            *("--data-dir", str(data_dir), "--control", dsn, "--keys-dir", str(self.keys_dir))
        ]
        self._dsn = dsn
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        code = main(["keys", arguments[0], *self.options, *arguments[1:]])
        return code, *self._capsys.readouterr()

    def json(self, *arguments: str):
        code, out, _ = self(*arguments, "--json")
        assert code == 0
        return json.loads(out)

    def change(self, project: str, **settings) -> None:
        with closing(self.open_control()) as control:
            control.projects.change(project, **settings)

    def note_use(self, prefix: str, day: datetime) -> None:
        with closing(self.open_control()) as control:
            control.note_use({prefix: day})

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
    made = keys.json("create", "--kind", "sk")
    control = keys.open_control()
    record = control.find_keys([made["prefix"]])[made["prefix"]]
    pepper = datadir.read_or_make_secret(keys.data_dir / "pepper")
    assert record.secret_hash == hash_secret(parse_api_key(made["key"]).secret, pepper=pepper)
    assert record.project == "default"
    assert control.list_retentions() == ()
    control.close()


def test_a_browser_keys_origins_are_stored_in_the_form_of_browsers(keys):
    origins = ["--origin", "HTTPS://Shop.example:443/", "--origin", "http://localhost:5173"]
    keys.json("create", "--kind", "pk", *origins)
    assert keys.json("list")[0]["origins"] == ["http://localhost:5173", "https://shop.example"]


def test_a_new_key_goes_to_a_private_file_when_stdout_is_not_a_terminal(keys):
    code, out, err = keys("create", "--kind", "sk", "--project", "My shop")
    (prefix,) = [key["prefix"] for key in keys.json("list")]
    path = keys.keys_dir / f"My-shop-sk-{prefix}.env"
    assert (code, err) == (0, "")
    assert out == (
        f"New for project My shop: server key.\nIt is saved in\n  {path}\n"
        "Only you can read this file. Once you have copied it, run:\n"
        f"  millimetric-mcp keys clean {prefix} --data-dir {keys.data_dir} --control DSN "
        f"--keys-dir {keys.keys_dir}\n"
    )
    assert list(keys.data_dir.glob("*.env")) == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (line,) = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    name, _, key = line.partition("=")
    assert name == "MILLIMETRIC_KEY"
    assert parse_api_key(key).prefix == prefix
    assert key not in out


def test_a_key_file_can_be_read_by_a_shell(keys):
    keys("create", "--kind", "pk", "--origin", "https://a.example", "--project", "it's; `false`")
    (path,) = keys.keys_dir.glob("*.env")
    script = f". {path} && echo ${{MILLIMETRIC_PK%%_*}}"
    done = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("pk\n", "")


@pytest.mark.parametrize("command", ["create", "rotate"])
def test_no_key_is_created_when_its_file_can_t_be_written(keys, command):
    old = keys.json("create", "--kind", "rk")
    keys.keys_dir.touch()  # a file instead of a directory
    arguments = ["create", "--kind", "sk"] if command == "create" else ["rotate", old["prefix"]]
    code, out, err = keys(*arguments)
    assert (code, out) == (2, "")
    assert f"--keys-dir / MILLIMETRIC_KEYS_DIR: can't write to {keys.keys_dir}: File exists" in err
    [left] = keys.json("list")
    assert (left["prefix"], left["expires_at"]) == (old["prefix"], None)


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
    assert not keys.keys_dir.exists()


def test_a_first_start_saves_each_key_once_to_a_private_file(keys):
    keys.data_dir.mkdir()
    control = keys.open_control()
    stdout = io.StringIO()
    places = {"keys_dir": keys.keys_dir, "data_dir": keys.data_dir, "url": "http://127.0.0.1:8787"}
    announce_first_keys(control, **places, stdout=stdout)
    announce_first_keys(control, **places, stdout=stdout)
    control.close()
    paths = sorted(keys.keys_dir.iterdir())
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
    assert stat.S_IMODE(keys.keys_dir.stat().st_mode) == 0o700
    text = "".join(path.read_text() for path in paths)
    lines = [line.partition("=") for line in text.splitlines() if line[0] != "#"]
    assert [name for name, _, _ in lines] == ["MILLIMETRIC_PK", "MILLIMETRIC_RK", "MILLIMETRIC_KEY"]
    listed = {key["prefix"]: key["kind"] for key in keys.json("list")}
    assert {parse_api_key(key).prefix for _, _, key in lines} == set(listed)
    assert {path.name for path in paths} == {
        f"default-{kind}-{prefix}.env" for prefix, kind in listed.items()
    }
    assert "# for browsers, from http://localhost:5173, http://localhost:8787" in text
    assert not any(key in stdout.getvalue() for _, _, key in lines)
    assert stdout.getvalue().count("Next steps") == 1
    steps = stdout.getvalue().partition("Next steps")[2].split("\n")
    for path in paths:  # they stand in each file too, as comments
        kept = path.read_text().partition("# Next steps\n")[2].splitlines()
        assert [line.removeprefix("# ").removeprefix("#") for line in kept] == steps[1:-1]


def test_a_list_shows_every_key_without_its_secret(keys):
    sk = keys.json("create", "--kind", "sk", "--label", "the shop's server")
    expiring = keys.json("create", "--kind", "rk", "--expires-days", "30")
    keys.change("default", retention_days=90)
    origins = ["--origin", "https://a.example", "--origin", f"https://{'long.' * 12}example"]
    pk = keys.json("create", "--kind", "pk", *origins, "--project", "[b]x")
    keys("revoke", sk["prefix"])
    keys.note_use(sk["prefix"], datetime(2026, 11, 29, tzinfo=UTC))
    today, later = (f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%d}" for days in (0, 30))

    code, out, _ = keys("list")

    assert code == 0
    assert out.splitlines() == [
        "Project [b]x",
        f"  {pk['prefix']}  pk  live  created {today}  used never       active",
        "            https://a.example",
        f"            https://{'long.' * 12}example",
        "Project default (events are kept 90 days)",
        f"  {sk['prefix']}  sk  live  created {today}  used 2026-11-29  revoked {today}",
        "            the shop's server",
        f"  {expiring['prefix']}  rk  live  created {today}  used never       expires {later}",
    ]
    assert max(len(line) for line in out.splitlines() if "long" not in line) <= 80


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
        "label": None,
        "last_used_on": None,
        "expires_at": None,
        "revoked_at": None,
    }


def test_an_empty_list_shows_the_command_that_creates_a_key(keys):
    keys.data_dir.mkdir()
    keys.open_control().close()
    options = f"--data-dir {keys.data_dir} --control DSN --keys-dir {keys.keys_dir}"
    command = f"millimetric-mcp keys create --kind sk {options}"
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
    assert "There is no active key with that prefix." in err
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
        (["--kind", "sk", "--expires-days", "0"], "--expires-days: use 1 to 36500"),
        (["--kind", "sk", "--label", "x" * 65], "--label: use at most 64 printable"),
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
        "--expires-days",
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


def test_a_browser_key_comes_with_its_script_tag(keys):
    code, out, _ = keys("create", "--kind", "pk", "--origin", "https://shop.example")
    (path,) = keys.keys_dir.iterdir()
    (key,) = [line.partition("=")[2] for line in path.read_text().splitlines() if line[0] != "#"]
    assert code == 0
    assert out.splitlines()[-1] == (
        f'<script async src="http://localhost:8787/v1/a.js" data-key="{key}"></script>'
    )


@pytest.mark.parametrize("place", ["running api", "option", "variable"])
def test_the_script_tag_has_the_public_url_where_it_is_known(keys, monkeypatch, place):
    public = "https://analytics.shop.example"
    options = ["--public-url", f"{public}/"] if place == "option" else []
    if place == "variable":
        monkeypatch.setenv("MILLIMETRIC_PUBLIC_URL", public)
    keys.data_dir.mkdir()
    with ExitStack() as stack:
        if place == "running api":
            running = hold_running_file(keys.data_dir, public_url=public)
            stack.enter_context(running)("http://127.0.0.1:8787")
        code, out, _ = keys("create", "--kind", "pk", "--origin", "https://shop.example", *options)
    hint, tag = out.splitlines()[-2:]
    assert code == 0
    assert hint == "# Paste this into your pages:"
    assert tag.startswith(f'<script async src="{public}/v1/a.js" data-key=')


def test_the_script_tag_names_the_host_of_an_api_below_a_path(keys):
    options = ("--origin", "https://shop.example", "--public-url", "https://shop.example/stats")
    _, out, _ = keys("create", "--kind", "pk", *options)
    tag = out.splitlines()[-1]
    assert tag.startswith('<script async src="https://shop.example/stats/v1/a.js" data-key="pk_')
    assert tag.endswith('" data-host="https://shop.example/stats"></script>')


def test_a_script_tag_with_a_local_address_says_that_the_public_one_goes_there(keys):
    _, out, _ = keys("create", "--kind", "pk", "--origin", "https://shop.example")
    assert out.splitlines()[-2] == (
        "# Paste this into your pages, with the public URL of your API in place of "
        "http://localhost:8787:"
    )


def test_the_first_start_on_a_terminal_shows_keys_and_next_steps_ready_to_paste(keys):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    keys.data_dir.mkdir()
    stdout = Terminal()
    places = {"keys_dir": keys.keys_dir, "data_dir": keys.data_dir, "url": "http://0.0.0.0:8787"}
    with closing(keys.open_control()) as control:
        announce_first_keys(control, **places, stdout=stdout)
    shown = stdout.getvalue()
    found = dict(
        line.split("=", 1) for line in shown.splitlines() if line.startswith("MILLIMETRIC_")
    )
    assert set(found) == {"MILLIMETRIC_KEY", "MILLIMETRIC_RK", "MILLIMETRIC_PK"}
    assert (
        '<script async src="http://localhost:8787/v1/a.js" '
        f'data-key="{found["MILLIMETRIC_PK"]}"></script>'
    ) in shown
    assert "open http://localhost:8787/ in a browser, and paste" in shown
    block = json.loads(shown[shown.index("   {\n") : shown.rindex("   }\n") + 5])
    assert block["mcpServers"]["millimetric"]["env"] == {
        "MILLIMETRIC_HOST": "http://localhost:8787",
        "MILLIMETRIC_RK": found["MILLIMETRIC_RK"],
    }
    assert "http://localhost:8787/mcp" in shown
    assert not keys.keys_dir.exists()


def test_a_rotated_key_is_like_the_old_one_which_works_for_a_while(keys):
    origins = ["--origin", "https://shop.example"]
    old = keys.json("create", "--kind", "pk", "--project", "shop", "--label", "web", *origins)
    new = keys.json("rotate", old["prefix"])
    first, second = sorted(keys.json("list"), key=lambda key: key["expires_at"] is None)
    assert (first["prefix"], second["prefix"]) == (old["prefix"], new["prefix"])
    same = ("kind", "env", "project", "label", "origins")
    assert [first[name] for name in same] == [second[name] for name in same]
    left = datetime.fromisoformat(first["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=23) < left <= timedelta(hours=24)


def test_a_key_is_refused_at_once_when_it_is_rotated_without_overlap(keys):
    old = keys.json("create", "--kind", "sk")
    new = keys.json("rotate", old["prefix"], "--overlap-hours", "0")
    with closing(keys.open_control()) as control:
        assert set(control.find_keys([old["prefix"], new["prefix"]])) == {new["prefix"]}
    assert keys("rotate", old["prefix"])[0] == 1


def test_the_files_of_keys_are_deleted_on_request_and_when_a_key_is_revoked(keys):
    for project in ("a", "b", "shop"):
        keys("create", "--kind", "sk", "--project", project, "--yes")
    foreign = keys.keys_dir / "other-sk-AbCd1234.env"
    foreign.touch()
    prefixes = {key["project"]: key["prefix"] for key in keys.json("list")}

    assert keys.json("clean", prefixes["a"]) == {
        "deleted": [str(keys.keys_dir / f"a-sk-{prefixes['a']}.env")]
    }
    keys("revoke", prefixes["b"])
    assert keys("clean")[1] == f"Deleted {keys.keys_dir}/shop-sk-{prefixes['shop']}.env\n"
    assert keys("clean")[1] == f"No key is saved in {keys.keys_dir}.\n"
    assert list(keys.keys_dir.iterdir()) == [foreign]


@pytest.mark.parametrize("name", ["SHOP", "shops", "sho", "shap", "sohp"])
def test_a_name_like_another_projects_creates_nothing_without_yes(keys, name):
    keys.json("create", "--kind", "sk", "--project", "shop")
    code, _, err = keys("create", "--kind", "sk", "--project", name)
    assert code == 2
    assert f"There is a project shop. Is {name} really another one? Add --yes" in err
    assert {key["project"] for key in keys.json("list")} == {"shop"}
    keys.json("create", "--kind", "sk", "--project", name, "--yes")
    assert {key["project"] for key in keys.json("list")} == {"shop", name}


def test_a_relative_data_directory_is_named_in_full(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = read_settings(ControlSettings, environ={}, options={"data_dir": "data"})

    assert datadir.prepare_data_dir(settings) == tmp_path / "data"
