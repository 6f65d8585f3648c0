"""Questions about people while events arrive: the store has many small parts, some not merged."""

import json

import pytest

STEPS = json.dumps([{"event": "$pageview"}, {"event": "buy"}])
BACK = json.dumps([{"event": "buy"}, {"event": "$pageview"}])
AD = "https://shop.example/?utm_source=news&utm_medium=email"
QUESTIONS = {
    "a funnel": ("/v1/funnel", {"steps": STEPS}),
    "a funnel by source": ("/v1/funnel", {"steps": STEPS, "group_by": "source"}),
    "a funnel by path": ("/v1/funnel", {"steps": STEPS, "group_by": "path"}),
    "a funnel to page views": ("/v1/funnel", {"steps": BACK, "group_by": "source"}),
    "a funnel by touch": (
        "/v1/funnel",
        {"steps": STEPS, "group_by": "source", "attribution": "last_touch"},
    ),
    "retention": ("/v1/retention", {"event": "$pageview"}),
    "sources by first touch": ("/v1/sources", {"attribution": "first_touch", "event": "buy"}),
    "sources by session": ("/v1/sources", {"attribution": "session"}),
}
ROUNDS = 25


def make_visits(first, number, *, has_users):
    """Every third visitor has a user, or none has."""
    return [
        {
            "event": event,
            "anonymous_id": f"v{visitor}",
            "url": AD,
            **({"user_id": f"u{visitor % 7}"} if has_users and visitor % 3 == 0 else {}),
        }
        for visitor in range(first, first + number)
        for event in ("$pageview", "buy")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("has_users", [False, True], ids=["no users", "users"])
@pytest.mark.parametrize("name", QUESTIONS)
async def test_a_question_is_answered_after_every_insert(api, name, has_users):
    path, params = QUESTIONS[name]
    for first in range(0, 5000, 500):
        await api.post("/v1/batch", {"events": make_visits(first, 500, has_users=has_users)})

    failed = []
    for number in range(ROUNDS):
        new = make_visits(10_000 + number, 1, has_users=has_users)
        await api.post("/v1/batch", {"events": new})
        answer = await api.get(path, params)
        if answer.status_code != 200:
            failed.append((number, answer.text))

    assert failed == []
