"""Keys stay secret and where they belong: for every recipe that sends one."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

SECRET = "s" * 40


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """A server that only counts who calls; its URL and the calls."""
    calls: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            calls.append(self.path)
            self.send_error(500)

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


def list_recipes(sh_blocks):
    return {name: block for name, block in sh_blocks.items() if "oauth2-bearer" in block.text}


def variable_of(block):
    return "MILLIMETRIC_KEY" if "env.MILLIMETRIC_KEY" in block.text else "MILLIMETRIC_RK"


def point_at(url, **keys):
    return {"MILLIMETRIC_HOST": url, "MILLIMETRIC_MCP_URL": f"{url}/mcp", **keys}


def write_events(cwd):
    (cwd / "events.ndjson").write_text('{"event": "x"}\n')


def test_most_blocks_send_a_key(sh_blocks):
    assert len(list_recipes(sh_blocks)) >= 20


@pytest.mark.parametrize("kind", ["pk", "other", "none", "empty", "ak"])
def test_a_recipe_refuses_every_other_key_before_it_sends(
    kind, shell, sh_blocks, run_script, listener
):
    url, calls = listener
    write_events(run_script.cwd)
    for name, block in list_recipes(sh_blocks).items():
        variable = variable_of(block)
        kinds = {"other": "rk" if variable == "MILLIMETRIC_KEY" else "sk"}
        key = f"{kinds.get(kind, kind)}_live_abcdefgh_{SECRET}"
        environ = point_at(url, **{variable: "" if kind == "empty" else key})
        if kind == "none":
            del environ[variable]
        ran = run_script(block.text, shell=shell, environ=environ)
        assert ran.code != 0, name
        assert f"{variable} must hold a" in ran.stderr, name
        assert SECRET not in ran.stdout + ran.stderr, name
        assert calls == [], name


def test_no_command_line_ever_holds_a_key(sh_blocks, run_script, listener):
    """Of any program that a recipe starts; a wrong answer makes it say all it has to say."""
    url, calls = listener
    write_events(run_script.cwd)
    for name, block in list_recipes(sh_blocks).items():
        keys = {
            "MILLIMETRIC_KEY": f"sk_live_abcdefgh_{SECRET}",
            "MILLIMETRIC_RK": f"rk_live_abcdefgh_{SECRET}",
        }
        ran = run_script(block.text, shell="bash", environ=point_at(url, **keys))
        assert ran.calls_of("curl"), name
        assert ran.calls_of("jq"), name
        assert SECRET not in str(ran.commands), name
        assert SECRET not in ran.stdout + ran.stderr, name
    assert len(calls) == len(list_recipes(sh_blocks))


def test_the_key_does_reach_the_api(sh_blocks, run_script, project):
    """So that the test above does not pass for want of a key."""
    for name, block in list_recipes(sh_blocks).items():
        if name.startswith("query/") and "first come from" not in name:
            ran = run_script(block.text, shell="bash", environ=project.environ)
            assert ran.code == 0, (name, ran.stderr)


def test_command_lines_are_really_noted(run_script):
    ran = run_script(f"cat /dev/null {SECRET}", shell="bash", environ={})
    assert ran.calls_of("cat") == [["/dev/null", SECRET]]
