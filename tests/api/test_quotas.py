"""What a browser key, which anybody can read, can add to its project, and what it can't."""

import pytest

from millimetric_mcp.contract.keys import KeyKind
from millimetric_mcp.settings import ApiSettings

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
        f"The project has 100 different {kind} already."
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


async def test_a_project_s_bounds_leave_other_projects_alone(quick_api):
    await send(quick_api, *map(INVENTED["event names"], range(99)))
    other = quick_api.make_key(KeyKind.PK, project="other")

    answer = await quick_api.http.post(
        "/v1/batch",
        json={"events": [INVENTED["event names"](number) for number in range(200, 290)]},
        headers=HEADERS | {"Authorization": f"Bearer {other}"},
    )

    assert answer.status_code == 202
