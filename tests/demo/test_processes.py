"""The demo's child processes: really started and ended."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from millimetric_mcp.contract.keys import KeyKind, parse_api_key
from millimetric_mcp.demo.processes import (
    ApiProcess,
    Keys,
    clean_environment,
    connect_agent,
    create_keys,
    run_api,
    wait_for_end,
)
from millimetric_mcp.errors import DemoFailed


def test_clean_environment_has_none_of_the_users_settings() -> None:
    environ = {"PATH": "/bin", "MILLIMETRIC_STORE": "clickhouse://theirs", "MILLIMETRIC_KEY": "sk"}
    assert clean_environment(environ) == {"PATH": "/bin"}


def test_api_runs_with_its_keys_and_waiting_fails_when_it_dies(tmp_path: Path) -> None:
    with run_api(tmp_path, environ=os.environ) as api:
        keys = create_keys(api, environ=os.environ)
        for key, kind in ((keys.write, KeyKind.SK), (keys.read, KeyKind.RK)):
            parsed = parse_api_key(key)
            assert parsed is not None
            assert parsed.kind is kind
            assert key not in repr(keys)
        response = httpx.get(
            f"{api.url}/v1/sources",
            params={"from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z"},
            headers={"Authorization": f"Bearer {keys.read}"},
        )
        assert response.json()["rows"] == []
        os.kill(api.process.pid, signal.SIGKILL)
        with pytest.raises(DemoFailed, match="the API ended with exit code -9"):
            wait_for_end(api)


def test_running_the_api_fails_with_its_log_when_it_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    with (
        pytest.raises(DemoFailed, match=r"the API ended with exit code \d+; it wrote:\n"),
        run_api(tmp_path, environ=os.environ),
    ):
        pytest.fail("it started")


def test_a_child_that_ctrl_c_meets_while_it_starts_is_ended(
    tmp_path: Path, ended_api: ApiProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            started.append(self)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        create_keys(ended_api, environ=os.environ)
    with pytest.raises(KeyboardInterrupt), run_api(tmp_path, environ=os.environ):
        pytest.fail("it went on")
    assert [child.returncode for child in started] == [-signal.SIGTERM, -signal.SIGTERM]


@pytest.fixture
def ended_api(tmp_path: Path) -> ApiProcess:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return ApiProcess("http://127.0.0.1:9", tmp_path / "data", 0.0, process)


def test_creating_keys_fails_with_the_error_of_the_command(ended_api: ApiProcess) -> None:
    ended_api.data_dir.write_text("in the way")
    with pytest.raises(DemoFailed, match=r"'keys create' failed: millimetric-mcp: "):
        create_keys(ended_api, environ=os.environ)


async def test_connecting_fails_with_the_log_of_an_mcp_server_that_does_not_start(
    ended_api: ApiProcess,
) -> None:
    keys = Keys("pk_of_the_wrong_kind", "rk_test_AbCd1234_" + "r" * 40)
    with pytest.raises(DemoFailed, match="the MCP server failed; it wrote:\n") as caught:
        async with connect_agent(ended_api, keys, environ=os.environ, on_question=print) as client:
            await client.list_tools()
    assert "MILLIMETRIC_KEY" in str(caught.value)
    assert "wrong_kind" not in str(caught.value)
