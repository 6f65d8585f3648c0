"""Arguments: refused by field, rule and example, before anything is sent."""

import pytest
from mcp import MCPError


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        pytest.param(
            "raw_events", {"form": "7d"}, ["form: no such", "did you mean from?"], id="misspelt"
        ),
        pytest.param("stats", {"groupBy": ["os"]}, ["did you mean group_by?"], id="camel case"),
        pytest.param(
            "forget",
            {"user_id": "u", "confirm": True},
            ["confirm: no such", "valid: user_id"],
            id="invented",
        ),
        pytest.param("track_event", {}, ['event: is required; for example "signup"'], id="missing"),
        pytest.param(
            "track_event",
            {"event": "x" * 129},
            ["event: ", "128", 'for example "signup"'],
            id="too long",
        ),
        pytest.param(
            "track_event",
            {"event": "a", "url": "/relative"},
            ["url: must be an absolute URL", "for example"],
            id="relative url",
        ),
        pytest.param(
            "track_event",
            {"event": "a", "timestamp": "2026-05-16"},
            ["timestamp: must be an ISO 8601 time", "for example"],
            id="time without offset",
        ),
        pytest.param(
            "track_event",
            {"event": "a", "properties": {"x": "é" * 5000}},
            ["properties: must be at most 8192 bytes", "for example"],
            id="properties too large",
        ),
        pytest.param(
            "track_event", {"event": "a", "source": "google"}, ["source: no such"], id="server-made"
        ),
        pytest.param(
            "identify",
            {"anonymous_id": "a", "user_id": "b", "trait": {}},
            ["did you mean traits?"],
            id="identify",
        ),
        pytest.param(
            "batch",
            {"events": [{"event": "a"}, {"evnt": "b"}]},
            ["events[1].event: is required", "events[1].evnt: no such", "did you mean event?"],
            id="within a batch",
        ),
        pytest.param(
            "batch",
            {"events": []},
            ["events: must hold 1 to 100000 events, not 0"],
            id="empty batch",
        ),
        pytest.param(
            "top_sources",
            {"breakdown": "campaign"},
            ["breakdown: ", "'source_medium' or 'source'", 'for example "source"'],
            id="enum",
        ),
        pytest.param("top_sources", {"limit": 201}, ["limit: ", "200"], id="range"),
        pytest.param(
            "stats",
            {"group_by": ["planet"]},
            ["group_by: must be a list of names among source, medium", "for example"],
            id="column",
        ),
        pytest.param(
            "stats", {"fill_empty": True}, ["fill_empty: needs an interval"], id="fill what"
        ),
        pytest.param(
            "raw_events",
            {"fields": ["ip"]},
            ["fields: must be a list of names among timestamp"],
            id="field",
        ),
        pytest.param("raw_events", {"from": "sometime"}, ["from: must be"], id="window"),
        pytest.param(
            "stats", {"from": "now", "to": "7d"}, ["from", "must not be after"], id="reversed"
        ),
        pytest.param(
            "stats", {"timezone": "Berlin"}, ["timezone: ", "Europe/Berlin"], id="time zone"
        ),
    ],
)
async def test_a_wrong_argument_is_answered_with_field_and_rule_and_nothing_is_sent(
    tool, arguments, expected, call, api
):
    outcome = await call(tool, arguments)
    assert outcome.is_error
    assert outcome.lines[0] == "Fix the arguments:"
    for part in expected:
        assert part in outcome.text
    assert api.requests == []


async def test_all_faults_are_told_at_once(call):
    outcome = await call("track_event", {"evnt": "a", "url": "x", "timestamp": "y"})
    assert [line.split(":")[0] for line in outcome.lines[1:]] == [
        "- event",
        "- timestamp",
        "- url",
        "- evnt",
    ]


async def test_a_batch_that_fails_by_its_events_is_not_also_called_too_short(call):
    outcome = await call("batch", {"events": [{"evnt": "b"}]})
    assert "must hold" not in outcome.text


@pytest.mark.parametrize(
    ("tool", "wrap", "field"),
    [
        pytest.param("track_event", lambda event: event, "timestamp", id="track_event"),
        pytest.param(
            "batch",
            lambda event: {"events": [{"event": "ok"}, event]},
            "events[1].timestamp",
            id="batch",
        ),
    ],
)
@pytest.mark.parametrize(
    ("timestamp", "rule"),
    [
        pytest.param("1969-12-31T23:59:59Z", "must not be before 1970", id="before 1970"),
        pytest.param("2026-05-18T12:00:00.001Z", "24 hours in the future", id="future"),
    ],
)
async def test_an_event_time_out_of_range_is_refused_before_anything_is_sent(
    tool, wrap, field, timestamp, rule, call, api
):
    outcome = await call(tool, wrap({"event": "a", "timestamp": timestamp}))
    assert outcome.is_error
    assert f"{field}: must not be" in outcome.text
    assert rule in outcome.text
    assert api.requests == []


async def test_an_event_of_the_next_24_hours_is_sent(call, api):
    outcome = await call("track_event", {"event": "a", "timestamp": "2026-05-18T12:00:00Z"})
    assert not outcome.is_error
    assert api.sent("/v1/track")[0]["timestamp"] == "2026-05-18T12:00:00.000Z"


async def test_what_was_given_is_never_quoted_at_length(call):
    outcome = await call("track_event", {"event": "a", "x" * 5000: "secret-value"})
    assert len(outcome.text) < 500
    assert "secret-value" not in outcome.text


async def test_of_many_faults_the_first_are_told_and_the_rest_is_counted(call):
    outcome = await call("batch", {"events": [{"event": "a", "x": 1}] * 3000})
    assert len(outcome.lines) == 22
    assert outcome.lines[-1] == "- and 2980 more"
    assert outcome.text.count("valid: ") == 1
    assert len(outcome.text) < 2500


async def test_many_event_times_out_of_range_are_counted(call):
    event = {"event": "a", "timestamp": "1969-12-31T23:59:59Z"}
    outcome = await call("batch", {"events": [event] * 3000})
    assert outcome.lines[-1] == "- and 2980 more"


async def test_an_unknown_argument_is_named_without_what_steers_a_terminal(call):
    outcome = await call("stats", {"a\x1b[2J\u202e\n- b": 1})
    assert len(outcome.lines) == 2
    assert "\x1b" not in outcome.text
    assert "\u202e" not in outcome.text


@pytest.mark.parametrize("limit", [True, "20"])
@pytest.mark.parametrize("tool", ["stats", "raw_events", "top_sources"])
async def test_a_limit_is_a_number(tool, limit, call, api):
    outcome = await call(tool, {"limit": limit})
    assert "limit: must be a whole number" in outcome.text
    assert api.requests == []


async def test_a_comma_list_is_taken_for_a_list(call, api):
    await call("stats", {"group_by": "source, medium", "interval": "day"})
    assert api.asked("/v1/stats")[0]["group_by"] == "source,medium"


async def test_the_server_s_zone_counts_where_no_timezone_is_given(call, api):
    await call("stats", {"from": "2026-05-01", "to": "2026-05-02"}, timezone="Europe/Berlin")
    assert api.asked("/v1/stats")[0]["from"] == "2026-04-30T22:00:00.000Z"


async def test_nothing_given_is_the_last_30_days(call, api):
    await call("top_sources", {})
    asked = api.asked("/v1/sources")[0]
    end = "2026-05-17T12:00:01.000Z"
    assert (asked["from"], asked["to"]) == ("2026-04-17T12:00:01.000Z", end)


async def test_an_unknown_tool_is_a_protocol_error_that_lists_the_tools(connect):
    async with connect() as client:
        with pytest.raises(MCPError, match="track_event, identify, batch") as failure:
            await client.call_tool("delete_everything", {})
    assert failure.value.code == -32602
