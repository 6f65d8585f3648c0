"""A project's own time zone: for questions that depend on one and name none."""

from dataclasses import dataclass

import pytest

from millimetric_mcp.contract.keys import KeyKind

WINDOW = {"from": "2026-05-15T00:00:00Z", "to": "2026-05-18T00:00:00Z"}


@dataclass(frozen=True)
class Case:
    """A question, and what its rows begin with in UTC and in Tokyo, 9 hours ahead."""

    path: str
    params: dict
    column: str
    in_utc: object
    in_tokyo: object


CASES = [
    Case(
        "/v1/stats",
        {"interval": "day"},
        "bucket",
        "2026-05-16T00:00:00.000Z",
        "2026-05-17T00:00:00.000+09:00",
    ),
    Case("/v1/stats", {"group_by": "hour_of_day"}, "hour_of_day", 20, 5),
    Case("/v1/stats", {"group_by": "weekday"}, "weekday", 6, 7),
    Case(
        "/v1/retention",
        {"event": "x", "interval": "day"},
        "cohort",
        "2026-05-16T00:00:00.000Z",
        "2026-05-17T00:00:00.000+09:00",
    ),
]


@pytest.fixture
async def shop(api):
    """An API with one event, on the 16th in UTC and on the 17th in Tokyo."""
    event = {"event": "x", "anonymous_id": "a", "timestamp": "2026-05-16T20:30:00Z"}
    await api.post("/v1/batch", {"events": [event]})
    return api


def set_zone(api, zone):
    api.control.projects.change("default", timezone=zone)
    # The API remembers keys for seconds; a new one has the project's settings.
    return api.make_key(KeyKind.RK)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.column)
async def test_a_question_without_a_zone_is_answered_in_the_project_s(shop, case):
    async def ask(key=None, **params):
        answer = (await shop.get(case.path, WINDOW | case.params | params, key=key)).json()
        return answer["rows"][0][case.column], answer.get("project_timezone")

    assert await ask() == (case.in_utc, None)
    key = set_zone(shop, "Asia/Tokyo")
    assert await ask(key) == (case.in_tokyo, "Asia/Tokyo")
    assert (await ask(key, timezone="UTC"))[1] is None
    assert await ask(key, timezone="Asia/Seoul") == (case.in_tokyo, None)


@pytest.mark.parametrize("params", [{}, {"group_by": "event_name"}])
async def test_a_question_that_no_zone_changes_does_not_name_the_project_s(shop, params):
    key = set_zone(shop, "Asia/Tokyo")
    answer = (await shop.get("/v1/stats", WINDOW | params, key=key)).json()
    assert (answer["rows"][0]["value"], "project_timezone" in answer) == (1, False)
