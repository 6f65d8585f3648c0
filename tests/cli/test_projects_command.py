import json
import os
import pty
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from millimetric_mcp.api.control import datadir, open_control
from millimetric_mcp.cli import main


class Projects:
    """``millimetric-mcp projects`` on one data directory and control database."""

    def __init__(self, data_dir: Path, dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.data_dir = data_dir
        self.options = [
            *("--data-dir", str(data_dir), "--control", dsn),
            *("--keys-dir", str(data_dir.with_name("keys"))),
        ]
        self._dsn = dsn
        self._capsys = capsys

    def run(self, *arguments: str) -> tuple[int, str, str]:
        command, action, *rest = arguments
        code = main([command, action, *self.options, *rest])
        return code, *self._capsys.readouterr()

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        return self.run("projects", *arguments)

    def json(self, *arguments: str):
        code, out, err = self.run(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    def names(self) -> list[str]:
        return [project["project"] for project in self.json("projects", "list")]

    def open_control(self):
        return open_control(self._dsn, pepper=datadir.read_or_make_secret(self.data_dir / "pepper"))


@pytest.fixture
def projects(tmp_path, control_dsn, capsys, monkeypatch) -> Projects:
    for name in [name for name in os.environ if name.startswith("MILLIMETRIC_")]:
        monkeypatch.delenv(name)
    made = Projects(tmp_path / "data", control_dsn, capsys)
    made.json("keys", "create", "--kind", "sk", "--project", "shop")
    return made


def answer_at_a_terminal(projects: Projects, answer: str, *arguments: str) -> tuple[int, str]:
    """The exit code and what stood on the terminal, for a person who types ``answer``."""
    controller, terminal = pty.openpty()
    os.write(controller, f"{answer}\n".encode())
    done = subprocess.run(
        [sys.executable, "-m", "millimetric_mcp", *arguments, *projects.options],
        stdin=terminal,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(terminal)
    os.close(controller)
    return done.returncode, done.stdout + done.stderr


def test_a_list_shows_each_projects_settings(projects):
    projects("create", "blog")
    settings = ("--retention-days", "400", "--fbclid", "social", "--timezone", "Europe/Berlin")
    projects("set", "blog", *settings, "--yes")
    origins = ("--origin", "https://shop.example", "--origin", "https://www.shop.example")
    projects.json("keys", "create", "--kind", "pk", "--project", "shop", *origins)
    code, out, _ = projects("list")
    created = "  created {}, never used, {}"
    with closing(projects.open_control()) as control:
        day = f"{control.projects.list_all()[0].created_at:%Y-%m-%d}"
    assert code == 0
    assert out.splitlines() == [
        "Project blog",
        created.format(day, "0 active keys"),
        "  events are kept 400 days",
        "  an fbclid counts as social",
        "  days begin in Europe/Berlin",
        "Project shop",
        created.format(day, "2 active keys"),
        "  browser keys work on",
        "    https://shop.example",
        "    https://www.shop.example",
    ]


def test_the_list_as_json_has_every_setting(projects):
    origins = ["http://localhost:5173", "https://shop.example"]
    options = [option for origin in origins for option in ("--origin", origin)]
    projects.json("keys", "create", "--kind", "pk", "--project", "shop", *options)
    [listed] = projects.json("projects", "list")
    assert listed.pop("created_at").endswith("Z")
    assert listed == {
        "project": "shop",
        "retention_days": None,
        "fbclid": None,
        "timezone": None,
        "origins": origins,
        "keys": 2,
        "last_used_on": None,
    }


def test_a_project_is_renamed_with_its_test_data_and_keys(projects):
    test_key = projects.json("keys", "create", "--kind", "rk", "--project", "shop", "--env", "test")
    assert projects("rename", "shop", "store", "--yes")[0] == 0
    assert projects.names() == ["store"]
    assert {key["project"] for key in projects.json("keys", "list")} == {"store"}
    with closing(projects.open_control()) as control:
        [record] = control.find_keys([test_key["prefix"]]).values()
        assert record.project_id in control.projects.find_ids("store")


def test_a_rename_may_change_one_letter_without_a_question(projects):
    assert projects("rename", "shop", "Shop")[0] == 0
    assert projects.names() == ["Shop"]


def test_a_rename_asks_about_a_project_that_is_like_the_new_name(projects):
    projects("create", "shops", "--yes")
    code, _, err = projects("rename", "shop", "shopz")
    assert (code, projects.names()) == (2, ["shop", "shops"])
    assert "There is a project shops. Is shopz really another one?" in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("create", "shop"), "There is already a project shop."),
        (("rename", "shop", "blog"), "There is already a project blog."),
        (("rename", "shpo", "x"), "There is no project shpo. Did you mean shop?"),
        (("set", "other", "--fbclid", "paid"), "To see all: millimetric-mcp projects list"),
        (("delete", "other"), "There is no project other."),
        (
            ("set", "shop", "--origin", "https://shop.example"),
            "Project shop has no active browser key.",
        ),
    ],
    ids=" ".join,
)
def test_a_command_fails_when_a_name_is_unknown_or_taken(projects, arguments, sentence):
    projects("create", "blog")
    code, out, err = projects(*arguments)
    assert (code, out) == (1, "")
    assert sentence in err
    assert projects.names() == ["blog", "shop"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("create", " "), "NAME: use 1 to 57 printable characters."),
        (("rename", "shop", "a\nb"), "NEW_NAME: use 1 to 57 printable characters."),
        (("create", "\uff53\uff48\uff4f\uff50"), "looks like another name. Write 'shop'."),
        (("create", "\u0455ho\u0440"), "mixes alphabets that look alike. Use the letters of one."),
        (("set", "shop"), "Say what to set: --retention-days, --fbclid, --timezone or --origin."),
        (("set", "shop", "--timezone", "Berlin"), "--timezone: use an IANA name such as"),
        (("set", "shop", "--timezone", ""), "--timezone: use an IANA name such as"),
        (("set", "shop", "--retention-days", "-1"), "--retention-days: use 1 to 36500"),
        (("set", "shop", "--origin", "shop.example"), "Did you mean https://shop.example?"),
        (("create", "Shop"), "There is a project shop. Is Shop really another one? Add --yes"),
        (
            ("set", "shop", "--retention-days", "30"),
            "deletes every event of project shop that is older than 30 days",
        ),
    ],
)
def test_a_wrong_or_risky_command_changes_nothing_without_yes(projects, arguments, sentence):
    before = projects.json("projects", "list")
    code, out, err = projects(*arguments)
    assert (code, out) == (2, "")
    assert sentence in err
    assert projects.json("projects", "list") == before


def test_a_longer_retention_is_set_without_a_question(projects):
    projects("set", "shop", "--retention-days", "30", "--yes")
    assert projects("set", "shop", "--retention-days", "60")[0] == 0
    assert projects.json("projects", "list")[0]["retention_days"] == 60
    assert (
        projects.json("projects", "set", "shop", "--retention-days", "0")["retention_days"] is None
    )


def test_a_projects_zone_is_set_and_taken_back(projects):
    assert projects("set", "shop", "--timezone", "Asia/Tokyo")[0] == 0
    assert projects.json("projects", "list")[0]["timezone"] == "Asia/Tokyo"
    assert projects.json("projects", "set", "shop", "--timezone", "default")["timezone"] is None


def test_origins_of_a_project_replace_those_of_its_browser_keys(projects):
    origins = ("--origin", "https://a.example")
    projects.json("keys", "create", "--kind", "pk", "--project", "shop", *origins)
    assert projects("set", "shop", "--origin", "HTTPS://B.example/")[0] == 0
    keys = {key["kind"]: key["origins"] for key in projects.json("keys", "list")}
    assert keys == {"sk": [], "pk": ["https://b.example"]}


@pytest.mark.parametrize("consent", [(), ("--yes",)])
def test_no_setting_is_changed_when_there_is_no_browser_key_for_the_origins(projects, consent):
    before = projects.json("projects", "list")
    settings = ("--retention-days", "10", "--fbclid", "social", "--timezone", "Asia/Tokyo")
    code, out, err = projects(
        "set", "shop", *settings, "--origin", "https://shop.example", *consent
    )
    assert (code, out) == (1, "")
    assert err.startswith("Project shop has no active browser key.")
    assert projects.json("projects", "list") == before


def test_all_settings_of_a_project_are_set_at_once(projects):
    origins = ("--origin", "https://a.example")
    projects.json("keys", "create", "--kind", "pk", "--project", "shop", *origins)
    settings = ("--retention-days", "10", "--fbclid", "social", "--timezone", "Asia/Tokyo")
    changed = projects.json(
        "projects", "set", "shop", *settings, "--origin", "https://b.example", "--yes"
    )
    assert (changed["retention_days"], changed["fbclid"]) == (10, "social")
    assert (changed["timezone"], changed["origins"]) == ("Asia/Tokyo", ["https://b.example"])


def test_a_mistyped_data_directory_is_not_created(tmp_path, capsys):
    assert main(["projects", "list", "--data-dir", str(tmp_path / "typo")]) == 2
    assert "typo holds no API keys" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_project_is_not_deleted_when_its_store_is_elsewhere(projects):
    code, _, err = projects("delete", "shop", "--yes")
    assert code == 2
    assert "There is no event store in" in err
    assert projects.names() == ["shop"]


@pytest.mark.slow
def test_a_person_at_the_terminal_is_asked_about_a_similar_name(projects):
    question = "There is a project shop. Is shops really another one? [y/N]"
    code, shown = answer_at_a_terminal(projects, "n", "projects", "create", "shops")
    assert (code, question in shown, "Nothing was changed." in shown) == (1, True, True)
    assert projects.names() == ["shop"]

    code, shown = answer_at_a_terminal(projects, "y", "projects", "create", "shops")
    assert (code, question in shown) == (0, True)
    assert projects.names() == ["shop", "shops"]
