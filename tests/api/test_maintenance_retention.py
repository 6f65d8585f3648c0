"""Retention removes old events, project by project, and reads are right afterwards."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from millimetric_mcp.api.maintenance import Maintenance
from millimetric_mcp.cli import main
from millimetric_mcp.contract.keys import KeyKind
from millimetric_mcp.errors import StoreRefused

TODAY = datetime(2026, 5, 16, tzinfo=UTC)  # the clock starts at 19:30
MILLISECOND = timedelta(milliseconds=1)


@pytest.fixture
def expire(api):
    """Removes events past their retention; ``default_days`` is the API's setting."""

    async def run(default_days=None):
        maintenance = Maintenance(
            control=api.control,
            store=api.store,
            clock=api.clock,
            default_retention_days=default_days,
        )
        await maintenance.expire_all()

    return run


@pytest.fixture
def open_project(api):
    """A project's writer and reader of days; ``retention_days`` is the project's own setting."""

    class Project:
        def __init__(self, name, retention_days):
            self._sk = api.make_key(KeyKind.SK, project=name)
            api.control.projects.change(name, retention_days=retention_days)
            self._rk = api.make_key(KeyKind.RK, project=name)

        async def track(self, *times, **fields):
            events = [{"event": "x", "timestamp": time.isoformat(), **fields} for time in times]
            answer = await api.post("/v1/batch", {"events": events}, key=self._sk)
            assert answer.status_code == 202

        async def list_times(self):
            answer = await api.get("/v1/query", {"limit": 1000}, key=self._rk)
            return sorted(row["timestamp"] for row in answer.json()["rows"])

        async def ask(self, path, **params):
            return (await api.get(path, params, key=self._rk)).json()["rows"]

    def open_one(name, *, retention_days=None):
        return Project(name, retention_days)

    return open_one


def days_ago(days):
    return TODAY - timedelta(days=days)


async def test_retention_removes_whole_days_to_the_millisecond(open_project, expire):
    project = open_project("shop")
    await project.track(days_ago(3) - MILLISECOND, days_ago(3), TODAY + timedelta(hours=19))

    await expire(default_days=3)

    assert await project.list_times() == ["2026-05-13T00:00:00.000Z", "2026-05-16T19:00:00.000Z"]


async def test_each_project_has_its_own_retention(open_project, expire):
    projects = {
        "short": open_project("short", retention_days=1),
        "long": open_project("long", retention_days=10),
        "default": open_project("default"),
    }
    for project in projects.values():
        await project.track(*(days_ago(days) for days in range(13)))

    await expire(default_days=5)

    kept = {name: len(await project.list_times()) for name, project in projects.items()}
    assert kept == {"short": 2, "long": 11, "default": 6}


async def test_retention_goes_on_when_the_store_refuses_one_project(
    api, open_project, expire, monkeypatch
):
    projects = [open_project(name, retention_days=1) for name in ("first", "second")]
    for project in projects:
        await project.track(days_ago(9))
    expire_one = api.store.expire
    refused = []

    async def refuse_the_first(project_id, *, first_day):
        if not refused:
            refused.append(project_id)
            raise StoreRefused("not this one")
        return await expire_one(project_id, first_day=first_day)

    monkeypatch.setattr(api.store, "expire", refuse_the_first)
    with pytest.raises(StoreRefused, match="not this one"):
        await expire()

    assert [await project.list_times() for project in projects] == [
        ["2026-05-07T00:00:00.000Z"],
        [],
    ]


async def test_events_are_kept_for_ever_without_a_retention(open_project, expire):
    project = open_project("shop")
    await project.track(datetime(1970, 1, 2, tzinfo=UTC), days_ago(4000))

    await expire()

    assert await project.ask("/v1/stats", **{"from": "1970-01-01T00:00:00Z"}) == [{"value": 2}]


async def test_a_day_is_removed_when_the_clock_has_passed_it(api, open_project, expire):
    project = open_project("shop", retention_days=2)
    await project.track(*(days_ago(days) for days in range(4)))

    left = []
    for _ in range(5):
        await expire()
        left.append(len(await project.list_times()))
        api.clock.advance(days=1)

    assert left == [3, 2, 1, 0, 0]


@pytest.mark.parametrize("window", [{}, {"from": "2026-05-01T10:00:00Z"}], ids=["days", "edges"])
async def test_reads_count_the_remaining_events(window, open_project, expire):
    project = open_project("shop", retention_days=7)
    for day in range(14):
        for visitor in range(day + 1):
            page = "https://shop.example/?gclid=1" if visitor % 2 else "https://shop.example/"
            await project.track(days_ago(day), anonymous_id=f"u{visitor}", url=page)

    await expire()

    sources = await project.ask("/v1/sources", breakdown="source", **window)
    assert [(row["source"], row["events"], row["uniques"]) for row in sources] == [
        ("direct", 20, 4),
        ("google", 16, 4),
    ]
    daily = await project.ask("/v1/stats", interval="day", metric="uniques", **window)
    assert [row["value"] for row in daily] == [8, 7, 6, 5, 4, 3, 2, 1]


async def test_nothing_is_rewritten_when_no_event_is_past_its_retention(api, open_project, expire):
    project = open_project("shop", retention_days=7)
    await project.track(days_ago(1))
    counting = "SELECT count() FROM system.mutations WHERE database = currentDatabase()"
    before = api.store.pool.query(counting)

    await expire()

    assert api.store.pool.query(counting) == before


async def test_projects_set_changes_the_retention(
    open_project, expire, control_dsn, monkeypatch, tmp_path
):
    project = open_project("shop")
    monkeypatch.setenv("MILLIMETRIC_PEPPER", "a pepper for tests only")
    command = ["projects", "set", "shop", "--yes", "--control", control_dsn]

    async def left_with(days):
        await project.track(*(days_ago(day) for day in range(10)))
        options = ["--retention-days", str(days), "--data-dir", str(tmp_path)]
        assert await asyncio.to_thread(main, [*command, *options, "--json"]) == 0
        await expire(default_days=7)
        return len(await project.list_times())

    assert await left_with(2) == 3
    assert await left_with(0) == 3 + 8
