"""Unknown fields and parameters are ignored, and named in the response."""

import pytest


async def test_an_unknown_field_of_an_event_is_named(quick_api):
    answer = await quick_api.post("/v1/track", {"event": "signup", "userId": "42", "source": "x"})

    assert answer.json() == {"ok": True, "event_id": None, "ignored": ["userId", "source"]}


async def test_an_unknown_field_in_a_batch_is_named_with_its_event(quick_api):
    events = [{"event": "a"}, {"event": "b", "userId": "42"}]

    answer = await quick_api.post("/v1/batch", {"events": events, "sent_at": 1})

    assert answer.json() == {"ok": True, "count": 2, "ignored": ["sent_at", "events[1].userId"]}


async def test_an_unknown_parameter_of_a_question_is_named(quick_api):
    answer = await quick_api.get("/v1/stats", {"colour": "red", "metric": "count"})

    assert answer.json()["ignored"] == ["colour"]


async def test_nothing_is_named_when_everything_is_known(quick_api):
    answers = [
        await quick_api.post("/v1/track", {"event": "a", "properties": {"any": "name"}}),
        await quick_api.post("/v1/identify", {"anonymous_id": "a", "user_id": "b"}),
        await quick_api.get("/v1/query", {"user_id": "b"}),
    ]

    assert ["ignored" in answer.json() for answer in answers] == [False, False, False]


async def test_at_most_twenty_names_are_given_and_long_ones_are_cut(quick_api):
    unknown = {f"{number:02}{'x' * 500}": None for number in range(50)}

    ignored = (await quick_api.post("/v1/track", {"event": "a"} | unknown)).json()["ignored"]

    assert len(ignored) == 20
    assert ignored[0] == "00" + "x" * 126


@pytest.mark.parametrize("value", ["text", [1], None, {"a": 1}])
async def test_an_event_may_have_an_unknown_field_with_the_name_of_a_batchs(quick_api, value):
    answer = await quick_api.post("/v1/track", {"event": "x", "events": value})

    assert answer.json() == {"ok": True, "event_id": None, "ignored": ["events"]}
