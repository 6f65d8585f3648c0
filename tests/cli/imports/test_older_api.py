"""An API without imports: the error says so."""

from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from millimetric_mcp.cli import main


@pytest.fixture
def older_api(older_api_url, monkeypatch):
    monkeypatch.setenv("MILLIMETRIC_HOST", older_api_url)
    monkeypatch.setenv("MILLIMETRIC_KEY", "sk_live_AAAAAAAA_" + "s" * 32)


def test_an_api_without_imports_is_named_as_such(older_api, tmp_path, capsys):
    events = tmp_path / "events.ndjson"
    events.write_text('{"event":"a","timestamp":"2026-05-16T19:00:00Z"}\n')

    assert main(["import", str(events)]) == 1

    assert "The API has no /v1/import" in capsys.readouterr().err


class OtherErrors(BaseHTTPRequestHandler):
    """Has no path of ours, and error bodies of another form."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_error(self.server.status)

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("status", [404, 405])
def test_an_api_with_other_error_bodies_is_named_as_one_without_imports(
    status, monkeypatch, tmp_path, capsys
):
    events = tmp_path / "events.ndjson"
    events.write_text('{"event":"a","timestamp":"2026-05-16T19:00:00Z"}\n')
    monkeypatch.setenv("MILLIMETRIC_KEY", "sk_live_AAAAAAAA_" + "s" * 32)

    with HTTPServer(("127.0.0.1", 0), OtherErrors) as server:
        server.status = status
        monkeypatch.setenv("MILLIMETRIC_HOST", f"http://127.0.0.1:{server.server_port}")
        thread = Thread(target=server.serve_forever)
        thread.start()
        code = main(["import", str(events)])
        server.shutdown()
        thread.join()

    assert code == 1
    assert "The API has no /v1/import" in capsys.readouterr().err
