"""An API without imports: the error says so."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from millimetric_mcp.cli import main


class NotFound(BaseHTTPRequestHandler):
    """Answers as the API does to a path that it does not have."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"error": "not_found"}).encode()
        self.send_response(404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def older_api(monkeypatch):
    with HTTPServer(("127.0.0.1", 0), NotFound) as server:
        monkeypatch.setenv("MILLIMETRIC_HOST", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("MILLIMETRIC_KEY", "sk_live_AAAAAAAA_" + "s" * 32)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield
        server.shutdown()
        thread.join()


def test_an_api_without_imports_is_named_as_such(older_api, tmp_path, capsys):
    events = tmp_path / "events.ndjson"
    events.write_text('{"event":"a","timestamp":"2026-05-16T19:00:00Z"}\n')

    assert main(["import", str(events)]) == 1

    assert "The API has no /v1/import" in capsys.readouterr().err
