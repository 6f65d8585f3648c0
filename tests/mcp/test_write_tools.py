"""track_event, identify and batch: what is sent, which ids are created, what the result says."""

import json

import pytest


async def test_an_event_without_an_id_gets_one_and_the_result_names_it(call, api):
    outcome = await call("track_event", {"event": "signup"})
    assert api.sent("/v1/track") == [{"event": "signup", "event_id": "id-1"}]
    assert outcome.data == {"ok": True, "event_id": "id-1"}
    assert "id-1" in outcome.text


async def test_an_events_own_id_and_fields_are_sent_unchanged(call, api):
    event = {
        "event": "purchase",
        "event_id": "evt_7",
        "timestamp": "2026-05-16T19:00:00.000Z",
        "anonymous_id": "u_abc",
        "user_id": "user_42",
        "session_id": "s",
        "url": "https://shop.example/?fbclid=x",
        "path": "/p",
        "referrer": "https://l.facebook.com/",
        "properties": {"amount_cents": 4900, "tags": ["a", None]},
    }
    outcome = await call("track_event", event)
    assert api.sent("/v1/track") == [event]
    assert outcome.data["event_id"] == "evt_7"


@pytest.mark.parametrize(
    ("fields", "has_note"),
    [
        pytest.param({}, True, id="neither"),
        pytest.param({"url": "https://shop.example/"}, False, id="url"),
        pytest.param({"referrer": "https://t.co/"}, False, id="referrer"),
    ],
)
async def test_the_result_says_if_an_event_counts_as_direct(fields, has_note, call):
    outcome = await call("track_event", {"event": "a"} | fields)
    assert ("direct" in outcome.text) is has_note


async def test_writes_use_the_write_key_only(call, api):
    await call("track_event", {"event": "a"})
    assert api.requests[0].headers["authorization"].startswith("Bearer sk_test_")


async def test_identify_sends_the_visitor_the_person_and_the_traits(call, api):
    body = {"anonymous_id": "u_abc", "user_id": "user_42", "traits": {"plan": "pro"}}
    outcome = await call("identify", body)
    assert api.sent("/v1/identify") == [body]
    assert outcome.data == {"ok": True}


async def test_a_batch_creates_event_ids_from_its_own_id_and_the_index(call, api):
    outcome = await call("batch", {"events": [{"event": "a"}, {"event": "b", "event_id": "mine"}]})
    (body,) = api.sent("/v1/batch")
    assert [event["event_id"] for event in body["events"]] == ["id-1-0", "mine"]
    assert outcome.data == {"ok": True, "count": 2, "batch_id": "id-1"}


async def test_a_batch_over_500_is_cut_and_numbered_through(call, api):
    outcome = await call("batch", {"events": [{"event": "a"}] * 1250})
    bodies = api.sent("/v1/batch")
    assert [len(body["events"]) for body in bodies] == [500, 500, 250]
    assert bodies[2]["events"][249]["event_id"] == "id-1-1249"
    assert outcome.data["count"] == 1250


async def test_wrong_events_are_named_by_their_index_wherever_they_are(call, api):
    events = [{"event": "a"}] * 1200
    events[3] = {"event": 7}
    events[1100] = {"event": "a", "url": "/relative"}
    outcome = await call("batch", {"events": events})
    head, first, second = outcome.lines
    assert head == "Fix the arguments:"
    assert first == "- events[3].event: Input should be a valid string"
    assert second.startswith("- events[1100].url: must be an absolute URL, such as https://")
    assert api.requests == []


async def test_a_batch_above_256_kb_is_cut_by_its_size(call, api):
    """Escaped, wide and long: each event takes about 20 kB."""
    event = {
        "event": "é" * 128,
        "url": "https://x.test/" + "\u4e2d" * 2000,
        "referrer": "\x01" * 1000,
        "properties": {"text": "\u4e2d" * 2700},
    }
    outcome = await call("batch", {"events": [event] * 100})
    sizes = [len(request.content) for request in api.requests]
    assert 230_000 < max(sizes) <= 256_000
    ids = [event["event_id"] for body in api.sent("/v1/batch") for event in body["events"]]
    assert ids == [f"id-1-{index}" for index in range(100)]
    assert outcome.data["count"] == 100


async def test_a_batch_sends_at_the_rate_that_the_api_allows(connect, api):
    async with connect() as client:
        await client.call_tool("batch", {"events": [{"event": "a"}] * 11_001})
        assert len(api.requests) == 23
        assert client.waits == [0.2] * 3


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_batch_reports_its_progress(mode, connect):
    seen = []

    async def on_progress(done, total, message):
        seen.append((done, total))

    async with connect(mode=mode) as client:
        await client.call_tool(
            "batch", {"events": [{"event": "a"}] * 750}, progress_callback=on_progress
        )
    assert seen == [(500, 750), (750, 750)]


def limit_the_second(api, answer, *, times, wait_s):
    """The API's rate limit, reached by the second request so many times."""
    left = [times]

    def respond(request):
        if len(json.loads(request.content)["events"]) < 500 and left[0]:
            left[0] -= 1
            return answer({"error": "rate_limited", "retry_after_s": wait_s}, 429)
        return api.batch_(request)

    api.rules["/v1/batch"] = respond


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_batch_of_several_requests_waits_for_the_rate_limit_and_reports_it(
    mode, connect, api, answer
):
    limit_the_second(api, answer, times=2, wait_s=7)
    seen = []

    async def on_progress(done, _total, message):
        seen.append((done, message))

    async with connect(mode=mode) as client:
        result = await client.call_tool(
            "batch", {"events": [{"event": "a"}] * 750}, progress_callback=on_progress
        )
        assert client.waits == [7, 7]
    assert result.structured_content["count"] == 750
    assert "Waited 14 s for the API's rate limit." in result.content[0].text
    assert [message for _, message in seen] == [
        None,
        *["Waiting 7 s for the API's rate limit"] * 2,
        None,
    ]
    done = [progress for progress, _ in seen]
    assert done == sorted(set(done))
    assert [int(progress) for progress in done] == [500, 500, 500, 750]


async def test_a_batch_stops_after_a_long_wait_and_says_where_to_go_on(connect, api, answer):
    limit_the_second(api, answer, times=9, wait_s=12)
    async with connect() as client:
        result = await client.call_tool("batch", {"events": [{"event": "a"}] * 750})
        assert client.waits == [12, 12]
    assert result.is_error
    assert result.content[0].text.startswith("Wait 12 s and retry: ")
    assert "None of them is stored: go on from events[500]." in result.content[0].text


async def test_a_batch_of_one_request_fails_at_once_at_the_rate_limit(connect, api, answer):
    limit_the_second(api, answer, times=9, wait_s=7)
    async with connect() as client:
        result = await client.call_tool("batch", {"events": [{"event": "a"}]})
        assert client.waits == []
    assert result.content[0].text.startswith("Wait 7 s and retry: ")


async def test_a_batch_that_fails_halfway_says_what_is_stored_and_where_to_go_on(call, api, answer):
    def refuse_the_second(request):
        if len(api.sent("/v1/batch")) == 2:
            return answer({"error": "invalid_payload", "details": {"fieldErrors": {}}}, 400)
        return api.batch_(request)

    api.rules["/v1/batch"] = refuse_the_second
    outcome = await call("batch", {"events": [{"event": "a"}] * 1250})
    assert outcome.is_error
    assert outcome.data is None
    assert "events[0] to events[499] are stored (batch_id id-1)" in outcome.text
    assert "the failed request held events[500] to events[999]" in outcome.text
    assert "None of them is stored: go on from events[500]." in outcome.text
    assert "Look for" not in outcome.text
    assert len(api.requests) == 2


@pytest.mark.parametrize(
    ("failing", "advice"),
    [
        pytest.param(
            1,
            'event_id "id-1-0" among the events "a" around its timestamp (raw_events with fields '
            "event_id and timestamp): if it is there, all of the request is stored and "
            "go on from events[500]; if not, go on from events[0].",
            id="first request",
        ),
        pytest.param(
            2,
            'event_id "id-1-500" among the events "a" around its timestamp (raw_events with '
            "fields event_id and timestamp): if it is there, all of the request is stored and "
            "go on from events[1000]; if not, go on from events[500].",
            id="second request",
        ),
    ],
)
async def test_an_uncertain_batch_says_what_to_look_for_and_never_that_nothing_is_stored(
    failing, advice, call, api, answer
):
    def fail_once(request):
        if len(api.sent("/v1/batch")) == failing:
            return answer({"error": "internal_error"}, 500)
        return api.batch_(request)

    api.rules["/v1/batch"] = fail_once
    outcome = await call("batch", {"events": [{"event": "a"}] * 1250})
    assert "may have been stored" in outcome.text
    assert f"Look for {advice}" in outcome.text
    assert "othing is stored" not in outcome.text
    assert "None of them" not in outcome.text


async def test_a_batch_names_invalid_fields_by_their_index_in_the_whole_batch(call, api, answer):
    def refuse_the_second(request):
        if len(api.sent("/v1/batch")) == 2:
            named = {"fieldErrors": {"events[3].url": ["no"]}}
            return answer({"error": "invalid_payload", "details": named}, 400)
        return api.batch_(request)

    api.rules["/v1/batch"] = refuse_the_second
    outcome = await call("batch", {"events": [{"event": "a"}] * 750})
    assert "(fields: events[503].url)" in outcome.text


async def test_a_failed_batch_of_one_request_does_not_say_that_events_are_stored(call, api, answer):
    api.rules["/v1/batch"] = lambda _: answer({"error": "invalid_payload"}, 400)
    outcome = await call("batch", {"events": [{"event": "a"}] * 3})
    assert outcome.is_error
    assert "are stored" not in outcome.text
    assert "batch_id id-1" in outcome.text


async def test_an_uncertain_write_names_the_event_id_it_may_be_stored_under(call, api, answer):
    api.rules["/v1/track"] = lambda _: answer({"error": "internal_error"}, 500)
    outcome = await call("track_event", {"event": "a"})
    assert outcome.is_error
    assert "may have been stored" in outcome.text
    assert "id-1" in outcome.text
    assert len(api.requests) == 1


async def test_an_event_id_is_shown_without_control_characters(call, api):
    outcome = await call("track_event", {"event": "a", "event_id": "e\x1b[2J\u202e"})
    assert "\x1b" not in outcome.text
    assert "\u202e" not in outcome.text
    assert api.sent("/v1/track")[0]["event_id"] == "e\x1b[2J\u202e"


async def test_non_ascii_text_survives(call, api):
    properties = {"name": 'Zoë 🚲 "quoted"\n', "n": 2**70}
    await call("track_event", {"event": "größe", "properties": properties})
    assert json.loads(api.requests[0].content) == {
        "event": "größe",
        "event_id": "id-1",
        "properties": properties,
    }
