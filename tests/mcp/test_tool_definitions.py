"""What is published of every tool, kept as snapshots that are reviewed like code.

After a wanted change: ``MILLIMETRIC_UPDATE_SNAPSHOTS=1 scripts/test -k snapshot``
"""

import json
import os

import jsonschema
import pytest

from millimetric_mcp.contract.endpoints import ENDPOINTS
from millimetric_mcp.contract.keys import Scope
from millimetric_mcp.mcp.server import INSTRUCTIONS, publish_tool
from millimetric_mcp.mcp.tools import TOOLS

UPDATE = "MILLIMETRIC_UPDATE_SNAPSHOTS"
MAX_TOKENS_OF_TOOLS = 3200
# Every conversation pays for the list of tools, used or not. Shorten descriptions first. Whoever
# adds a tool or an argument may raise the ceiling, by what it costs, and says so in the commit.
each_tool = pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)


def list_nodes(schema):
    """Every schema within a schema."""
    yield schema
    for value in schema.values():
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, dict):
                yield from list_nodes(child)


@each_tool
def test_a_tool_is_published_as_its_snapshot_says(tool, snapshots):
    path = snapshots / f"{tool.name}.json"
    published = publish_tool(tool).model_dump(mode="json", by_alias=True, exclude_none=True)
    text = json.dumps(published, indent=2, ensure_ascii=False) + "\n"
    if os.environ.get(UPDATE):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text, f"changed; see {UPDATE} in this file's head"


def test_every_snapshot_belongs_to_a_tool(snapshots):
    assert {path.stem for path in snapshots.glob("*.json")} == {tool.name for tool in TOOLS}


@each_tool
async def test_a_tool_reaches_clients_with_all_four_hints(tool, connect):
    async with connect() as client:
        listed = {item.name: item for item in (await client.list_tools()).tools}
    hints = listed[tool.name].annotations
    assert None not in (
        hints.read_only_hint,
        hints.destructive_hint,
        hints.idempotent_hint,
        hints.open_world_hint,
    )
    assert hints.read_only_hint is (tool.scope is Scope.READ)
    assert hints.destructive_hint is (tool.name == "forget")


@each_tool
async def test_the_published_schemas_are_the_models_own(tool, connect):
    async with connect() as client:
        listed = {item.name: item for item in (await client.list_tools()).tools}
    assert listed[tool.name].input_schema == tool.input_schema
    assert listed[tool.name].output_schema == tool.output_schema


@each_tool
def test_input_schemas_are_flat_and_closed(tool):
    schema = tool.input_schema
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert not {"anyOf", "oneOf", "allOf", "$defs", "$ref"} & {
        key for node in list_nodes(schema) for key in node
    }


@each_tool
def test_schemas_hold_no_titles_and_no_nulls(tool):
    for schema in (tool.input_schema, tool.output_schema):
        for node in list_nodes(schema):
            assert not isinstance(node.get("title"), str)
            assert node.get("type") != "null"
            assert node.get("default", "") is not None


@each_tool
def test_schemas_are_valid_json_schema(tool):
    jsonschema.Draft202012Validator.check_schema(tool.input_schema)
    jsonschema.Draft202012Validator.check_schema(tool.output_schema)


@each_tool
def test_every_argument_has_a_description(tool):
    assert all(argument.get("description") for argument in tool.input_schema["properties"].values())


@each_tool
def test_a_tool_calls_endpoints_of_the_contract(tool):
    assert set(tool.endpoints) <= set(ENDPOINTS)


def count_tokens(text):
    return len(pytest.importorskip("bpe_openai").get_encoding("o200k_base").encode(text))


def test_the_list_of_tools_stays_within_its_ceiling_of_tokens():
    listed = [
        {"name": tool.name, "description": tool.description, "inputSchema": tool.input_schema}
        for tool in TOOLS
    ]
    text = json.dumps(listed, separators=(",", ":"), ensure_ascii=False)
    assert count_tokens(text) <= MAX_TOKENS_OF_TOOLS


def test_the_instructions_cost_at_most_300_tokens_and_say_what_a_missing_url_means():
    assert count_tokens(INSTRUCTIONS) <= 300
    assert "without a url" in INSTRUCTIONS
    assert "direct" in INSTRUCTIONS
