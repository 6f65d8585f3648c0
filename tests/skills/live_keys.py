"""Keys stay secret and where they belong: for every recipe that sends one."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

SECRET = "s" * 40
NO_KEY = "none well-formed"
OTHER_KINDS = {"MILLIMETRIC_KEY": ("pk", "rk", "ak"), "MILLIMETRIC_RK": ("pk", "sk", "ak")}
MALFORMED = {
    "a line of curl's": '{kind}_live_abcdefgh_{secret}\nurl="{url}/stolen"',
    "a line before": 'url="{url}/stolen"\n{kind}_live_abcdefgh_{secret}',
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

Serve = Callable[[int, bytes], tuple[str, list[str]]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server that always gives the same answer; its URL and the calls."""
    with ExitStack() as stack:
        yield lambda status, body: stack.enter_context(_answer(status, body))


@contextmanager
def _answer(status: int, body: bytes) -> Iterator[tuple[str, list[str]]]:
    calls: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            calls.append(self.path)
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the name http.server looks for

        def log_message(self, *_: object) -> None:
            """Nothing to say."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", calls
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def listener(serve) -> tuple[str, list[str]]:
    """A server that only counts who calls."""
    return serve(500, b"")


def list_recipes(sh_blocks):
    """The blocks that send a key themselves."""
    return {name: block for name, block in sh_blocks.items() if "oauth2-bearer" in block.text}


def list_guarded(sh_blocks):
    """The blocks that look at a key before they do anything."""
    return {name: block for name, block in sh_blocks.items() if "must hold a" in block.text}


def variable_of(block):
    return "MILLIMETRIC_KEY" if "env.MILLIMETRIC_KEY" in block.text else "MILLIMETRIC_RK"


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


def write_events(cwd):
    (cwd / "events.ndjson").write_text('{"event": "x"}\n')


def test_most_blocks_send_a_key_and_all_of_them_look_at_it_first(sh_blocks):
    assert len(list_recipes(sh_blocks)) >= 20
    assert list_recipes(sh_blocks).keys() <= list_guarded(sh_blocks).keys()


# --- Before anything is sent --------------------------------------------------------------------


def check_refused(ran, name, *, variable, found):
    """Nothing ran but the check, and one line says what is wrong."""
    kind = kind_of(variable)
    word = {"sk": "server", "rk": "read"}[kind]
    said = f"{variable} must hold a {word} key ({kind}_...), but holds {found}\n"
    assert (ran.stderr, ran.stdout) == (said, ""), name
    assert ran.code != 0, name
    assert {command[0] for command in ran.commands} == {"jq"}, name


@pytest.mark.parametrize("number", range(3), ids=["a browser's", "the other one", "an account's"])
def test_every_other_kind_of_key_is_refused_and_named(
    number, shell, sh_blocks, run_script, listener
):
    url, calls = listener
    write_events(run_script.cwd)
    for name, block in list_guarded(sh_blocks).items():
        variable = variable_of(block)
        kind = OTHER_KINDS[variable][number]
        environ = point_at(url, **{variable: f"{kind}_live_abcdefgh_{SECRET}"})
        ran = run_script(block.text, shell=shell, environ=environ)
        check_refused(ran, name, variable=variable, found=f"{kind}_")
    assert calls == []


@pytest.mark.parametrize("is_set", [False, True], ids=["unset", "empty"])
def test_no_key_is_said_to_be_none(is_set, shell, sh_blocks, run_script, listener):
    url, calls = listener
    write_events(run_script.cwd)
    for name, block in list_guarded(sh_blocks).items():
        variable = variable_of(block)
        environ = point_at(url, **({variable: ""} if is_set else {}))
        ran = run_script(block.text, shell=shell, environ=environ)
        check_refused(ran, name, variable=variable, found=NO_KEY)
    assert calls == []


@pytest.mark.parametrize("shape", MALFORMED.values(), ids=MALFORMED)
def test_what_curl_could_read_as_its_options_is_no_key(shape, sh_blocks, run_script, listener):
    url, calls = listener
    write_events(run_script.cwd)
    for name, block in list_guarded(sh_blocks).items():
        variable = variable_of(block)
        key = shape.format(kind=kind_of(variable), secret=SECRET, url=url)
        ran = run_script(block.text, shell="bash", environ=point_at(url, **{variable: key}))
        check_refused(ran, name, variable=variable, found=NO_KEY)
    assert calls == []


# --- While it is sent ---------------------------------------------------------------------------


def test_no_command_line_ever_holds_a_key(sh_blocks, run_script, listener):
    """Of any program that a recipe starts; a wrong answer makes it say all it has to say."""
    url, calls = listener
    write_events(run_script.cwd)
    for name, block in list_recipes(sh_blocks).items():
        ran = run_script(block.text, shell="bash", environ=well_formed(url))
        assert ran.calls_of("curl"), name
        assert ran.calls_of("jq"), name
        assert SECRET not in str(ran.commands), name
        assert SECRET not in ran.stdout + ran.stderr, name
    assert len(calls) == len(list_recipes(sh_blocks))


def test_a_shell_that_traces_writes_no_key(shell, sh_blocks, run_script, listener):
    """``set -x`` shows what the shell itself expands."""
    url, _ = listener
    write_events(run_script.cwd)
    for name, block in list_recipes(sh_blocks).items():
        ran = run_script("set -x\n" + block.text, shell=shell, environ=well_formed(url))
        assert "jq -n" in ran.stderr, name
        assert SECRET not in ran.stdout + ran.stderr, name


def test_the_key_does_reach_the_api(sh_blocks, run_script, project):
    """So that the tests above do not pass for want of a key."""
    for name, block in list_recipes(sh_blocks).items():
        if name.startswith("query/") and "first come from" not in name:
            ran = run_script(block.text, shell="bash", environ=project.environ)
            assert (ran.code, ran.stderr) == (0, ""), name


def test_the_users_configuration_of_curl_changes_nothing(sh_blocks, run_script, project):
    (run_script.cwd / ".curlrc").write_text(CURLRC)
    unaware = run_script(f"curl -sS {project.url}/health", shell="bash", environ={})
    assert unaware.code != 0, "curl does not read this configuration"
    write_events(run_script.cwd)
    project.send([{"event": "$pageview", "user_id": "user_42"}])
    for name, block in list_recipes(sh_blocks).items():
        ran = run_script(block.text, shell="bash", environ=project.environ)
        assert (ran.code, ran.stderr) == (0, ""), name
    assert {path.name for path in run_script.cwd.iterdir()} == {".curlrc", "events.ndjson"}


def test_a_slash_behind_the_host_does_no_harm(sh_blocks, run_script, project):
    write_events(run_script.cwd)
    project.send([{"event": "$pageview", "user_id": "user_42"}])
    environ = project.environ | {"MILLIMETRIC_HOST": project.url + "/"}
    for name, block in list_recipes(sh_blocks).items():
        ran = run_script(block.text, shell="bash", environ=environ)
        assert (ran.code, ran.stderr) == (0, ""), name


def test_command_lines_are_really_noted(run_script):
    ran = run_script(f"cat /dev/null {SECRET}", shell="bash", environ={})
    assert ran.calls_of("cat") == [["/dev/null", SECRET]]


# --- What comes back ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, json.dumps(UNKNOWN_KEY).encode(), '{"error": "invalid_api_key"} HTTP 401'),
        (502, b"<h1>Bad gateway</h1>", "<h1>Bad gateway</h1> HTTP 502"),
        (503, b"", " HTTP 503"),
        (200, b"[]", "[] HTTP 200"),
        (200, b'"<welcome>"', '"<welcome>" HTTP 200'),
    ],
    ids=["refused", "HTML", "empty", "a list", "text"],
)
def test_an_answer_that_is_none_is_shown_in_one_line(
    status, body, said, shell, sh_blocks, run_script, serve
):
    url, calls = serve(status, body)
    write_events(run_script.cwd)
    for name, block in list_recipes(sh_blocks).items():
        ran = run_script(block.text, shell=shell, environ=well_formed(url))
        first, *rest = ran.stderr.splitlines()
        assert first == said, name
        assert rest == (["stopped after line 0"] if name.startswith("track/bulk") else []), name
        assert ran.code != 0, name
    assert len(calls) == len(list_recipes(sh_blocks))


def test_an_api_that_is_not_there_is_told_in_one_line(shell, sh_blocks, run_script):
    write_events(run_script.cwd)
    for name, block in list_recipes(sh_blocks).items():
        ran = run_script(block.text, shell=shell, environ=well_formed("http://127.0.0.1:9"))
        first, *rest = ran.stderr.splitlines()
        assert first.startswith("curl: (7) "), name
        assert rest == (["stopped after line 0"] if name.startswith("track/bulk") else []), name
        assert ran.code != 0, name
