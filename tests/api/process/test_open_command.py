"""``millimetric-mcp open``: a one-time link to the page, against a running API."""

import json
import os
import stat
import sys

import httpx
import pytest

from millimetric_mcp.contract.endpoints import SIGN_IN_PATH

pytestmark = pytest.mark.slow

BROWSER = """#!{python}
import http.client, json, pathlib, sys
connection = http.client.HTTPConnection(sys.argv[1].split("/")[2])
connection.request("GET", "/")
link = connection.getresponse().headers["Location"]
pathlib.Path("{seen}").write_text(json.dumps([sys.argv[1:], link]))
"""
SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")


@pytest.fixture(autouse=True)
def no_screen(monkeypatch):
    for name in SCREENS:
        monkeypatch.delenv(name, raising=False)


def sign_in(link):
    page, _, code = link.partition("#code=")
    headers = {"Authorization": f"Bearer {code}"}
    return httpx.post(page.rstrip("/") + SIGN_IN_PATH, headers=headers)


@pytest.mark.parametrize("options", [(), ("--print",)])
def test_the_link_is_printed_and_works_once(shared_api, run_command, options):
    stdout, stderr = run_command(shared_api, "open", *options)
    key = shared_api.keys["MILLIMETRIC_RK"]

    assert stdout.startswith(f"{shared_api.url}/#code=")
    assert key not in stdout + stderr
    assert "once, within 60 seconds" in stderr
    assert sign_in(stdout.strip()).json() == {"key": key}
    assert sign_in(stdout.strip()).status_code == 401


def test_json_has_the_link(shared_api, run_command):
    stdout, stderr = run_command(shared_api, "open", "--json")
    facts = json.loads(stdout)

    assert stderr == ""
    assert facts.keys() == {"url", "expires_in_s", "opened"}
    assert (facts["expires_in_s"], facts["opened"]) == (60, False)
    assert sign_in(facts["url"]).status_code == 200


def test_a_browser_gets_the_link_but_not_as_an_argument(
    shared_api, run_command, tmp_path, monkeypatch
):
    browser, seen = tmp_path / "browser", tmp_path / "seen"
    browser.write_text(BROWSER.format(python=sys.executable, seen=seen))
    browser.chmod(browser.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("BROWSER", f"{browser} %s")

    stdout, _ = run_command(shared_api, "open")

    assert stdout == f"Opened {shared_api.url}/ in your browser.\n"
    arguments, link = json.loads(seen.read_text())
    assert len(arguments) == 1
    assert sign_in(link).status_code == 200
    assert link.partition("#")[2] not in arguments[0]
    assert shared_api.keys["MILLIMETRIC_RK"] not in arguments[0] + link


def test_the_log_of_the_api_has_neither_code_nor_key(shared_api, run_command):
    stdout, _ = run_command(shared_api, "open")
    link = stdout.strip()
    sign_in(link)

    shared_api.wait_until(lambda: SIGN_IN_PATH in shared_api.stderr())
    assert link.partition("=")[2] not in shared_api.stderr()
    assert shared_api.keys["MILLIMETRIC_RK"] not in shared_api.stderr()


def test_without_a_read_key_it_says_what_to_set(no_api, run_command, monkeypatch):
    monkeypatch.setitem(os.environ, "MILLIMETRIC_RK", "")
    _, stderr = run_command(no_api, "open", code=2)

    assert "MILLIMETRIC_RK" in stderr
    assert "--local" in stderr


def test_a_server_without_the_page_is_named(older_api_url, no_api, run_command):
    no_api.url, no_api.keys = older_api_url, {"MILLIMETRIC_RK": f"rk_live_AbCd1234_{'x' * 32}"}
    _, stderr = run_command(no_api, "open", code=2)

    assert f"The API at {older_api_url} has no page" in stderr
