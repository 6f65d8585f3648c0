"""An import whose API ends half-way: the error says how much is stored."""

import json
import re
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from millimetric_mcp.cli import main
from millimetric_mcp.contract.imports import MAX_IMPORT_EVENTS

EVENT = '{"event":"a","timestamp":"2026-05-16T19:00:00Z"}\n'


class TwoParts(BaseHTTPRequestHandler):
    """Stores the first two parts of an import, and refuses the key from then on."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "chunk" not in body:
            self.answer(200, {"ok": True, "imports": []})
        elif body["chunk"] > 1:
            self.answer(401, {"error": "invalid_api_key"})
        else:
            self.answer(200, {"ok": True, "count": len(body["events"]), "duplicate": False})

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


@pytest.fixture
def api_url():
    with HTTPServer(("127.0.0.1", 0), TwoParts) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_import_that_stops_says_how_much_is_stored(api_url, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MILLIMETRIC_HOST", api_url)
    monkeypatch.setenv("MILLIMETRIC_KEY", "sk_live_AAAAAAAA_" + "s" * 32)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "events.ndjson").write_text(EVENT * (2 * MAX_IMPORT_EVENTS + 1))

    assert main(["import", "events.ndjson"]) == 1

    errors = capsys.readouterr().err
    assert re.search(r"stopped after (5000|10000) events of events\.ndjson\.", errors), errors
    assert "The same command goes on from there." in errors
    assert "The key is unknown, revoked or has a wrong secret." in errors


def test_a_script_gets_the_files_before_the_one_that_stops(api_url, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MILLIMETRIC_HOST", api_url)
    monkeypatch.setenv("MILLIMETRIC_KEY", "sk_live_AAAAAAAA_" + "s" * 32)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "first.ndjson").write_text(EVENT)
    (tmp_path / "second.ndjson").write_text(EVENT * (2 * MAX_IMPORT_EVENTS + 1))

    assert main(["import", "first.ndjson", "second.ndjson", "--json"]) == 1

    [done] = json.loads(capsys.readouterr().out)["files"]
    assert (done["file"], done["stored"]) == ("first.ndjson", 1)
