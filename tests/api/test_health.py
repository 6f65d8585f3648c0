"""``/health`` and ``/health/ready``."""

import asyncio
from pathlib import Path

import pytest

from millimetric_mcp.api.health import Health
from millimetric_mcp.api.store.writers import JOURNAL_DIR
from millimetric_mcp.errors import StoreUnavailable


@pytest.fixture
def control_dsn(tmp_path):
    return f"sqlite:///{tmp_path}/control.sqlite3"


async def test_health_is_200_while_everything_else_fails(quick_api):
    quick_api.store.error = StoreUnavailable("down")
    quick_api.control.close()

    answer = await quick_api.http.get("/health")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_the_api_is_ready_when_every_check_succeeds(api):
    answer = await api.http.get("/health/ready")

    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ok",
        "checks": {"store": "ok", "disk": "ok", "journal": "ok", "control": "ok"},
    }


@pytest.fixture
def moved_journal(api, store_target):
    """The journal's directory, moved away while the API runs."""
    journal = Path(store_target.address, JOURNAL_DIR)
    moved = journal.rename(journal.with_name("moved"))
    yield moved
    moved.rename(journal)


@pytest.mark.usefixtures("moved_journal")
async def test_the_api_is_not_ready_when_the_journal_can_t_be_written(api):
    refused = await api.post("/v1/track", {"event": "a"})
    answer = await api.http.get("/health/ready")

    assert refused.status_code == answer.status_code == 503
    assert answer.json()["checks"]["journal"] == "failed"


async def test_the_api_is_not_ready_when_the_store_fails(quick_api):
    quick_api.store.error = StoreUnavailable("secret")

    answer = await quick_api.http.get("/health/ready")

    assert answer.status_code == 503
    assert answer.json() == {
        "status": "unavailable",
        "checks": {"store": "failed", "control": "ok"},
    }


async def test_the_api_is_not_ready_when_the_control_database_is_gone(quick_api, tmp_path):
    (tmp_path / "control.sqlite3").unlink()

    answer = await quick_api.http.get("/health/ready")

    assert answer.status_code == 503
    assert answer.json()["checks"] == {"store": "ok", "control": "failed"}


async def test_a_check_that_does_not_answer_has_failed(caplog):
    never = asyncio.Event()

    async def answer() -> None:
        return

    async def wait() -> None:
        await never.wait()

    readiness = await Health({"quick": answer, "slow": wait}, timeout_s=0.01).check()

    assert readiness.checks == {"quick": True, "slow": False}
    assert caplog.messages == ["health: slow does not answer in time"]


async def test_callers_at_the_same_time_share_one_check():
    calls = []

    async def note() -> None:
        calls.append(1)
        await asyncio.sleep(0)

    health = Health({"store": note})
    await asyncio.gather(*(health.check() for _ in range(50)))

    assert calls == [1]
