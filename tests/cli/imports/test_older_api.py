"""An API without imports: the error says so."""

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
