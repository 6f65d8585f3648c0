"""The doctor, against a real API, a working website, and broken ones."""

import json
import os
import re
import ssl
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import httpx
import pytest

from millimetric_mcp.cli import main
from millimetric_mcp.cli.doctor import connection, site
from millimetric_mcp.cli.doctor.finding import Level
from millimetric_mcp.contract.codes import ErrorCode

DEADLINE_S = 60
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


class Website(ThreadingHTTPServer):
    """A website whose page and headers a test chooses."""

    page = ""
    headers: ClassVar[dict[str, str]] = {}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/" else 404)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.server.page.encode())

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def website():
    with Website(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def api(tmp_path_factory, website):
    """The URL and the keys of a running API; the pk is for the website."""
    directory = tmp_path_factory.mktemp("api")
    command = [sys.executable, "-m", "millimetric_mcp"]
    environ = {k: v for k, v in os.environ.items() if not k.startswith("MILLIMETRIC_")}
    environ["MILLIMETRIC_DATA_DIR"] = str(directory)
    log = directory / "log"
    with log.open("w") as stderr:
        options = {"env": environ, "stderr": stderr, "stdout": subprocess.DEVNULL}
        process = subprocess.Popen([*command, "api", "--port", "0"], **options)
    deadline_s = time.monotonic() + DEADLINE_S
    while not (found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
    keys = {"url": found[0]}
    for kind, *more in (["rk"], ["sk"], ["pk", "--origin", website.url]):
        create = [*command, "keys", "create", "--kind", kind, "--json", *more]
        made = subprocess.run(create, env=environ, capture_output=True, check=True)
        keys[kind] = json.loads(made.stdout)["key"]
    yield keys
    process.terminate()
    process.wait()


@pytest.fixture
def examine(api, monkeypatch, capsys, tmp_path):
    """Run ``doctor --json`` with the API's keys; return the exit code and the findings."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MILLIMETRIC_HOST", api["url"])
    monkeypatch.setenv("MILLIMETRIC_RK", api["rk"])
    monkeypatch.setenv("MILLIMETRIC_KEY", api["sk"])

    def run(*options, **variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        code = main(["doctor", "--json", *options])
        facts = json.loads(capsys.readouterr().out)
        assert facts["ok"] is (code == 0)
        return code, facts

    return run


def find(facts, check, level):
    return [f for f in facts["findings"] if (f["check"], f["level"]) == (check, level)]


def test_a_working_installation_has_nothing_broken(examine, api):
    code, facts = examine()

    assert code == 0
    assert find(facts, "host", "ok")
    assert find(facts, "clock", "ok")
    assert len(find(facts, "keys", "ok")) == 2


def test_every_problem_says_why_it_matters_and_what_to_do(examine):
    _, facts = examine(MILLIMETRIC_HOST="http://127.0.0.1:9")

    problems = [finding for finding in facts["findings"] if finding["level"] != "ok"]
    assert problems
    assert all(finding["why"] and finding["action"] for finding in problems)


def test_no_secret_is_shown(examine, api, capsys):
    _, facts = examine()
    main(["doctor"])
    shown = json.dumps(facts) + capsys.readouterr().out

    for kind in ("rk", "sk"):
        assert api[kind] not in shown
        assert api[kind].split("_", 3)[3] not in shown
    values = {fact["setting"]: fact for fact in facts["settings"]}
    assert values["MILLIMETRIC_RK"]["value"].endswith("_…")
    assert values["MILLIMETRIC_RK"]["source"] == "environment"
    assert values["MILLIMETRIC_TIMEZONE"] == {
        "setting": "MILLIMETRIC_TIMEZONE",
        "value": "UTC",
        "source": "default",
    }


def test_an_api_that_does_not_run_is_broken(examine):
    code, facts = examine(MILLIMETRIC_HOST="http://127.0.0.1:9")

    assert code == 1
    assert "Nothing answers at http://127.0.0.1:9" in find(facts, "host", "broken")[0]["what"]


def test_another_server_at_the_url_is_broken(examine, website):
    code, facts = examine(MILLIMETRIC_HOST=website.url)

    assert code == 1
    assert "it is not the Millimetric API" in find(facts, "host", "broken")[0]["what"]


def test_a_refused_key_is_broken(examine):
    code, facts = examine(MILLIMETRIC_RK=f"rk_live_abcdefgh_{'s' * 32}")

    assert code == 1
    assert "MILLIMETRIC_RK is refused" in find(facts, "keys", "broken")[0]["what"]


def test_invalid_settings_are_broken(examine):
    code, facts = examine(MILLIMETRIC_TIMEZONE="Mars/Olympus", MILLIMETRIC_RK="sk_planted")

    assert code == 1
    assert len(find(facts, "settings", "broken")) == 2
    assert "planted" not in json.dumps(facts)


def test_doctor_stores_nothing(examine, api):
    examine()
    examine()
    with httpx.Client() as http:
        asked = connection.CheckedApi(api["url"], http, connection.utc_now).read(api["rk"])

    assert asked.json()["rows"] == []


def make_tag(api, website, **attributes):
    given = {"src": f"{api['url']}/v1/a.js", "data-key": api["pk"], **attributes}
    written = " ".join(f'{name.replace("_", "-")}="{value}"' for name, value in given.items())
    website.headers = {}
    website.page = f"<html><head><script async {written}></script></head></html>"


def test_a_website_with_its_tag_is_fine(examine, api, website):
    make_tag(api, website)
    code, facts = examine("--site", website.url)

    assert code == 0, facts
    assert find(facts, "tag", "ok")
    assert find(facts, "key", "ok")
    assert find(facts, "events", "note")


def test_a_page_without_the_tag_is_broken(examine, website):
    website.page, website.headers = "<html></html>", {}
    code, facts = examine("--site", website.url)

    assert code == 1
    [finding] = find(facts, "tag", "broken")
    assert f"--origin {website.url}" in finding["action"]


@pytest.mark.parametrize(
    ("data_key", "sentence"),
    [
        ("", "data-key is not a pk_ key."),
        (f"rk_live_abcdefgh_{'s' * 32}", "data-key is not a pk_ key."),
        (f"pk_live_abcdefgh_{'s' * 32}", "The key of the tag is refused"),
    ],
    ids=["none", "read key", "unknown"],
)
def test_a_wrong_key_in_the_tag_is_broken(examine, api, website, data_key, sentence):
    make_tag(api, website, **{"data-key": data_key})
    code, facts = examine("--site", website.url)

    assert code == 1
    assert sentence in find(facts, "key", "broken")[0]["what"]


def test_an_origin_that_the_key_does_not_allow_is_broken(examine, api, website):
    make_tag(api, website)
    code, facts = examine("--site", website.url.replace("127.0.0.1", "localhost"))

    assert code == 1
    assert "is not allowed on http://localhost:" in find(facts, "key", "broken")[0]["what"]


def test_a_policy_in_the_way_is_broken(examine, api, website):
    make_tag(api, website)
    website.headers = {"Content-Security-Policy": f"default-src 'self'; script-src {api['url']}"}
    code, facts = examine("--site", website.url)

    assert code == 1
    [finding] = find(facts, "csp", "broken")
    assert finding["action"] == f"Add {api['url']} to connect-src."


SCRIPT = "https://api.example/v1/a.js"


@pytest.mark.parametrize(
    ("policy", "is_allowed"),
    [
        ("img-src 'none'", True),
        ("default-src 'self'", False),
        ("default-src *", True),
        ("default-src https:", True),
        ("script-src https://api.example", True),
        ("script-src api.example", True),
        ("script-src *.example", True),
        ("script-src https://api.example:444", False),
        ("script-src https://api.example/v1/", True),
        ("script-src https://api.example/other/", False),
        ("script-src http://api.example", True),
        ("default-src *; script-src 'none'", False),
        ("script-src 'none'; script-src-elem https://api.example", True),
        ("script-src 'nonce-abc'", True),
        ("script-src 'strict-dynamic' https://api.example", False),
        ("script-src https://notapi.example", False),
    ],
)
def test_a_policy_is_read_as_browsers_do(policy, is_allowed):
    page = "https://shop.example/"

    assert site.allows(policy, "script-src", SCRIPT, page, nonce="abc") is is_allowed


def answer_with(handler, now=NOW):
    http = httpx.Client(transport=httpx.MockTransport(handler))
    return connection.CheckedApi("https://api.example", http, lambda: now)


def test_an_invalid_certificate_is_named():
    def fail(request):
        raise httpx.ConnectError("failed") from ssl.SSLCertVerificationError("expired")

    [finding] = connection.check_host(answer_with(fail))

    assert (finding.check, finding.level) == ("tls", Level.BROKEN)
    assert "api.example" in finding.what


def test_an_api_without_tls_is_named_as_such(examine, api):
    code, facts = examine(MILLIMETRIC_HOST=api["url"].replace("http:", "https:"))
    [finding] = find(facts, "tls", "broken")

    assert code == 1
    assert "does not answer with TLS" in finding["what"]
    assert finding["action"].startswith("Write http:// if this API has no TLS")


def test_a_website_without_a_scheme_is_shown_with_one(examine):
    _, facts = examine("--site", "shop.example/a")

    [finding] = find(facts, "site", "broken")
    assert finding["action"] == "Write the whole URL: https://shop.example/a."


@pytest.mark.parametrize(("skew_s", "level"), [(30, "ok"), (-3600, "broken"), (90, "broken")])
def test_clocks_that_differ_are_broken(skew_s, level):
    date = NOW.strftime("%a, %d %b %Y %H:%M:%S GMT")

    def answer(request):
        return httpx.Response(
            401, json={"error": ErrorCode.MISSING_BEARER_TOKEN}, headers={"Date": date}
        )

    findings = connection.check_host(answer_with(answer, NOW + timedelta(seconds=skew_s)))

    assert [f.level for f in findings if f.check == "clock"] == [level]


def test_files_of_clients_are_examined(examine, tmp_path, api, capsys):
    main(["config", "claude-code", "--write"])
    main(["config", "codex", "--write"])
    codex = tmp_path / ".codex" / "config.toml"
    codex.write_bytes(b"\xef\xbb\xbf" + codex.read_bytes())  # as some editors save it
    (tmp_path / ".cursor").mkdir()
    (tmp_path / ".cursor" / "mcp.json").write_text('{"mcpServers": {}}')
    (tmp_path / ".vscode").mkdir()
    (tmp_path / ".vscode" / "mcp.json").write_text("{ broken")
    (tmp_path / ".openclaw").mkdir()
    env = {"MILLIMETRIC_RK": api["rk"]}
    servers = {"millimetric": {"command": sys.executable, "env": env}}
    (tmp_path / ".openclaw" / "openclaw.json").write_text(json.dumps({"mcp": {"servers": servers}}))
    capsys.readouterr()
    code, facts = examine()

    assert code == 1
    assert len(find(facts, "clients", "ok")) == 2
    assert "does not name this server" in find(facts, "clients", "note")[0]["what"]
    invalid, readable = (finding["what"] for finding in find(facts, "clients", "broken"))
    assert "mcp.json is invalid: not valid in line 1" in invalid
    assert readable.endswith("openclaw.json holds keys, and other users can read it.")


def test_a_local_api_that_does_not_run_is_no_failure(examine, monkeypatch):
    for name in ("MILLIMETRIC_RK", "MILLIMETRIC_KEY"):
        monkeypatch.delenv(name)
    code, facts = examine("--local")

    [host] = [fact for fact in facts["settings"] if fact["setting"] == "MILLIMETRIC_HOST"]
    assert (host["value"], host["source"]) == ("local", "--local")

    assert code == 0
    assert find(facts, "host", "note")[0]["what"] == "The local API does not run."
    assert find(facts, "resources", "ok") or find(facts, "resources", "note")
    assert find(facts, "port", "ok") or find(facts, "port", "note")
