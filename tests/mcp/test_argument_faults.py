"""What can be wrong with an argument is told in our words: whatever our models can find."""

import json
import re
from typing import Any, get_args

import pytest
from mcp import MCPError
from mcp_types import CallToolResult, Request
from pydantic import ValidationError
from pydantic_core.core_schema import ErrorType

from millimetric_mcp.mcp.tools import TOOLS
from millimetric_mcp.mcp.tools.arguments import EXAMPLES, list_argument_names
from millimetric_mcp.mcp.tools.faults import NOT_VALID, RULES, find_faults

FOREIGN = re.compile(r"Input should|valid (tuple|dict|string|integer|boolean|list)|instance of|__")
WRONG: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 1.5, 10**30, float("nan"), float("inf"), "", " ", "yes"),
    *("x" * 100_000, "\ud800", "de", "2026-13-01", "DE\n", {}, {"a": 1}),
    *([], [None], [1], [""], ["x"], [[]], [{}], [{"event": 1}], [{"event": ""}], [[1]]),
    *(
        [{"event": "a", "properties": value}]
        for value in (1, [], {"a": float("nan")}, {"a": "x" * 9000})
    ),
    *([{"event": "a", "url": value}] for value in ("/x", "http://[", 7, "https://" + "x" * 3000)),
)
CASES = [(spec, name) for spec in TOOLS for name in list_argument_names(spec.params)]


KINDS_OF_SCHEMAS = {
    "bool": {"bool_type"},
    "enum": {"enum"},
    "int": {"int_type", "int_from_float", "greater_than_equal", "less_than_equal"},
    "model": {"model_type", "missing", "extra_forbidden"},
    "str": {"string_type", "string_too_short", "string_too_long", "string_unicode"},
    "tuple": {"tuple_type"},
}
"""What pydantic finds wrong with the schemas that arguments are made of."""
MADE_OF_OTHERS = {"default", "definitions", "function-after", "function-before", "nullable"} | {
    "definition-ref",
    "model-field",
    "model-fields",
    "datetime",  # after a check of ours, which lets times pass only
    "any",
}


def test_every_kind_of_schema_that_arguments_are_made_of_is_known():
    known = set(get_args(ErrorType)) | set(KINDS_OF_SCHEMAS) | MADE_OF_OTHERS
    for spec in TOOLS:
        spec.params.model_rebuild(force=True)
        found = set(list_types(spec.params.__pydantic_core_schema__))
        assert found <= set(KINDS_OF_SCHEMAS) | MADE_OF_OTHERS, spec.name
    for kinds in KINDS_OF_SCHEMAS.values():
        assert kinds <= set(RULES) <= known


def list_types(schema):
    """The kind of every core schema within a core schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("type"), str):
            yield schema["type"]
        for name, value in schema.items():
            if name not in {
                "serialization",
                "metadata",
                "ref",
                "config",
                "cls",
                "default",
                "function",
            }:
                yield from list_types(value)
    elif isinstance(schema, list | tuple):
        for value in schema:
            yield from list_types(value)


def find_all_faults():
    for spec, name in CASES:
        required = spec.input_schema.get("required", [])
        for value in WRONG:
            arguments = {other: EXAMPLES[other] for other in required} | {name: value}
            try:
                spec.params.model_validate(arguments)
            except ValidationError as error:
                yield from ((spec.name, name, fault) for fault in find_faults(error))


def test_no_fault_is_told_in_the_words_of_a_library():
    found = set()
    for tool, name, fault in find_all_faults():
        assert not FOREIGN.search(fault.message), (tool, name, fault)
        assert fault.message != NOT_VALID, (tool, name, fault)
        assert len(fault.message) < 400
        found.add(fault.kind)
    assert found & set(get_args(ErrorType)) >= set().union(*KINDS_OF_SCHEMAS.values()) - {
        "missing",
        "extra_forbidden",
    }


@pytest.mark.parametrize(("spec", "name"), CASES, ids=lambda item: getattr(item, "name", item))
async def test_a_value_of_a_wrong_kind_is_answered_with_field_rule_and_example(
    spec, name, call, api
):
    required = spec.input_schema.get("required", [])
    wrong = 7 if name != "limit" else "x"
    outcome = await call(spec.name, {other: EXAMPLES[other] for other in required} | {name: wrong})
    assert outcome.is_error
    (line,) = outcome.lines[1:]
    assert line.startswith(f"- {name}: must be ")
    assert line.endswith(f"; for example {json.dumps(EXAMPLES[name])}")
    assert api.requests == []


@pytest.mark.parametrize(
    ("tool", "arguments", "line"),
    [
        pytest.param(
            "raw_events",
            {"country": "de"},
            '- country: must match ^[A-Z]{2}$; for example "DE"',
            id="a country in lower case",
        ),
        pytest.param(
            "raw_events",
            {"fields": []},
            '- fields: must hold at least 1 name; for example ["timestamp", "event_name", "url"]',
            id="no fields",
        ),
        pytest.param(
            "top_sources",
            {"source": "  "},
            '- source: must have at least 1 character; for example "facebook"',
            id="a blank source",
        ),
        pytest.param(
            "stats",
            {"fill_empty": "yes", "interval": "day"},
            "- fill_empty: must be true or false; for example true",
            id="a truth in words",
        ),
        pytest.param(
            "stats",
            {"fill_empty": 1, "interval": "day"},
            "- fill_empty: must be true or false; for example true",
            id="a truth in figures",
        ),
        pytest.param(
            "stats",
            {"timezone": ""},
            "- timezone: must be an IANA time zone name; for example Europe/Berlin",
            id="no time zone",
        ),
        pytest.param(
            "stats",
            {"timezone": "localtime"},
            '- timezone: must be an IANA time zone name; for example "Europe/Berlin"',
            id="this machine's zone",
        ),
        pytest.param(
            "stats",
            {"timezone": "right/UTC"},
            '- timezone: must be an IANA time zone name; for example "Europe/Berlin"',
            id="a zone with leap seconds",
        ),
        pytest.param(
            "stats",
            {"group_by": {"source": True}},
            '- group_by: must be a list; for example ["source", "medium"]',
            id="columns as an object",
        ),
        pytest.param(
            "batch",
            {"events": ["signup"]},
            "- events[0]: must be an object; "
            'for example [{"event": "signup", "user_id": "user_42"}]',
            id="an event that is a name",
        ),
    ],
)
async def test_a_wrong_value_has_its_rule(tool, arguments, line, call, api):
    outcome = await call(tool, arguments)
    assert outcome.lines == ["Fix the arguments:", line]
    assert api.requests == []


async def test_a_window_s_faults_are_told_with_all_the_others(call):
    arguments = {
        "from": "sometime",
        "to": "never",
        "timezone": "Berlin",
        "metric": "clicks",
        "fill_empty": True,
        "limit": 0,
        "nonsense": 1,
    }
    outcome = await call("stats", arguments)
    told = [line.split(":")[0].removeprefix("- ") for line in outcome.lines[1:]]
    assert told == ["timezone", "from", "to", "metric", "fill_empty", "limit", "nonsense"]


@pytest.mark.parametrize(
    ("tool", "arguments", "told"),
    [
        pytest.param(
            "track_event",
            {"event": "a", "timestamp": "2099-01-01T00:00:00Z", "extra": 1},
            {"extra", "timestamp"},
            id="track_event",
        ),
        pytest.param(
            "batch",
            {
                "events": [
                    {"event": "a", "timestamp": "2099-01-01T00:00:00Z"},
                    {"event": ""},
                    {"event": "b", "timestamp": "1969-01-01T00:00:00Z"},
                ]
            },
            {"events[0].timestamp", "events[1].event", "events[2].timestamp"},
            id="batch",
        ),
    ],
)
async def test_a_time_out_of_range_is_told_with_all_the_others(tool, arguments, told, call, api):
    outcome = await call(tool, arguments)
    assert {line.split(":")[0].removeprefix("- ") for line in outcome.lines[1:]} == told
    assert api.requests == []


async def test_a_window_that_runs_backwards_is_told_with_the_others(call):
    outcome = await call("raw_events", {"from": "now", "to": "7d", "limit": 0})
    assert [line.split(":")[0] for line in outcome.lines[1:]] == ["- from", "- limit"]


async def test_a_window_of_wrong_types_is_told_once(call):
    outcome = await call("stats", {"from": 7, "to": "never"})
    assert [line.split(":")[0] for line in outcome.lines[1:]] == ["- to", "- from"]


MODES = pytest.mark.parametrize("mode", ["legacy", "auto"], ids=["handshake", "2026-07-28"])


async def send(connect, mode, params):
    async with connect(mode=mode) as client:
        request = Request[Any, Any](method="tools/call", params=params)
        return await client.session.send_request(request, CallToolResult)


@MODES
@pytest.mark.parametrize("arguments", [[], [1], "x", 7, True], ids=repr)
async def test_arguments_that_are_no_object_are_told_as_any_other_fault(
    arguments, mode, connect, api
):
    result = await send(connect, mode, {"name": "identify", "arguments": arguments})
    assert result.is_error
    assert result.content[0].text == (
        "Fix the arguments:\n- arguments: must be an object; "
        'for example {"anonymous_id": "u_abc", "user_id": "user_42"}'
    )
    assert api.requests == []


@MODES
@pytest.mark.parametrize("params", [{}, {"arguments": None}, {"arguments": {}}], ids=repr)
async def test_arguments_that_are_missing_are_none(params, mode, connect, api):
    result = await send(connect, mode, {"name": "forget", **params})
    assert result.content[0].text == (
        'Fix the arguments:\n- user_id: is required; for example "user_42"'
    )
    result = await send(connect, mode, {"name": "top_sources", **params})
    assert not result.is_error


@MODES
@pytest.mark.parametrize("params", [{}, {"name": None}, {"name": 7}, {"name": ["stats"]}], ids=repr)
async def test_a_call_without_a_tool_s_name_lists_the_tools(params, mode, connect):
    async with connect(mode=mode) as client:
        request = Request[Any, Any](method="tools/call", params=params)
        with pytest.raises(MCPError, match="name: must be the name of a tool") as failure:
            await client.session.send_request(request, CallToolResult)
    assert failure.value.code == -32602
    assert "the tools are track_event, identify" in str(failure.value)
