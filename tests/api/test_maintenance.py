"""What the API does by itself: erasures until they are done, expiry by day, and an end to both."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta

import pytest

from millimetric_mcp.api import maintenance as maintenance_module
from millimetric_mcp.api.control import Control, open_control
from millimetric_mcp.api.maintenance import FORGET_LEASE_S, Maintenance
from millimetric_mcp.contract.keys import KeyEnv, KeyKind
from millimetric_mcp.errors import StoreRefused, StoreUnavailable

NOW = datetime(2026, 5, 16, 19, 30, tzinfo=UTC)
END_TIMEOUT_S = 5


class Store:
    """Notes what is to be erased and expired; ``faults`` are raised for a project, one each."""

    def __init__(self, store_id: str = "the event store") -> None:
        self.id = store_id
        self.forgotten: list[Mapping[tuple[int, bytes], datetime]] = []
        self.expired: dict[int, date] = {}
        self.faults: dict[int, list[Exception]] = {}
        self.gate = asyncio.Event()
        self.gate.set()

    async def delete_users(
        self, *, salt: bytes, cutoffs: Mapping[tuple[int, bytes], datetime]
    ) -> None:
        await self.gate.wait()
        for project_id, _ in cutoffs:
            self._fail(project_id)
        self.forgotten.append(cutoffs)

    async def expire(self, project_id: int, *, first_day: date) -> int:
        self._fail(project_id)
        self.expired[project_id] = first_day
        return 0

    def _fail(self, project_id: int) -> None:
        if faults := self.faults.get(project_id):
            raise faults.pop(0)


@pytest.fixture
def control(control_dsn) -> Iterator[Control]:
    control = open_control(control_dsn, pepper=b"a pepper for tests only")
    yield control
    control.close()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def make_maintenance(control, store) -> Callable[..., Maintenance]:
    def make(*, store=store, clock=lambda: NOW, default_retention_days=None) -> Maintenance:
        return Maintenance(
            control=control,
            store=store,
            clock=clock,
            default_retention_days=default_retention_days,
        )

    return make


def make_project(control: Control, name: str, *, retention_days: int | None = None) -> int:
    made = control.create_key(
        kind=KeyKind.SK, env=KeyEnv.LIVE, project=name, retention_days=retention_days
    )
    return made.record.project_id


def ask_to_forget(control: Control, project_id: int, user_id: str, *, minute: int = 0):
    at = NOW + timedelta(minutes=minute)
    return control.forgets.add(
        store=Store().id, project_id=project_id, user_id=user_id, cutoff=at, requested_at=at
    )


def list_pending(control: Control) -> set[str]:
    return {forget.id for forget in control.forgets.list_pending()}


async def wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(500):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")


async def test_erasures_of_all_projects_are_one_with_each_user_s_latest_cutoff(
    control, store, make_maintenance
):
    shop, other = (make_project(control, name) for name in ("shop", "other"))
    first = ask_to_forget(control, shop, "a")
    neighbour = ask_to_forget(control, other, "a", minute=1)
    again = ask_to_forget(control, shop, "a", minute=2)

    await make_maintenance().forget_pending()

    [cutoffs] = store.forgotten
    assert first.user_hash == again.user_hash
    assert cutoffs == {
        (shop, again.user_hash): again.cutoff,
        (other, neighbour.user_hash): neighbour.cutoff,
    }
    assert list_pending(control) == set()
    assert control.forgets.find(first.id).completed_at == NOW


async def test_an_erasure_is_left_to_the_store_that_it_was_asked_of(
    control, store, make_maintenance
):
    waiting = ask_to_forget(control, make_project(control, "shop"), "a")
    another = Store("another event store")

    await make_maintenance(store=another).forget_pending()

    assert (another.forgotten, list_pending(control)) == ([], {waiting.id})
    await make_maintenance().forget_pending()
    assert (len(store.forgotten), list_pending(control)) == (1, set())


async def test_what_the_store_refuses_for_one_project_is_done_for_the_others(
    control, store, make_maintenance
):
    refused, served = (make_project(control, name) for name in ("refused", "served"))
    waiting = ask_to_forget(control, refused, "a")
    ask_to_forget(control, served, "a", minute=1)
    store.faults[refused] = [StoreRefused("not together"), StoreRefused("not alone")]

    with pytest.raises(StoreRefused):
        await make_maintenance().forget_pending()

    assert [list(cutoffs) for cutoffs in store.forgotten] == [[(served, waiting.user_hash)]]
    assert list_pending(control) == {waiting.id}
    await make_maintenance().forget_pending()
    assert list_pending(control) == set()


async def test_a_store_that_is_down_leaves_every_erasure_to_be_claimed_again(
    control, store, make_maintenance
):
    projects = [make_project(control, name) for name in ("one", "two")]
    waiting = {ask_to_forget(control, project_id, "a").id for project_id in projects}
    store.faults = {project_id: [StoreUnavailable("down")] for project_id in projects}

    with pytest.raises(StoreUnavailable):
        await make_maintenance().forget_pending()

    assert (store.forgotten, list_pending(control)) == ([], waiting)
    store.faults = {}
    await make_maintenance().forget_pending()
    assert list_pending(control) == set()


async def test_an_erasure_stays_claimed_as_long_as_it_takes(
    control, store, make_maintenance, monkeypatch
):
    monkeypatch.setattr(maintenance_module, "FORGET_RENEW_S", 0.01)
    ask_to_forget(control, make_project(control, "shop"), "a")
    store.gate.clear()
    now = NOW
    erasing = asyncio.create_task(make_maintenance(clock=lambda: now).forget_pending())
    await asyncio.sleep(0.1)

    for _ in range(4):
        now += timedelta(seconds=FORGET_LEASE_S * 0.9)
        await asyncio.sleep(0.2)
        assert control.forgets.claim(store=store.id, now=now, lease_s=1) == ()

    store.gate.set()
    await erasing
    assert list_pending(control) == set()


async def test_a_claim_that_can_t_be_renewed_is_logged_and_the_erasure_goes_on(
    control, store, make_maintenance, monkeypatch, caplog
):
    monkeypatch.setattr(maintenance_module, "FORGET_RENEW_S", 0.01)

    def fail(*_: object, **__: object) -> None:
        raise StoreUnavailable("the database is away")

    monkeypatch.setattr(control.forgets, "renew", fail)
    ask_to_forget(control, make_project(control, "shop"), "a")
    store.gate.clear()
    erasing = asyncio.create_task(make_maintenance().forget_pending())
    await wait_until(lambda: "the database is away" in caplog.text)

    store.gate.set()
    await erasing

    assert list_pending(control) == set()
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("fault", "logged"),
    [
        (StoreUnavailable("the event store is away"), "the event store is away"),
        (RuntimeError("secret"), "RuntimeError"),
    ],
)
async def test_both_loops_outlive_any_fault_and_say_so_in_a_line(
    control, store, make_maintenance, monkeypatch, caplog, fault, logged
):
    caplog.set_level(logging.ERROR)
    monkeypatch.setattr(maintenance_module, "FORGET_POLL_S", 0.02)
    monkeypatch.setattr(maintenance_module, "RETENTION_PERIOD_S", 0.02)
    forgetful = make_project(control, "forgetful")
    keeping = make_project(control, "keeping", retention_days=30)
    ask_to_forget(control, forgetful, "a")
    store.faults = {forgetful: [fault, fault], keeping: [fault, fault]}
    maintenance = make_maintenance()
    maintenance.start()

    await wait_until(lambda: not list_pending(control) and keeping in store.expired)

    await maintenance.close()
    ours = [line for line in caplog.messages if line.startswith("maintenance: ")]
    assert sorted(set(ours)) == [
        f"maintenance: erasures wait: {logged}",
        f"maintenance: expiry waits: {logged}",
    ]
    assert "secret" not in caplog.text


async def test_events_expire_by_the_days_that_their_project_keeps(control, store, make_maintenance):
    month = make_project(control, "month", retention_days=30)
    for_ever = make_project(control, "for ever")

    await make_maintenance().expire_all()

    assert store.expired == {month: date(2026, 4, 16)}
    await make_maintenance(default_retention_days=1).expire_all()
    assert store.expired == {month: date(2026, 4, 16), for_ever: date(2026, 5, 15)}


async def test_it_ends_when_it_is_closed_in_the_moment_it_is_woken(make_maintenance):
    maintenance = make_maintenance()
    maintenance.start()
    await asyncio.sleep(0.1)  # both loops wait now

    maintenance.wake()

    await asyncio.wait_for(maintenance.close(), END_TIMEOUT_S)


async def test_a_wake_starts_an_erasure_at_once(control, store, make_maintenance, monkeypatch):
    monkeypatch.setattr(maintenance_module, "FORGET_POLL_S", 60)
    maintenance = make_maintenance()
    maintenance.start()
    await asyncio.sleep(0.1)
    ask_to_forget(control, make_project(control, "shop"), "a")

    maintenance.wake()

    await wait_until(lambda: len(store.forgotten) == 1)
    await maintenance.close()


async def test_it_ends_in_the_middle_of_an_erasure_which_is_then_free(
    control, store, make_maintenance
):
    waiting = ask_to_forget(control, make_project(control, "shop"), "a")
    store.gate.clear()
    maintenance = make_maintenance()
    maintenance.start()
    await asyncio.sleep(0.2)

    await asyncio.wait_for(maintenance.close(), END_TIMEOUT_S)

    [free] = control.forgets.claim(store=store.id, now=NOW, lease_s=1)
    assert (free.id, store.forgotten) == (waiting.id, [])
