"""Unknown fields and parameters are ignored, and named in the response. What an answer owes to
parameters beyond the hosted API's is repeated in it as ``applied``."""

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


STEPS = '[{"event": "view"}, {"event": "signup", "country": "DE"}]'
MODEL = {"attribution": "last_touch", "lookback_days": 30}
APPLIED = [
    ("/v1/sources", {"breakdown": "source", "limit": 5}, None),
    ("/v1/sources", {"attribution": "last_touch"}, MODEL),
    ("/v1/sources", {"attribution": "session", "lookback_days": 7},
     {"attribution": "session", "lookback_days": 7}),
    ("/v1/sources", {"event": "signup"}, {"filters": {"event": ["signup"]}}),
    ("/v1/stats", {"metric": "uniques", "group_by": "os", "interval": "day", "event": "a"}, None),
    ("/v1/stats", {"event": ["a", "b"]}, {"filters": {"event": ["a", "b"]}}),
    ("/v1/stats", {"metric": "sum", "property": "n"}, {"metric": "sum", "property": "n"}),
    ("/v1/stats", {"metric": "sessions"}, {"metric": "sessions"}),
    ("/v1/stats", {"group_by": "channel,source"}, {"group_by": ["channel", "source"]}),
    ("/v1/stats", {"interval": "day", "timezone": "Europe/Berlin"}, {"timezone": "Europe/Berlin"}),
    ("/v1/stats", {"properties.n[gte]": 10, "path[not]": "/"},
     {"filters": {"properties.n[gte]": ["10"], "path[not]": ["/"]}}),
    ("/v1/query", {"event": "a", "source": "b", "user_id": "c"}, None),
    ("/v1/query", {"bots": "exclude"}, {"bots": "exclude"}),
    ("/v1/query", {"order": "oldest"}, {"order": "oldest"}),
    ("/v1/query", {"after": "1.2.3.4"}, {"order": "oldest", "after": "1.2.3.4"}),
    ("/v1/funnel", {"steps": STEPS, "within": "1d", "group_by": "source", **MODEL},
     {"within": "1d", "group_by": ["source"], **MODEL,
      "steps": '[{"event": "view"}, {"event": "signup", "country": ["DE"]}]'}),
    ("/v1/retention", {"event": "a", "interval": "month", "timezone": "Asia/Tokyo"},
     {"event": "a", "return": "a", "interval": "month", "timezone": "Asia/Tokyo"}),
    ("/v1/schema", {"bots": "only"}, {"bots": "only"}),
    ("/v1/schema", {}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "asked", "applied"), APPLIED)
async def test_an_answer_repeats_the_extensions_that_it_applied(quick_api, path, asked, applied):
    answer = (await quick_api.get(path, asked)).json()

    assert answer.get("applied") == applied
    assert "ignored" not in answer


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/stats", "attributon"),
        ("/v1/query", "attribution"),
        ("/v1/funnel", "timezone"),
        ("/v1/sources", "country[like]"),
        ("/v1/schema", "country"),
    ],
)
async def test_a_parameter_that_an_endpoint_does_not_know_is_never_applied(quick_api, path, name):
    needed = {"steps": STEPS} if path == "/v1/funnel" else {}
    answer = (await quick_api.get(path, needed | {name: "last_touch"})).json()

    assert answer["ignored"] == [name]
    assert name not in answer.get("applied", {})


@pytest.mark.parametrize("path", ["/v1/sources", "/v1/stats"])
async def test_a_look_back_without_an_attribution_is_ignored(quick_api, path):
    answer = (await quick_api.get(path, {"lookback_days": 7})).json()

    assert answer["ignored"] == ["lookback_days"]
    assert "applied" not in answer


@pytest.mark.parametrize(
    ("path", "asked", "field"),
    [
        ("/v1/stats", {"properties.n[more]": "1"}, "properties.n[more]"),
        ("/v1/stats", {"metric": "sum"}, "property"),
        ("/v1/stats", {"lookback_days": "400"}, "lookback_days"),
        ("/v1/query", {"before": "1.2.3.4", "order": "oldest"}, "before"),
        ("/v1/query", {"after": "1.2.3.4", "order": "newest"}, "after"),
        ("/v1/query", {"before": "1.2.3.4", "after": "1.2.3.4"}, "before"),
        ("/v1/funnel", {"steps": '[{"event": "a"}, {"event": "b", "x": 1}]'}, "steps[1].filters.x"),
        ("/v1/funnel", {"steps": STEPS, "within": "91d"}, "within"),
        ("/v1/retention", {"event": "a", "interval": "hour"}, "interval"),
    ],
)
async def test_a_wrong_value_is_refused_by_its_parameter_s_name(quick_api, path, asked, field):
    answer = await quick_api.get(path, asked)

    assert answer.status_code == 400
    assert list(answer.json()["details"]["fieldErrors"]) == [field]
