"""What a browser key, which anybody can read, can add to its project, and what it can't."""

import asyncio

import pytest

from millimetric_mcp.api.store import open_event_store
from millimetric_mcp.contract.keys import KeyKind
from millimetric_mcp.errors import StoreUnavailable, StoreUncertain
from millimetric_mcp.settings import ApiSettings
from tests.api.conftest import StoreDouble

HEADERS = {"Origin": "https://shop.example"}


@pytest.fixture
def api_settings():
    return ApiSettings(rate_limits=None, browser_names=100, browser_mb_per_day=1)


async def send(api, *events, kind="pk"):
    return await api.http.post(
        "/v1/batch",
        json={"events": list(events)},
        headers=HEADERS | {"Authorization": f"Bearer {api.keys[kind]}"},
    )


INVENTED = {
    "event names": lambda number: {"event": f"name {number}"},
    "sources": lambda number: {"event": "x", "url": f"https://a.example/?utm_source=s{number}"},
    "campaigns": lambda number: {
        "event": "x",
        "url": f"https://a.example/?utm_source=s&utm_campaign=c{number}",
    },
}


@pytest.mark.parametrize("kind", INVENTED)
async def test_invented_names_of_a_browser_key_are_bounded(quick_api, kind):
    make = INVENTED[kind]

    taken = await send(quick_api, *map(make, range(95)))
    refused = await send(quick_api, *map(make, range(90, 120)))
    known = await send(quick_api, *map(make, range(95)))
    by_server = await send(quick_api, *map(make, range(90, 120)), kind="sk")

    assert (taken.status_code, known.status_code, by_server.status_code) == (202, 202, 202)
    assert (refused.status_code, refused.json()["error"]) == (403, "too_many_names")
    assert refused.json()["details"]["formErrors"] == [
        f"Browser keys may bring 100 different {kind} into a project."
    ]
    assert len(quick_api.store.events) == 95 + 95 + 30


@pytest.mark.parametrize("kind", INVENTED)
async def test_invented_names_do_not_displace_ordinary_visits(quick_api, kind):
    await send(quick_api, *map(INVENTED[kind], range(100)))
    full = await send(quick_api, INVENTED[kind](100))
    referrers = (None, "https://a.example/", "https://www.google.com/", "https://t.co/x")
    visits = [
        {"event": "$pageview", "url": "https://a.example/p", "referrer": referrer}
        for referrer in referrers
    ]

    ordinary = await send(quick_api, *visits)

    assert (full.status_code, ordinary.status_code) == (403, 202)


async def test_bytes_of_a_browser_key_are_bounded_by_day(quick_api):
    large = [{"event": "x", "properties": {"a": "b" * 8000}}] * 100

    taken = await send(quick_api, *large)
    refused = await send(quick_api, *large)
    by_server = await send(quick_api, *large, kind="sk")
    quick_api.clock.advance(hours=5)
    tomorrow = await send(quick_api, *large)

    assert [a.status_code for a in (taken, refused, by_server, tomorrow)] == [202, 429, 202, 202]
    assert refused.json() == {"error": "daily_limit_reached", "retry_after_s": 16_200}
    assert refused.headers["Retry-After"] == "16200"


async def test_characters_of_several_bytes_count_as_their_bytes(quick_api):
    large = {"event": "x", "properties": {"p": "😀" * 2000}}

    answers = [await send(quick_api, *[large] * 100) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [202, 429]


async def test_a_project_s_bounds_leave_other_projects_alone(quick_api):
    await send(quick_api, *map(INVENTED["event names"], range(99)))
    other = quick_api.make_key(KeyKind.PK, project="other")

    answer = await quick_api.http.post(
        "/v1/batch",
        json={"events": [INVENTED["event names"](number) for number in range(200, 290)]},
        headers=HEADERS | {"Authorization": f"Bearer {other}"},
    )

    assert answer.status_code == 202


@pytest.fixture
def start(run_api, store_target):
    """Start an API on the test's store, as the next process does."""
    return lambda: run_api(open_event_store(store_target, max_queued_events=50_000))


async def load_names(api, make):
    """Return when the API knows the names in use; it loads them beside the first that comes."""
    load, loaded = api.store.list_names, asyncio.Event()

    async def list_names(*args, **options):
        found = await load(*args, **options)
        loaded.set()
        return found

    api.store.list_names = list_names
    assert (await send(api, make(0))).status_code == 202
    async with asyncio.timeout(60):
        await loaded.wait()
    await asyncio.sleep(0)


@pytest.mark.parametrize("kind", INVENTED)
async def test_names_of_browser_keys_are_known_after_a_restart(start, kind):
    make = INVENTED[kind]
    async with start() as api:
        assert (await send(api, *map(make, range(60)))).status_code == 202

    async with start() as api:
        await load_names(api, make)
        taken = await send(api, *map(make, range(100, 140)))
        refused = await send(api, make(140))
        known = await send(api, *map(make, range(60)))

    assert [answer.status_code for answer in (taken, refused, known)] == [202, 403, 202]


@pytest.mark.parametrize("kind", INVENTED)
async def test_names_of_server_keys_and_imports_are_known_after_a_restart_and_not_counted(
    start, kind
):
    make = INVENTED[kind]
    imported = make(300) | {"timestamp": "2026-05-01T10:00:00Z"}
    async with start() as api:
        await send(api, *map(make, range(200)), kind="sk")
        part = {"import_id": "log", "chunk": 0, "events": [imported]}
        assert (await api.post("/v1/import", part)).status_code == 200

    async with start() as api:
        await load_names(api, make)
        # "x", the name of the events with other names, and "s", their source, are known too.
        taken = await send(api, *map(make, range(1000, 1100)))
        refused = await send(api, make(1100))
        known = await send(api, *map(make, [*range(200), 300]))

    assert [answer.status_code for answer in (taken, refused, known)] == [202, 403, 202]


async def test_names_of_another_project_are_not_known(start):
    make = INVENTED["event names"]
    async with start() as api:
        await send(api, *map(make, range(100)))

    async with start() as api:
        other = api.make_key(KeyKind.PK, project="other")
        answer = await api.http.post(
            "/v1/batch",
            json={"events": [make(number) for number in range(100, 200)]},
            headers=HEADERS | {"Authorization": f"Bearer {other}"},
        )

    assert answer.status_code == 202


async def test_writes_at_the_same_time_after_a_restart_stay_within_the_bound(start):
    make = INVENTED["event names"]
    async with start() as api:
        await send(api, *map(make, range(50)))

    async with start() as api:
        await load_names(api, make)
        batches = [send(api, *map(make, range(first, first + 10))) for first in range(100, 300, 10)]
        known = [send(api, make(number)) for number in range(50)]
        answers = await asyncio.gather(*batches, *known)

    statuses = [answer.status_code for answer in answers]
    assert statuses[:20].count(202) == 5
    assert statuses[20:] == [202] * 50


class CountingStore(StoreDouble):
    """A `StoreDouble` that counts the loads of names, each of which takes a moment."""

    loads = 0

    async def list_names(self, *args, **options):
        self.loads += 1
        await asyncio.sleep(0.05)
        return await super().list_names(*args, **options)


async def test_writes_at_the_same_time_wait_for_one_load(run_api):
    make = INVENTED["event names"]
    async with run_api(CountingStore()) as api:
        await asyncio.gather(*(send(api, make(number)) for number in range(50)))
        await send(api, *map(make, range(50, 100)))

        assert api.store.loads == 1


async def test_events_without_a_name_of_their_own_load_nothing(run_api):
    async with run_api(CountingStore()) as api:
        visit = {"event": "$pageview", "url": "https://a.example/p"}

        answers = [await send(api, visit), await send(api, {"event": "x"}, kind="sk")]

        assert [answer.status_code for answer in answers] == [202, 202]
        assert api.store.loads == 0


class UnreadableStore(StoreDouble):
    """A `StoreDouble` whose names can't be read while there is a ``failure``."""

    failure = None

    async def list_names(self, *args, **options):
        if self.failure:
            raise self.failure
        return await super().list_names(*args, **options)


@pytest.mark.parametrize("error", [StoreUnavailable("down"), StoreUncertain("no answer")])
async def test_names_that_can_t_be_loaded_delay_only_what_exceeds_the_bound(run_api, error):
    make = INVENTED["event names"]
    async with run_api(UnreadableStore()) as api:
        api.store.failure = error
        within = await send(api, *map(make, range(100)))
        known = await send(api, make(1))
        beyond = await send(api, make(100))
        api.store.failure = None
        refused = await send(api, make(100))

    answers = (within, known, beyond, refused)
    assert [answer.status_code for answer in answers] == [202, 202, 503, 403]


async def test_a_name_without_events_for_30_days_makes_room(quick_api):
    make = INVENTED["event names"]
    await send(quick_api, *map(make, range(100)))
    quick_api.clock.advance(days=29)
    full = await send(quick_api, make(100))

    quick_api.clock.advance(days=2)
    taken = await send(quick_api, make(100))

    assert [full.status_code, taken.status_code] == [403, 202]


async def test_names_that_other_keys_bring_are_known_ten_minutes_later(quick_api):
    make = INVENTED["event names"]
    await send(quick_api, *map(make, range(100)))
    await send(quick_api, make(200), kind="sk")

    statuses = []
    for _ in range(2):
        statuses.append([(await send(quick_api, make(name))).status_code for name in (200, 300)])
        quick_api.clock.advance(minutes=10)

    assert statuses == [[403, 403], [202, 403]]


async def test_names_whose_events_are_deleted_make_room_ten_minutes_later(quick_api):
    make = INVENTED["event names"]
    await send(quick_api, *map(make, range(100)))
    quick_api.clock.advance(minutes=10)
    full = await send(quick_api, make(100))

    del quick_api.store.events[:10]
    quick_api.clock.advance(minutes=10)
    taken = await send(quick_api, *map(make, range(200, 210)))
    refused = await send(quick_api, make(300))

    assert [answer.status_code for answer in (full, taken, refused)] == [403, 202, 403]
