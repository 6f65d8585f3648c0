"""The script ``mm``: keys stay secret, errors say what to do, exit codes, periods."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.mcp.window import PERIODS, resolve_window

SECRET = "s" * 40
READS = ("sources", "stats", "query", "mcp")
COMMANDS = {
    "sources": "scripts/mm sources",
    "stats": "scripts/mm stats",
    "query": "scripts/mm query",
    "mcp": "scripts/mm mcp",
    "track": "scripts/mm track event=x",
    "identify": "scripts/mm identify anonymous_id=v user_id=u",
    "forget": "scripts/mm forget user_id=u",
    "batch": "scripts/mm batch events.ndjson",
}
OTHER_KINDS = {"MILLIMETRIC_KEY": ("pk", "rk", "ak"), "MILLIMETRIC_RK": ("pk", "sk", "ak")}
KINDS = {"pk": "a browser key", "sk": "a server key", "rk": "a read key", "ak": "an account key"}
MALFORMED = {
    "an option of curl": '{kind}_live_abcdefgh_{secret}\nurl="{url}/stolen"',
    "an option of curl first": 'url="{url}/stolen"\n{kind}_live_abcdefgh_{secret}',
    "a newline at its end": "{kind}_live_abcdefgh_{secret}\n",
    "a carriage return": "{kind}_live_abcdefgh_{secret}\r",
    "a quote": '{kind}_live_abcdefgh_{secret}"',
    "a backslash": "{kind}_live_abcdefgh_{secret}\\n",
    "a space": "{kind}_live_abcdefgh_{secret} x",
    "a letter outside ASCII": "{kind}_live_abcdefgh_{secret}é",
    "a percent sign": "{kind}_live_abcdefgh_{secret}%0A",
    "no underscore": "{kind}",
    "quotes around it": "'{kind}_live_abcdefgh_{secret}'",
    "a space before it": " {kind}_live_abcdefgh_{secret}",
    "capitals": "PK_live_abcdefgh_{secret}",
}
WRONG_HOSTS = {
    "no scheme": "127.0.0.1:8787",
    "another scheme": "file:///etc/passwd",
    "an option of curl": 'http://127.0.0.1:9"\nurl="http://127.0.0.1:9/other',
    "a space": "http://127.0.0.1:9/ x",
}
CURLRC = """
include
fail
user-agent = "somebody-else"
header = "X-Added: yes"
write-out = "written out"
output = "swallowed"
max-time = 0.000001
proxy = "http://127.0.0.1:9"
url = "http://127.0.0.1:9/another"
"""
UNKNOWN_KEY = {"error": "invalid_api_key"}

Serve = Callable[..., tuple[str, list[str]]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server that always sends the same response; return its URL and the paths called."""
    with ExitStack() as stack:
        yield lambda status, body, **headers: stack.enter_context(_answer(status, body, headers))


@contextmanager
def _answer(status: int, body: bytes, headers) -> Iterator[tuple[str, list[str]]]:
    calls: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            calls.append(self.path)
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the name http.server looks for

        def log_message(self, *_: object) -> None:
            """Write no log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", calls
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def listener(serve) -> tuple[str, list[str]]:
    return serve(500, b"")


def variable_of(command):
    return "MILLIMETRIC_RK" if command in READS else "MILLIMETRIC_KEY"


def kind_of(variable):
    return "sk" if variable == "MILLIMETRIC_KEY" else "rk"


def point_at(url, **keys):
    return {"MILLIMETRIC_HOST": url, "MILLIMETRIC_MCP_URL": f"{url}/mcp", **keys}


def well_formed(url):
    keys = {
        "MILLIMETRIC_KEY": f"sk_live_abcdefgh_{SECRET}",
        "MILLIMETRIC_RK": f"rk_live_abcdefgh_{SECRET}",
    }
    return point_at(url, **keys)


@pytest.fixture(autouse=True)
def events_file(run_script):
    (run_script.cwd / "events.ndjson").write_text('{"event": "x"}\n')


# --- Before a request is sent -------------------------------------------------------------------


def check_stopped(ran, message):
    """No request was sent, and the only output is the message."""
    assert (ran.code, ran.stdout, ran.stderr) == (2, "", f"mm: {message}\n")
    assert {command[0] for command in ran.commands} <= {"mm", "jq"}


@pytest.mark.parametrize("number", range(3), ids=["browser", "other", "account"])
@pytest.mark.parametrize("command", COMMANDS)
def test_mm_names_the_kind_of_a_key_when_it_is_another_kind(
    command, number, shell, run_script, listener
):
    url, calls = listener
    variable = variable_of(command)
    found, needed = OTHER_KINDS[variable][number], kind_of(variable)
    environ = point_at(url, **{variable: f"{found}_live_abcdefgh_{SECRET}"})
    ran = run_script(COMMANDS[command], shell=shell, environ=environ)
    message = f"{variable} holds {KINDS[found]} ({found}_...). "
    check_stopped(ran, f"{message}This command needs {KINDS[needed]} ({needed}_...).")
    assert calls == []


@pytest.mark.parametrize("command", COMMANDS)
def test_mm_says_that_a_variable_is_not_set(command, shell, run_script, listener):
    url, calls = listener
    variable = variable_of(command)
    ran = run_script(COMMANDS[command], shell=shell, environ=point_at(url))
    kind = kind_of(variable)
    message = f"{variable} is not set. Set it to {KINDS[kind]} ({kind}_...) and export it."
    check_stopped(ran, message)
    assert calls == []


@pytest.mark.parametrize("command", ["query", "track"])
def test_mm_says_that_a_variable_is_empty(command, run_script, listener):
    url, calls = listener
    variable = variable_of(command)
    environ = point_at(url, **{variable: ""})
    ran = run_script(COMMANDS[command], shell="dash", environ=environ)
    kind = kind_of(variable)
    check_stopped(ran, f"{variable} is empty. Set it to {KINDS[kind]} ({kind}_...).")
    assert calls == []


@pytest.mark.parametrize("shape", MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize("command", ["query", "track", "batch", "mcp"])
def test_mm_refuses_a_malformed_key_without_showing_it(command, shape, run_script, listener):
    url, calls = listener
    variable = variable_of(command)
    kind = kind_of(variable)
    environ = point_at(url, **{variable: shape.format(kind=kind, secret=SECRET, url=url)})
    ran = run_script(COMMANDS[command], shell="bash", environ=environ)
    message = f"{variable} does not hold a complete key. "
    check_stopped(ran, f"{message}Copy {KINDS[kind]} ({kind}_...) again, without quotes or spaces.")
    assert calls == []


@pytest.mark.parametrize("host", WRONG_HOSTS.values(), ids=WRONG_HOSTS)
@pytest.mark.parametrize("command", ["query", "track", "mcp"])
def test_mm_refuses_a_host_that_is_not_a_url(command, host, shell, run_script):
    variable = "MILLIMETRIC_MCP_URL" if command == "mcp" else "MILLIMETRIC_HOST"
    environ = well_formed("http://127.0.0.1:9") | {variable: host}
    ran = run_script(COMMANDS[command], shell=shell, environ=environ)
    example = "http://localhost:8787/mcp" if command == "mcp" else "http://localhost:8787"
    check_stopped(ran, f"{variable} is not a URL. Set it to one such as {example}.")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("track", "track needs fields. See mm --help."),
        ("track signup", "'signup' is not NAME=VALUE."),
        ("track --jq .", "'--jq' is not an option or NAME=VALUE. See mm --help."),
        ("sources facebook", "'facebook' is not an option or NAME=VALUE. See mm --help."),
        ("sources --jq", "--jq needs a filter."),
        ("batch", "batch needs a file. See mm --help."),
        ("mcp from=7d", "mcp takes no parameters."),
        ("batch missing.ndjson", "missing.ndjson is missing or empty."),
        ("batch events.ndjson many", "'many' is not a number of events."),
        ("track event=x user_id:=many", "user_id:= needs JSON. Use user_id= for text."),
    ],
)
def test_mm_says_what_is_wrong_with_a_command(command, message, shell, run_script, listener):
    url, calls = listener
    ran = run_script(f"scripts/mm {command}", shell=shell, environ=well_formed(url))
    assert (ran.code, ran.stdout, ran.stderr) == (2, "", f"mm: {message}\n")
    assert calls == []


def test_mm_says_that_a_tool_is_missing(shell, run_script):
    script = "PATH=/nowhere\nexport PATH\nscripts/mm sources"
    ran = run_script(script, shell=shell, environ=well_formed("http://127.0.0.1:9"))
    assert (ran.code, ran.stdout) == (2, "")
    assert ran.stderr == (
        "mm: curl is not installed. Install it: brew install curl, or apt-get install curl.\n"
    )


def test_mm_lists_its_commands_when_asked_for_help(shell, run_script):
    ran = run_script("scripts/mm --help", shell=shell, environ={})
    assert ran.code == 0
    assert all(re.search(rf"^  {command}\b", ran.stdout, re.M) for command in COMMANDS)
    assert run_script("scripts/mm", shell=shell, environ={}).code == 2
    unknown = run_script("scripts/mm unknown", shell=shell, environ={})
    assert (unknown.code, unknown.stderr) == (2, ran.stdout)


# --- While a request is sent --------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_line_holds_a_key(command, run_script, listener):
    url, calls = listener
    ran = run_script(COMMANDS[command], shell="bash", environ=well_formed(url))
    assert ran.calls_of("curl")
    assert ran.calls_of("jq")
    assert SECRET not in str(ran.commands)
    assert SECRET not in ran.stdout + ran.stderr
    assert len(calls) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_a_trace_of_the_shell_shows_no_key(command, shell, run_script, listener):
    url, calls = listener
    ran = run_script(COMMANDS[command], shell=shell, environ=well_formed(url), trace=True)
    assert "oauth2-bearer" in ran.stderr
    assert SECRET not in ran.stdout + ran.stderr
    assert len(calls) == 1


def test_the_api_gets_the_key(project, run_script):
    for command in COMMANDS.values():
        ran = run_script(command, shell="bash", environ=project.environ)
        assert (ran.code, ran.stderr) == (0, "")


def test_the_users_curl_configuration_changes_nothing(run_script, project):
    (run_script.cwd / ".curlrc").write_text(CURLRC)
    unaware = run_script(f"curl -sS {project.url}/health", shell="bash", environ={})
    assert unaware.code != 0, "curl does not read this configuration"
    for command in COMMANDS.values():
        ran = run_script(command, shell="bash", environ=project.environ)
        assert (ran.code, ran.stderr) == (0, "")
    names = {path.name for path in run_script.cwd.iterdir()}
    assert names == {".curlrc", "events.ndjson", "scripts"}


def test_mm_accepts_a_host_that_ends_in_a_slash(run_script, project):
    environ = project.environ | {"MILLIMETRIC_HOST": project.url + "/"}
    for command in COMMANDS.values():
        ran = run_script(command, shell="bash", environ=environ)
        assert (ran.code, ran.stderr) == (0, "")


def test_the_harness_records_command_lines(run_script):
    ran = run_script(f"cat /dev/null {SECRET}", shell="bash", environ={})
    assert ran.calls_of("cat") == [["/dev/null", SECRET]]


@pytest.mark.parametrize("host", [{}, {"MILLIMETRIC_HOST": ""}], ids=["unset", "empty"])
def test_mm_calls_the_hosted_api_when_no_host_is_set(host, run_script):
    """A program named ``curl`` writes its options to a file."""
    key = f"rk_test_abcdefgh_{SECRET}"
    (run_script.cwd / "curl").write_text("#!/bin/sh\ncat > options\n")
    (run_script.cwd / "curl").chmod(0o755)
    script = 'PATH="$PWD:$PATH"\nexport PATH\nscripts/mm sources'
    ran = run_script(script, shell="bash", environ={"MILLIMETRIC_RK": key, **host})
    options = (run_script.cwd / "options").read_text()
    assert 'url="https://api.millimetric.ai/v1/sources?from=' in options
    assert ran.stderr.endswith(
        "mm: Check MILLIMETRIC_HOST (it is not set; https://api.millimetric.ai was used).\n"
    )
    assert f"oauth2-bearer={key}" in options


# --- What comes back ----------------------------------------------------------------------------


@pytest.mark.parametrize("code", ErrorCode)
@pytest.mark.parametrize("command", ["query", "track", "batch"])
def test_mm_says_what_to_do_about_every_error_code(command, code, run_script, serve):
    for status in code.statuses:
        body = {"error": code.value, "details": {"formErrors": ["the reason"]}}
        url, calls = serve(status, json.dumps(body).encode(), Retry_After="3600")
        ran = run_script(COMMANDS[command], shell="dash", environ=well_formed(url))
        happened, to_do, *rest = ran.stderr.splitlines()
        assert happened == f"mm: HTTP {status} {json.dumps(body, separators=(',', ':'))}"
        assert re.fullmatch(r"mm: [A-Z][^\n]+\.", to_do)
        assert [line[:21] for line in rest] == ["mm: Stopped after lin"] * (command == "batch")
        assert ran.stdout == ""
        unknown = status == 502 or code is ErrorCode.INTERNAL_ERROR
        assert ran.code == (3 if unknown and command != "query" else 1)
        assert len(calls) == 1


@pytest.mark.parametrize(
    ("status", "body", "shown"),
    [
        (502, b"<h1>Bad gateway</h1>", "<h1>Bad gateway</h1>"),
        (503, b"", ""),
        (404, b"no such page", "no such page"),
        (200, b"[]", "[]"),
        (200, b'"<welcome>"', '"<welcome>"'),
        (200, b'{"html": 1}', '{"html": 1}'),
        (302, b"\x1b[31mred\n" + b"x" * 9000, " [31mred " + "x" * 291),
    ],
    ids=["HTML", "empty", "404", "list", "text", "object", "long"],
)
@pytest.mark.parametrize("command", COMMANDS)
def test_mm_fails_when_something_else_than_the_api_responds(
    command, status, body, shown, run_script, serve
):
    url, calls = serve(status, body)
    ran = run_script(COMMANDS[command], shell="busybox", environ=well_formed(url))
    variable = "MILLIMETRIC_MCP_URL" if command == "mcp" else "MILLIMETRIC_HOST"
    assert ran.stderr.splitlines()[:2] == [
        f"mm: HTTP {status}, but this is not a response of Millimetric: {shown}",
        f"mm: Check {variable}.",
    ]
    assert ran.stdout == ""
    assert ran.code == (1 if command in READS or 300 <= status < 500 else 3)
    assert len(calls) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_mm_says_that_there_is_no_connection(command, shell, run_script):
    environ = well_formed("http://127.0.0.1:9")
    ran = run_script(COMMANDS[command], shell=shell, environ=environ)
    happened, to_do, *_ = ran.stderr.splitlines()
    assert happened.startswith("mm: curl: (7) ")
    variable = "MILLIMETRIC_MCP_URL" if command == "mcp" else "MILLIMETRIC_HOST"
    assert to_do == f"mm: No connection. Start the server, or correct {variable}."
    assert (ran.code, ran.stdout) == (1, "")


def test_mm_fails_when_the_api_ignored_a_parameter(run_script, serve):
    url, _ = serve(200, b'{"rows":[{"a":1}],"ignored":["colour","grop_by"]}')
    ran = run_script("scripts/mm query colour=red", shell="dash", environ=well_formed(url))
    assert (ran.code, ran.stdout) == (1, "")
    assert ran.stderr == (
        "mm: The API does not know these parameters: colour, grop_by. Correct or remove them.\n"
    )


def test_mm_mcp_shows_the_error_of_the_tool(project, shell, run_script):
    environ = project.environ | {"MILLIMETRIC_RK": f"rk_live_abcdefgh_{SECRET}"}
    ran = run_script("scripts/mm mcp", shell=shell, environ=environ)
    assert (ran.code, ran.stdout) == (1, "")
    assert ran.stderr.startswith("mm: ")
    assert "invalid_api_key" in ran.stderr


def test_mm_leaves_no_file_behind(shell, project, run_script, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environ = project.environ | {"TMPDIR": str(temporary)}
    for command in [*COMMANDS.values(), "scripts/mm stats from=never"]:
        run_script(command, shell=shell, environ=environ)
    assert list(temporary.iterdir()) == []


# --- Periods ------------------------------------------------------------------------------------

WORDS = ["now", *PERIODS, "30m", "24h", "7d", "4w", "2026-05-16", "2026-05-16T19:00:00+02:00"]


def read_period(calls):
    query = parse_qs(urlsplit(calls.pop()).query)
    return [datetime.fromisoformat(query[name][0]) for name in ("from", "to")]


def check_period(calls, expect):
    """The period is the expected one at a moment of the last seconds."""
    start, end = read_period(calls)
    moments = [datetime.now(UTC) - timedelta(seconds=age_s) for age_s in range(30)]
    assert (start, end) in [expect(now) for now in moments]


@pytest.mark.parametrize("word", WORDS)
def test_a_word_means_the_same_period_as_in_the_mcp_tools(word, run_script, serve):
    def expect(from_, to):
        def at(now):
            window = resolve_window(from_, to, timezone="UTC", now=now)
            return window.start_utc, window.end_utc

        return at

    url, calls = serve(200, b'{"rows":[]}')
    environ = well_formed(url)
    run_script(f"scripts/mm stats from={word}", shell="dash", environ=environ)
    check_period(calls, expect(word, None))
    run_script(f"scripts/mm stats from=1970-02-01 to={word}", shell="dash", environ=environ)
    check_period(calls, expect("1970-02-01", word))


def test_a_period_can_start_days_before_today(shell, run_script, serve):
    url, calls = serve(200, b'{"rows":[]}')
    run_script("scripts/mm stats from=today-6d", shell=shell, environ=well_formed(url))
    start, _ = read_period(calls)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    assert today - start in {timedelta(days=6), timedelta(days=7)}  # 7 if midnight came between
    assert start.time() == today.time()


def test_a_period_is_the_last_30_days_when_none_is_given(shell, run_script, serve):
    url, calls = serve(200, b'{"rows":[]}')
    run_script("scripts/mm stats", shell=shell, environ=well_formed(url))
    start, end = read_period(calls)
    assert end - start == timedelta(days=30)
    assert timedelta(0) <= datetime.now(UTC) - end + timedelta(seconds=1) < timedelta(seconds=30)


@pytest.mark.parametrize("word", ["soon", "x7d", "7x", "2026-05-16T19:00:00"])
def test_an_unknown_word_is_an_error_that_lists_examples(word, shell, project, run_script):
    ran = run_script(f"scripts/mm stats from={word}", shell=shell, environ=project.environ)
    assert (ran.code, ran.stdout) == (1, "")
    happened, to_do = ran.stderr.splitlines()
    assert happened.startswith('mm: HTTP 400 {"error":"invalid_params","details":')
    assert "this_month" in to_do
