"""What is published of every tool, kept as snapshots that are reviewed like code.

After a wanted change: ``MILLIMETRIC_UPDATE_SNAPSHOTS=1 pytest tests/mcp/test_tool_definitions.py``
and look at the difference.
"""

import json
import os
from datetime import UTC, datetime

import jsonschema
import pytest

from millimetric_mcp.contract.endpoints import ENDPOINTS
from millimetric_mcp.contract.keys import Scope
from millimetric_mcp.mcp.server import INSTRUCTIONS, publish_tool
from millimetric_mcp.mcp.tools import TOOLS
from millimetric_mcp.mcp.tools.arguments import EXAMPLES, list_argument_names, parse_arguments

UPDATE = "MILLIMETRIC_UPDATE_SNAPSHOTS"
NAMES = [
    "track_event",
    "identify",
    "batch",
    "forget",
    "top_sources",
    "stats",
    "raw_events",
]
CHARS_PER_TOKEN = 3.6
"""Fewer than o200k packs into a token of this JSON (4.05, measured): an upper bound of tokens."""

each_tool = pytest.mark.parametrize("spec", TOOLS, ids=[spec.name for spec in TOOLS])


def list_nodes(schema):
    """Every schema within a schema."""
    yield schema
    for value in schema.values():
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, dict):
                yield from list_nodes(child)


def test_tools_are_listed_in_the_order_of_the_contract():
    assert [spec.name for spec in TOOLS] == NAMES


@each_tool
def test_a_tool_is_published_as_its_snapshot_says(spec, snapshots):
    path = snapshots / f"{spec.name}.json"
    published = publish_tool(spec).model_dump(mode="json", by_alias=True, exclude_none=True)
    text = json.dumps(published, indent=2, ensure_ascii=False) + "\n"
    if os.environ.get(UPDATE):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text, f"changed; see {UPDATE} in this file's head"


def test_every_snapshot_belongs_to_a_tool(snapshots):
    assert {path.stem for path in snapshots.glob("*.json")} == set(NAMES)


@each_tool
async def test_a_tool_reaches_clients_with_all_four_hints(spec, connect):
    async with connect() as client:
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
    hints = listed[spec.name].annotations
    assert None not in (
        hints.read_only_hint,
        hints.destructive_hint,
        hints.idempotent_hint,
        hints.open_world_hint,
    )
    assert hints.read_only_hint is (spec.scope is Scope.READ)
    assert hints.destructive_hint is (spec.name == "forget")


@each_tool
async def test_the_published_schemas_are_the_models_own(spec, connect):
    async with connect() as client:
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert listed[spec.name].input_schema == spec.input_schema
    assert listed[spec.name].output_schema == spec.output_schema


@each_tool
def test_input_schemas_are_flat_and_closed(spec):
    schema = spec.input_schema
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert not {"anyOf", "oneOf", "allOf", "$defs", "$ref"} & {
        key for node in list_nodes(schema) for key in node
    }


@each_tool
def test_schemas_hold_no_titles_and_no_nulls(spec):
    for schema in (spec.input_schema, spec.output_schema):
        for node in list_nodes(schema):
            assert not isinstance(node.get("title"), str)
            assert node.get("type") != "null"
            assert node.get("default", "") is not None


@each_tool
def test_schemas_are_valid_json_schema(spec):
    jsonschema.Draft202012Validator.check_schema(spec.input_schema)
    jsonschema.Draft202012Validator.check_schema(spec.output_schema)


@each_tool
def test_every_argument_has_an_example_that_is_right(spec):
    required = spec.input_schema.get("required", [])
    for name in list_argument_names(spec.params):
        needed = ["interval"] if name == "fill_empty" else []
        arguments = {other: EXAMPLES[other] for other in [*required, *needed, name]}
        parse_arguments(spec.params, arguments, now=datetime.now(UTC), timezone="UTC")
        jsonschema.validate(arguments, spec.input_schema)


def test_the_examples_are_those_of_arguments_there_are():
    known = {name for spec in TOOLS for name in list_argument_names(spec.params)}
    assert set(EXAMPLES) == known


@each_tool
def test_a_tool_calls_endpoints_of_its_scope(spec):
    assert set(spec.endpoints) <= set(ENDPOINTS)
    assert spec.endpoints[0].scope is spec.scope


def test_the_list_of_tools_costs_at_most_2200_tokens():
    listed = [
        {"name": spec.name, "description": spec.description, "inputSchema": spec.input_schema}
        for spec in TOOLS
    ]
    text = json.dumps(listed, separators=(",", ":"), ensure_ascii=False)
    assert len(text) / CHARS_PER_TOKEN <= 2200


def test_the_instructions_cost_at_most_300_tokens_and_say_what_a_missing_url_means():
    assert len(INSTRUCTIONS) / CHARS_PER_TOKEN <= 300
    assert "without a url" in INSTRUCTIONS
    assert "direct" in INSTRUCTIONS
