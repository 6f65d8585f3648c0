"""Arguments: how they are read, and how wrong ones are refused before anything is sent."""

import json
import math
from typing import Any

import pytest
from mcp import MCPError
from mcp_types import CallToolResult, Request
from pydantic import ValidationError

from millimetric_mcp.contract.filters import MAX_FILTERS
from millimetric_mcp.contract.validation import list_field_errors
from millimetric_mcp.mcp.tools import TOOLS, find_tool

WRONG: tuple[Any, ...] = (
    *(True, False, 0, -1, 1, 1.5, 10**30, math.nan, math.inf, " ", "yes"),
    *("x" * 100_000, "\ud800", "de", "2026-13-01", "DE\n", {}, {"a": 1}),
    *([], [None], [1], [""], ["x"], [[]], [{}], [{"event": 1}], [{"event": ""}], [[1]]),
    *(
        [{"event": "a", "properties": value}]
        for value in (1, [], {"a": math.nan}, {"a": "x" * 9000})
    ),
    *([{"event": "a", "url": value}] for value in ("/x", "http://[", 7, "https://" + "x" * 3000)),
)
CASES = [(tool, name) for tool in TOOLS for name in tool.input_schema["properties"]]
OPTIONAL_LISTS = [
    (tool, name)
    for tool, name in CASES
    if tool.input_schema["properties"][name].get("type") == "array"
    and name not in tool.input_schema.get("required", [])
]
FILTERS = {f"properties.key_{number}": "x" for number in range(MAX_FILTERS)}
MODES = pytest.mark.parametrize("mode", ["legacy", "auto"], ids=["handshake", "2026-07-28"])
SHAPES = {"string": 7, "integer": "x", "boolean": "yes", "array": 7, "object": 7}
"""A value of another kind for each kind of argument."""


@pytest.mark.parametrize(
    ("tool", "arguments", "line"),
    [
        pytest.param(
            "raw_events",
            {"form": "7d"},
            "form: no such argument; did you mean from?",
            id="misspelt",
        ),
        pytest.param(
            "stats",
            {"groupBy": ["os"]},
            "groupBy: no such argument; did you mean group_by?",
            id="camel case",
        ),
        pytest.param(
            "forget",
            {"user_id": "u", "force": True},
            "force: no such argument; valid: ",
            id="invented",
        ),
        pytest.param(
            "identify",
            {"anonymous_id": "a", "user_id": "b", "trait": {}},
            "trait: no such argument; did you mean traits?",
            id="singular",
        ),
        pytest.param(
            "batch",
            {"events": [{"event": "a"}, {"event": "b", "evnt": "b"}]},
            "events[1].evnt: no such argument; did you mean event?",
            id="misspelt within a batch",
        ),
        pytest.param(
            "track_event",
            {"event": "a", "event.x": "b"},
            "event.x: no such argument; valid: event, ",
            id="a dot in a name",
        ),
        pytest.param("track_event", {}, "event: Field required", id="missing"),
        pytest.param(
            "track_event",
            {"event": "a", "url": "/relative"},
            "url: must be an absolute URL, such as ",
            id="relative url",
        ),
        pytest.param(
            "track_event",
            {"event": "a", "timestamp": "2026-05-16"},
            "timestamp: must be an ISO 8601 time with an offset, such as ",
            id="time without offset",
        ),
        pytest.param(
            "track_event",
            {"event": "a", "properties": {"x": "é" * 5000}},
            "properties: must be at most 8192 bytes",
            id="properties too large",
        ),
        pytest.param(
            "batch", {"events": []}, "events: must hold 1 to 100000 events, not 0", id="empty batch"
        ),
        pytest.param(
            "top_sources",
            {"breakdown": "campaign"},
            "breakdown: Input should be 'source_medium' or 'source'",
            id="enum",
        ),
        pytest.param(
            "top_sources",
            {"limit": 201},
            "limit: Input should be less than or equal to 200",
            id="range",
        ),
        pytest.param(
            "stats",
            {"fill_empty": True},
            'fill_empty: needs an interval, such as "day"',
            id="fill without interval",
        ),
        pytest.param(
            "raw_events",
            {"fields": ["ip"]},
            "fields: must be a list of names among timestamp, event_name, ",
            id="field",
        ),
        pytest.param("raw_events", {"country": "de"}, "country: String should match", id="country"),
        pytest.param("raw_events", {"from": "sometime"}, "from: must be", id="window"),
        pytest.param(
            "stats", {"from": "now", "to": "7d"}, "from: must not be after to; ", id="from after to"
        ),
        pytest.param(
            "stats", {"timezone": "Nowhere"}, "timezone: must be an IANA time zone", id="zone"
        ),
        pytest.param(
            "stats",
            {"timezone": "localtime"},
            "timezone: must be an IANA time zone name",
            id="this machine's zone",
        ),
        *(
            pytest.param(
                tool,
                {"event": "a", "filters": FILTERS},
                "filters: with event there are 21; at most 20",
                id=f"filters of {tool}",
            )
            for tool in ("stats", "raw_events")
        ),
    ],
)
async def test_a_wrong_argument_is_refused_with_its_field_and_nothing_is_sent(
    tool, arguments, line, call, api
):
    outcome = await call(tool, arguments)
    assert outcome.is_error
    assert outcome.lines[0] == "Fix the arguments:"
    assert outcome.lines[1].startswith(f"- {line}")
    assert len(outcome.lines) == 2
    assert api.requests == []


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("track_event", {"event": "x" * 200, "url": "/x", "user_id": "x" * 300}),
        ("identify", {"anonymous_id": "a" * 200, "traits": [1]}),
        ("batch", {"events": [{"url": "/x"}, {"event": 7}]}),
        ("forget", {"user_id": "x" * 300}),
        ("top_sources", {"limit": 0, "breakdown": "x"}),
        ("stats", {"limit": 1001, "metric": "x", "group_by": ["x"], "interval": "x"}),
        ("raw_events", {"limit": 1001}),
    ],
)
async def test_a_wrong_field_reads_the_same_over_mcp_and_http(name, wrong, call):
    """The API writes its sentences with the same function, from the endpoint's own model."""
    window = {"from": "2026-05-01T00:00:00Z", "to": "2026-06-01T00:00:00Z"}
    endpoint = find_tool(name).endpoints[0]
    with pytest.raises(ValidationError) as failure:
        endpoint.request.model_validate((window if endpoint.method == "GET" else {}) | wrong)
    expected = [f"- {item.field}: {item.message}" for item in list_field_errors(failure.value)]
    outcome = await call(name, wrong)
    assert outcome.lines == ["Fix the arguments:", *expected]


async def test_all_wrong_arguments_are_named_at_once(call):
    outcome = await call("track_event", {"evnt": "a", "url": "x", "timestamp": "y"})
    assert [line.split(":")[0] for line in outcome.lines[1:]] == [
        "- event",
        "- timestamp",
        "- url",
        "- evnt",
    ]


@pytest.mark.parametrize(("tool", "name"), CASES, ids=lambda item: getattr(item, "name", item))
async def test_a_value_of_another_kind_is_refused_by_its_field(tool, name, minimal, call, api):
    wrong = SHAPES[tool.input_schema["properties"][name]["type"]]
    outcome = await call(tool.name, minimal(tool) | {name: wrong})
    assert outcome.is_error
    assert outcome.lines[1].startswith(f"- {name}: ")
    assert api.requests == []


async def test_no_value_ends_in_an_unexpected_error(connect, minimal):
    async with connect() as client:
        for tool, name in CASES:
            for value in WRONG:
                arguments = minimal(tool) | {name: value}
                text = (await client.call_tool(tool.name, arguments)).content[0].text
                assert "unexpectedly" not in text, (tool.name, name, str(value)[:50])


async def test_a_given_value_is_not_quoted_and_a_long_name_is_cut(call):
    outcome = await call("track_event", {"event": "a", "x" * 5000: "secret-value"})
    assert len(outcome.text) < 500
    assert "secret-value" not in outcome.text


async def test_many_errors_are_cut_and_the_rest_is_counted(call):
    outcome = await call("batch", {"events": [{"event": "a", "evnt": 1}] * 3000})
    assert len(outcome.lines) == 22
    assert outcome.lines[-1] == "- and 2980 more"
    assert len(outcome.text) < 2500


async def test_many_unknown_arguments_are_counted_and_not_named(call):
    outcome = await call("track_event", {f"x{i}": {} for i in range(200)})
    assert outcome.lines[1].startswith("- 200 arguments are too many; valid: event, ")


async def test_the_events_after_many_wrong_ones_are_not_checked(call):
    outcome = await call("batch", {"events": [{}] * 4000})
    assert outcome.lines[1] == "- events: events after events[3499] are not checked yet"


async def test_wrong_steps_are_named_and_not_counted_as_missing(call):
    outcome = await call("funnel", {"steps": ["a", "b"]})
    assert outcome.lines[1:] == [f"- steps[{i}]: Input should be a valid object" for i in (0, 1)]


async def test_an_unknown_argument_is_named_without_control_characters(call):
    outcome = await call("stats", {"a\x1b[2J\u202e\n- b": 1})
    assert len(outcome.lines) == 2
    assert "\x1b" not in outcome.text
    assert "\u202e" not in outcome.text


async def test_an_event_time_out_of_range_is_refused_by_the_api(call, api, answer):
    details = {"fieldErrors": {"timestamp": ["must not be before 1970-01-01T00:00:00Z"]}}
    body = {"error": "invalid_payload", "details": details}
    api.rules["/v1/track"] = lambda _: answer(body, 400)
    outcome = await call("track_event", {"event": "a", "timestamp": "1969-12-31T23:59:59Z"})
    assert outcome.text.startswith("Fix the arguments: ")
    assert "(fields: timestamp)" in outcome.text


class TestForgiveness:
    """Clients write the same value in several ways; all of them are read."""

    @pytest.mark.parametrize("value", [None, ""], ids=["null", "empty text"])
    @pytest.mark.parametrize(("tool", "name"), CASES, ids=lambda item: getattr(item, "name", item))
    async def test_null_and_empty_text_mean_that_the_argument_is_absent(
        self, tool, name, value, minimal, connect, api
    ):
        required = name in tool.input_schema.get("required", [])
        async with connect() as client:
            given = await client.call_tool(tool.name, minimal(tool) | {name: value})
        if required:
            assert given.content[0].text == f"Fix the arguments:\n- {name}: Field required"
            return
        async with connect() as client:
            others = {key: kept for key, kept in minimal(tool).items() if key != name}
            absent = await client.call_tool(tool.name, others)
        assert given.content[0].text == absent.content[0].text

    @pytest.mark.parametrize("value", [[], "[]", [None], ""], ids=str)
    @pytest.mark.parametrize(
        ("tool", "name"), OPTIONAL_LISTS, ids=lambda item: getattr(item, "name", item)
    )
    async def test_an_empty_list_means_that_an_optional_list_is_absent(
        self, tool, name, value, minimal, call
    ):
        absent = await call(tool.name, minimal(tool))
        empty = await call(tool.name, minimal(tool) | {name: value})
        assert empty.text == absent.text
        assert not empty.is_error

    async def test_an_empty_path_and_referrer_are_values(self, call, api):
        await call("track_event", {"event": "a", "path": "", "referrer": ""})
        (body,) = api.sent("/v1/track")
        assert (body["path"], body["referrer"]) == ("", "")

    @pytest.mark.parametrize(
        ("tool", "name", "text", "path"),
        [
            pytest.param("stats", "group_by", '["source", "medium"]', "/v1/stats", id="list"),
            pytest.param("stats", "group_by", "source, medium", "/v1/stats", id="comma list"),
            pytest.param("raw_events", "limit", "7", "/v1/query", id="number"),
        ],
    )
    async def test_json_text_is_read_as_its_value(self, tool, name, text, path, call, api):
        outcome = await call(tool, {name: text})
        assert not outcome.is_error
        expected = {"group_by": "source,medium", "limit": "7"}[name]
        assert api.asked(path)[0][name] == expected

    async def test_json_text_of_an_object_and_of_events_is_read(self, call, api):
        await call("track_event", {"event": "a", "properties": '{"plan": "free"}'})
        assert api.sent("/v1/track")[0]["properties"] == {"plan": "free"}
        await call("batch", {"events": json.dumps([{"event": "a"}, {"event": "b"}])})
        assert [event["event"] for event in api.sent("/v1/batch")[0]["events"]] == ["a", "b"]

    async def test_json_text_of_a_switch_is_read(self, call):
        outcome = await call("stats", {"interval": "day", "fill_empty": "true", "from": "2d"})
        assert len(outcome.data["rows"]) == 3

    @pytest.mark.parametrize("name", ["url", "timestamp", "user_id", "properties", "session_id"])
    @pytest.mark.parametrize("value", [None, ""], ids=["null", "empty text"])
    async def test_null_and_empty_text_in_an_event_of_a_batch_mean_absent(
        self, name, value, call, api
    ):
        await call("batch", {"events": [{"event": "a", "path": "", name: value}]})
        (body,) = api.sent("/v1/batch")
        assert body["events"] == [{"event": "a", "event_id": "id-1-0", "path": ""}]

    @pytest.mark.parametrize(
        "event",
        [
            pytest.param('{"event": "a", "properties": {"plan": "free"}}', id="the event"),
            pytest.param({"event": "a", "properties": '{"plan": "free"}'}, id="its properties"),
        ],
    )
    async def test_json_text_within_a_batch_is_read(self, event, call, api):
        await call("batch", {"events": [event]})
        assert api.sent("/v1/batch")[0]["events"][0]["properties"] == {"plan": "free"}

    @pytest.mark.parametrize("value", ["true", "True", True], ids=repr)
    async def test_a_switch_may_be_written_as_python_does(self, value, call):
        outcome = await call("stats", {"interval": "day", "fill_empty": value, "from": "2d"})
        assert len(outcome.data["rows"]) == 3

    @pytest.mark.parametrize("value", [7.0, "7", "7.0", " 7 "], ids=repr)
    async def test_a_whole_number_may_be_written_in_any_way(self, value, call, api):
        await call("raw_events", {"limit": value})
        assert api.asked("/v1/query")[0]["limit"] == "7"

    @pytest.mark.parametrize("value", [7.5, "7.5", "seven", "[7]"], ids=repr)
    async def test_another_number_is_refused(self, value, call, api):
        outcome = await call("raw_events", {"limit": value})
        assert outcome.lines[1].startswith("- limit: Input should be a valid integer")
        assert api.requests == []

    @pytest.mark.parametrize(
        ("tool", "name"), [("stats", "interval"), ("stats", "metric"), ("top_sources", "compare")]
    )
    async def test_the_word_null_for_one_of_several_values_means_absent(self, tool, name, call):
        given = await call(tool, {name: "null"})
        assert given.text == (await call(tool, {})).text

    @pytest.mark.parametrize(
        ("tool", "arguments"),
        [
            ("track_event", {"event": "a", "properties": []}),
            ("identify", {"anonymous_id": "a", "user_id": "u", "traits": "[]"}),
            ("batch", {"events": [{"event": "a", "properties": []}]}),
            ("stats", {"filters": []}),
        ],
    )
    async def test_an_empty_list_is_an_empty_object(self, tool, arguments, call):
        assert not (await call(tool, arguments)).is_error

    async def test_an_item_of_a_list_may_hold_several_names(self, call, api):
        await call("stats", {"group_by": ["source, medium", None]})
        assert api.requests[0].url.params["group_by"] == "source,medium"

    @pytest.mark.parametrize("tool", ["raw_events", "top_sources"])
    async def test_a_source_with_brackets_is_no_list(self, tool, call, api):
        assert not (await call(tool, {"source": "[]"})).is_error
        assert {request.url.params.get("source", "[]") for request in api.requests} == {"[]"}

    async def test_null_for_a_filter_means_absent(self, call, api):
        await call("stats", {"filters": {"source": None, "medium": "paid"}})
        assert "source" not in api.requests[0].url.params
        assert api.requests[0].url.params["medium"] == "paid"

    @pytest.mark.parametrize("value", [None, "", "null", [], "{}"], ids=repr)
    async def test_null_for_the_filters_of_a_step_means_absent(self, value, call, api):
        steps = [{"event": "a", "filters": value, "source": None}, {"event": "b"}]
        assert not (await call("funnel", {"steps": steps})).is_error
        assert json.loads(api.requests[0].url.params["steps"]) == [{"event": "a"}, {"event": "b"}]

    async def test_json_text_is_read_in_the_filters_of_a_step(self, call, api):
        steps = [{"event": "a", "filters": '{"source": "google"}'}, {"event": "b"}]
        assert not (await call("funnel", {"steps": steps})).is_error
        sent = json.loads(api.requests[0].url.params["steps"])
        assert sent == [{"event": "a", "source": ["google"]}, {"event": "b"}]

    @pytest.mark.parametrize("value", ["null", " ", " null "], ids=repr)
    @pytest.mark.parametrize("name", ["from", "to", "timezone"])
    async def test_a_blank_or_the_word_null_for_a_time_or_zone_means_absent(
        self, name, value, call, api
    ):
        given, absent = await call("stats", {name: value}), await call("stats", {})
        assert given.text == absent.text
        assert not given.is_error

    @pytest.mark.parametrize("value", [None, "", "null"], ids=repr)
    async def test_null_for_the_time_between_steps_means_absent(self, value, call):
        steps = [{"event": "a"}, {"event": "b"}]
        outcome = await call("funnel", {"steps": steps, "within": value})
        assert "within 7d" in outcome.text

    async def test_json_text_of_a_list_is_read_in_a_filter_of_a_column(self, call, api):
        await call("stats", {"filters": {"source": '["google", "bing"]'}})
        assert api.requests[0].url.params.get_list("source") == ["google", "bing"]

    async def test_half_an_emoji_in_json_text_is_replaced(self, call, api):
        await call("track_event", {"event": "a", "properties": r'{"t": "\ud83d"}'})
        assert api.sent("/v1/track")[0]["properties"] == {"t": "\ufffd"}

    async def test_a_text_that_looks_like_json_stays_a_text(self, call, api):
        await call("track_event", {"event": "7", "user_id": "null", "path": "[1]"})
        (body,) = api.sent("/v1/track")
        assert (body["event"], body["user_id"], body["path"]) == ("7", "null", "[1]")

    @pytest.mark.parametrize("tool", ["stats", "raw_events", "top_sources"])
    async def test_true_is_no_number(self, tool, call, api):
        outcome = await call(tool, {"limit": True})
        assert "limit: Input should be a valid integer" in outcome.text
        assert api.requests == []

    @MODES
    @pytest.mark.parametrize(
        "params",
        [
            *({}, {"arguments": None}, {"arguments": {}}, {"arguments": []}),
            *({"arguments": ""}, {"arguments": "{}"}, {"arguments": "null"}),
        ],
        ids=repr,
    )
    async def test_no_arguments_may_be_written_in_any_way(self, params, mode, connect):
        result = await send(connect, mode, {"name": "track_event", **params})
        assert result.content[0].text == "Fix the arguments:\n- event: Field required"
        result = await send(connect, mode, {"name": "top_sources", **params})
        assert not result.is_error

    @MODES
    async def test_arguments_may_be_json_text(self, mode, connect, api):
        arguments = json.dumps({"event": "signup"})
        result = await send(connect, mode, {"name": "track_event", "arguments": arguments})
        assert not result.is_error
        assert api.sent("/v1/track")[0]["event"] == "signup"

    @MODES
    @pytest.mark.parametrize("arguments", [[1], "x", "[1]", 7, True], ids=repr)
    async def test_other_arguments_that_are_no_object_are_invalid(
        self, arguments, mode, connect, api
    ):
        failure = await refuse(connect, mode, {"name": "identify", "arguments": arguments})
        assert (failure.code, str(failure)) == (-32602, "arguments: must be an object")
        assert api.requests == []


async def send(connect, mode, params):
    async with connect(mode=mode) as client:
        request = Request[Any, Any](method="tools/call", params=params)
        return await client.session.send_request(request, CallToolResult)


async def refuse(connect, mode, params):
    async with connect(mode=mode) as client:
        request = Request[Any, Any](method="tools/call", params=params)
        with pytest.raises(MCPError) as failure:
            await client.session.send_request(request, CallToolResult)
    return failure.value


async def test_the_timezone_of_the_server_is_the_default(call, api):
    await call("stats", {"from": "2026-05-01", "to": "2026-05-02"}, timezone="Europe/Berlin")
    assert api.asked("/v1/stats")[0]["from"] == "2026-04-30T22:00:00.000Z"


async def test_the_default_window_is_the_last_30_days(call, api):
    await call("top_sources", {})
    asked = api.asked("/v1/sources")[0]
    end = "2026-05-17T12:00:01.000Z"
    assert (asked["from"], asked["to"]) == ("2026-04-17T12:00:01.000Z", end)


async def test_an_unknown_tool_is_a_protocol_error_that_lists_the_tools(connect):
    async with connect() as client:
        with pytest.raises(MCPError, match="track_event, identify, batch") as failure:
            await client.call_tool("delete_everything", {})
    assert failure.value.code == -32602


@MODES
@pytest.mark.parametrize("params", [{}, {"name": None}, {"name": 7}, {"name": ["stats"]}], ids=repr)
async def test_a_call_without_a_name_is_invalid(params, mode, connect):
    assert (await refuse(connect, mode, params)).code == -32602
