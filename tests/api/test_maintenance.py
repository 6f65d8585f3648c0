"""Background work of the API: deletions until they are done, retention, and the end of both."""

import asyncio
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta

import pytest

from millimetric_mcp.api.control import Control, DeletionKind, KeyUse, open_control
from millimetric_mcp.api.maintenance import Intervals, Maintenance
from millimetric_mcp.api.store.deletions import Cutoffs
from millimetric_mcp.contract.keys import KeyEnv, KeyKind
from millimetric_mcp.errors import StoreRefused, StoreUnavailable

NOW = datetime(2026, 5, 16, 19, 30, tzinfo=UTC)
END_TIMEOUT_S = 5


class Store:
    """Notes what it deletes and expires; raises a project's ``errors``, one each time."""

    def __init__(self, store_id: str = "the event store") -> None:
        self.id = store_id
        self.deleted: list[Mapping[tuple[int, bytes], datetime]] = []
        self.deleted_visitors: list[Mapping[tuple[int, bytes], datetime]] = []
        self.own_visitors: list[bytes] = []
        self.removed: dict[int, int] = {}
        self.expired: dict[int, date] = {}
        self.errors: dict[int, list[Exception]] = {}
        self.past_retention = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def delete_people(
        self, *, salt: bytes, users: Cutoffs, visitors: Cutoffs
    ) -> Mapping[int, int]:
        await self.gate.wait()
        for project_id, _ in [*users, *visitors]:
            self._fail(project_id)
        self.deleted.append(users)
        self.deleted_visitors.append(visitors)
        return self.removed

    async def find_own_visitors(
        self, project_id: int, *, salt: bytes, user_hash: bytes, cutoff: datetime
    ) -> list[bytes]:
        self._fail(project_id)
        return self.own_visitors

    async def expire(self, project_id: int, *, first_day: date) -> int:
        self._fail(project_id)
        self.expired[project_id] = first_day
        return self.past_retention

    def _fail(self, project_id: int) -> None:
        if errors := self.errors.get(project_id):
            raise errors.pop(0)


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
    def make(
        *,
        store=store,
        clock=lambda: NOW,
        default_retention_days=None,
        save_use=lambda: None,
        **intervals: float,
    ) -> Maintenance:
        return Maintenance(
            control=control,
            store=store,
            clock=clock,
            default_retention_days=default_retention_days,
            save_use=save_use,
            intervals=Intervals(**intervals),
        )

    return make


def make_project(control: Control, name: str, *, retention_days: int | None = None) -> int:
    made = control.create_key(kind=KeyKind.SK, env=KeyEnv.LIVE, project=name)
    control.projects.change(name, retention_days=retention_days)
    return made.record.project_id


def ask_to_forget(
    control: Control,
    project_id: int,
    id_to_delete: str,
    *,
    kind: DeletionKind = DeletionKind.USER,
    minute: int = 0,
):
    at = NOW + timedelta(minutes=minute)
    return control.deletions.add(
        store=Store().id,
        project_id=project_id,
        kind=kind,
        id_to_delete=id_to_delete,
        cutoff=at,
        requested_at=at,
    )


def list_pending(control: Control) -> set[str]:
    return {forget.id for forget in control.deletions.list_pending()}


async def wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(500):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")


async def test_deletions_of_all_projects_run_together_with_each_users_latest_cutoff(
    control, store, make_maintenance
):
    shop, other = (make_project(control, name) for name in ("shop", "other"))
    first = ask_to_forget(control, shop, "a")
    neighbour = ask_to_forget(control, other, "a", minute=1)
    again = ask_to_forget(control, shop, "a", minute=2)

    await make_maintenance().delete_pending()

    [cutoffs] = store.deleted
    assert first.id_hash == again.id_hash
    assert cutoffs == {
        (shop, again.id_hash): again.cutoff,
        (other, neighbour.id_hash): neighbour.cutoff,
    }
    assert list_pending(control) == set()


async def test_a_linked_deletion_takes_the_users_own_visitors_too(control, store, make_maintenance):
    shop = make_project(control, "shop")
    asked = ask_to_forget(control, shop, "a", kind=DeletionKind.LINKED)
    store.own_visitors = [b"1" * 32, b"2" * 32]
    maintenance = make_maintenance()

    await maintenance.delete_pending()

    assert store.deleted == []  # the visitors are logged before the user's events are gone
    assert len(list_pending(control)) == 3
    await maintenance.delete_pending()
    assert store.deleted == [{(shop, asked.id_hash): NOW}]
    assert store.deleted_visitors == [{(shop, b"1" * 32): NOW, (shop, b"2" * 32): NOW}]
    assert list_pending(control) == set()


async def test_other_deletions_run_when_the_store_refuses_to_find_a_users_visitors(
    control, store, make_maintenance
):
    refused, served = (make_project(control, name) for name in ("refused", "served"))
    waiting = ask_to_forget(control, refused, "a", kind=DeletionKind.LINKED)
    ask_to_forget(control, served, "a")
    store.errors[refused] = [StoreRefused("no memory")]

    with pytest.raises(StoreRefused, match="no memory"):
        await make_maintenance().delete_pending()

    assert [list(users) for users in store.deleted] == [[(served, waiting.id_hash)]]
    assert list_pending(control) == {waiting.id}


async def test_a_deletion_logs_how_many_events_it_removed_and_why(
    control, store, make_maintenance, caplog
):
    caplog.set_level(logging.INFO)
    shop, other = (make_project(control, name) for name in ("shop", "other"))
    ask_to_forget(control, shop, "a")
    ask_to_forget(control, shop, "a", kind=DeletionKind.VISITOR)
    ask_to_forget(control, other, "a")
    store.removed = {shop: 12}

    await make_maintenance().delete_pending()

    assert sorted(caplog.messages) == [
        "maintenance: forget removed 0 events of 1 users or visitors of project other",
        "maintenance: forget removed 12 events of 2 users or visitors of project shop",
    ]


async def test_a_deletion_waits_for_the_store_that_it_was_requested_of(
    control, store, make_maintenance
):
    waiting = ask_to_forget(control, make_project(control, "shop"), "a")
    another = Store("another event store")

    await make_maintenance(store=another).delete_pending()

    assert (another.deleted, list_pending(control)) == ([], {waiting.id})
    await make_maintenance().delete_pending()
    assert (len(store.deleted), list_pending(control)) == (1, set())


async def test_deletions_of_other_projects_run_when_the_store_refuses_one(
    control, store, make_maintenance
):
    refused, served = (make_project(control, name) for name in ("refused", "served"))
    waiting = ask_to_forget(control, refused, "a")
    ask_to_forget(control, served, "a", minute=1)
    store.errors[refused] = [StoreRefused("not together"), StoreRefused("not alone")]

    with pytest.raises(StoreRefused):
        await make_maintenance().delete_pending()

    assert [list(cutoffs) for cutoffs in store.deleted] == [[(served, waiting.id_hash)]]
    assert list_pending(control) == {waiting.id}
    await make_maintenance().delete_pending()
    assert list_pending(control) == set()


async def test_every_deletion_can_be_claimed_again_when_the_store_was_down(
    control, store, make_maintenance
):
    projects = [make_project(control, name) for name in ("one", "two")]
    waiting = {ask_to_forget(control, project_id, "a").id for project_id in projects}
    store.errors = {project_id: [StoreUnavailable("down")] for project_id in projects}

    with pytest.raises(StoreUnavailable):
        await make_maintenance().delete_pending()

    assert (store.deleted, list_pending(control)) == ([], waiting)
    store.errors = {}
    await make_maintenance().delete_pending()
    assert list_pending(control) == set()


async def test_a_deletion_stays_claimed_while_it_runs(control, store, make_maintenance):
    ask_to_forget(control, make_project(control, "shop"), "a")
    store.gate.clear()
    now = NOW
    deleting = asyncio.create_task(
        make_maintenance(clock=lambda: now, lease_s=10, renew_s=0.01).delete_pending()
    )
    await asyncio.sleep(0.1)

    for _ in range(4):
        now += timedelta(seconds=9)
        await asyncio.sleep(0.2)
        assert control.deletions.claim(store=store.id, now=now, lease_s=1) == ()

    store.gate.set()
    await deleting
    assert list_pending(control) == set()


async def test_a_deletion_goes_on_when_its_claim_can_t_be_renewed(
    control, store, make_maintenance, monkeypatch, caplog
):
    def fail(*_: object, **__: object) -> None:
        raise StoreUnavailable("the database is away")

    monkeypatch.setattr(control.deletions, "renew", fail)
    ask_to_forget(control, make_project(control, "shop"), "a")
    store.gate.clear()
    deleting = asyncio.create_task(make_maintenance(renew_s=0.01).delete_pending())
    await wait_until(lambda: "the database is away" in caplog.text)

    store.gate.set()
    await deleting

    assert list_pending(control) == set()
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("error", "logged"),
    [
        (StoreUnavailable("the event store is away"), "the event store is away"),
        (RuntimeError("secret"), r"RuntimeError at Store\._fail:\d+"),
    ],
)
async def test_both_loops_go_on_after_an_error_and_log_it_without_its_text(
    control, store, make_maintenance, caplog, error, logged
):
    caplog.set_level(logging.ERROR)
    deleting = make_project(control, "deleting")
    keeping = make_project(control, "keeping", retention_days=30)
    ask_to_forget(control, deleting, "a")
    store.errors = {deleting: [error, error], keeping: [error, error]}
    maintenance = make_maintenance(poll_s=0.02, retention_s=0.02)
    maintenance.start()

    await wait_until(lambda: not list_pending(control) and keeping in store.expired)

    await maintenance.close()
    ours = [line for line in caplog.messages if line.startswith("maintenance: ")]
    first, second = sorted(set(ours))
    assert re.fullmatch(f"maintenance: deletions wait: {logged}", first)
    assert re.fullmatch(f"maintenance: events past their retention stay: {logged}", second)
    assert "secret" not in caplog.text


async def test_events_expire_after_the_days_of_their_project(control, store, make_maintenance):
    month = make_project(control, "month", retention_days=30)
    for_ever = make_project(control, "for ever")

    await make_maintenance().expire_all()

    assert store.expired == {month: date(2026, 4, 16)}
    await make_maintenance(default_retention_days=1).expire_all()
    assert store.expired == {month: date(2026, 4, 16), for_ever: date(2026, 5, 15)}


async def test_closing_ends_both_loops_right_after_a_wake(make_maintenance):
    maintenance = make_maintenance()
    maintenance.start()
    await asyncio.sleep(0.1)  # both loops wait now

    maintenance.wake()

    await asyncio.wait_for(maintenance.close(), END_TIMEOUT_S)


async def test_the_days_of_the_keys_last_use_are_saved_again_when_that_failed(
    control, make_maintenance, caplog
):
    prefix = control.create_key(kind=KeyKind.SK, env=KeyEnv.LIVE, project="shop").key.prefix
    failures = [StoreUnavailable("the database is away")]

    def save(days: Mapping[str, datetime]) -> None:
        if failures:
            raise failures.pop()
        control.note_use(days)

    use = KeyUse(save, clock=lambda: NOW)
    use.note(prefix)
    maintenance = make_maintenance(poll_s=0.02, save_use=use.save)
    maintenance.start()

    await wait_until(lambda: control.list_keys()[0].last_used_on is not None)

    await maintenance.close()
    assert control.list_keys()[0].last_used_on == NOW.replace(hour=0, minute=0)
    assert "maintenance: the days of the keys' last use wait: the database is away" in caplog.text


async def test_a_wake_starts_a_deletion_at_once(control, store, make_maintenance):
    maintenance = make_maintenance(poll_s=60)
    maintenance.start()
    await asyncio.sleep(0.1)
    ask_to_forget(control, make_project(control, "shop"), "a")

    maintenance.wake()

    await wait_until(lambda: len(store.deleted) == 1)
    await maintenance.close()


async def test_closing_ends_a_running_deletion_which_can_be_claimed_again(
    control, store, make_maintenance
):
    waiting = ask_to_forget(control, make_project(control, "shop"), "a")
    store.gate.clear()
    maintenance = make_maintenance()
    maintenance.start()
    await asyncio.sleep(0.2)

    await asyncio.wait_for(maintenance.close(), END_TIMEOUT_S)

    [free] = control.deletions.claim(store=store.id, now=NOW, lease_s=1)
    assert (free.id, store.deleted) == (waiting.id, [])


@pytest.mark.parametrize("error", [StoreUnavailable("the disk is full"), RuntimeError("a bug")])
async def test_closing_ends_a_running_deletion_when_the_control_database_fails(
    control, store, make_maintenance, monkeypatch, caplog, error
):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(control.deletions, "release", fail)
    ask_to_forget(control, make_project(control, "shop"), "a")
    store.gate.clear()
    maintenance = make_maintenance()
    maintenance.start()
    await asyncio.sleep(0.2)

    await asyncio.wait_for(maintenance.close(), END_TIMEOUT_S)

    assert "maintenance: unfinished deletions wait until their lease ends: " in caplog.text


async def test_retention_logs_how_many_events_it_removed(control, store, make_maintenance, caplog):
    caplog.set_level(logging.INFO)
    make_project(control, "shop", retention_days=30)
    await make_maintenance().expire_all()
    assert caplog.messages == []

    store.past_retention = 12
    await make_maintenance().expire_all()

    [line] = caplog.messages
    assert line == (
        "maintenance: retention removed 12 events of project shop older than 2026-04-16, "
        "because the project keeps 30 days"
    )
