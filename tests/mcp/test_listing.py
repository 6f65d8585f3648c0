"""What the credentials allow is what is listed, and what is not listed is not done."""

import pytest
from mcp import MCPError

from millimetric_mcp.contract.keys import Scope
from millimetric_mcp.mcp.tools import TOOLS, find_tool

ALL = [tool.name for tool in TOOLS]
READS = [tool.name for tool in TOOLS if tool.scope is Scope.READ]
WRITES = [tool.name for tool in TOOLS if tool.scope is not Scope.READ]
BOTH = {}
READ_ONLY_KEY = {"write_key": None}
WRITE_ONLY_KEY = {"read_key": None}
NO_KEYS = {"write_key": None, "read_key": None}


EACH_CALLER = pytest.mark.parametrize(
    ("keys", "read_only", "expected"),
    [
        pytest.param(BOTH, False, ALL, id="both keys"),
        pytest.param(READ_ONLY_KEY, False, READS, id="rk alone"),
        pytest.param(WRITE_ONLY_KEY, False, WRITES, id="sk alone"),
        pytest.param(NO_KEYS, False, ALL, id="no key"),
        pytest.param(BOTH, True, READS, id="both keys, read-only"),
        pytest.param(WRITE_ONLY_KEY, True, READS, id="sk alone, read-only"),
        pytest.param(NO_KEYS, True, READS, id="no key, read-only"),
    ],
)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
@EACH_CALLER
async def test_the_tools_listed_follow_the_keys(keys, read_only, expected, mode, connect):
    async with connect(mode=mode, read_only=read_only, **keys) as client:
        listed = await client.list_tools()
    assert [tool.name for tool in listed.tools] == expected


@EACH_CALLER
async def test_the_refusal_of_an_unknown_tool_names_the_listed_ones(
    keys, read_only, expected, connect
):
    async with connect(read_only=read_only, **keys) as client:
        with pytest.raises(MCPError) as failure:
            await client.call_tool("top_sauces", {})
    assert str(failure.value).endswith(
        f"There is no such tool; the tools are {', '.join(expected)}."
    )


@pytest.mark.parametrize("name", ALL)
async def test_without_a_key_each_call_says_how_to_set_one_up(name, minimal, call, api):
    outcome = await call(name, minimal(find_tool(name)), **NO_KEYS)
    assert outcome.is_error
    assert outcome.text.startswith("A person must change the configuration: MILLIMETRIC_")
    variable, kind = ("MILLIMETRIC_RK", "rk") if name in READS else ("MILLIMETRIC_KEY", "sk")
    assert f"{variable} is not set" in outcome.text
    assert f"keys create --kind {kind}" in outcome.text
    assert api.requests == []


@pytest.mark.parametrize("name", WRITES)
async def test_a_read_only_server_writes_nothing(name, minimal, call, api):
    outcome = await call(name, minimal(find_tool(name)), read_only=True)
    assert outcome.is_error
    assert "read-only" in outcome.text
    assert api.requests == []


async def test_a_read_never_uses_the_write_key(minimal, call, api):
    for name in READS:
        await call(name, minimal(find_tool(name)))
    assert {request.headers["authorization"][:10] for request in api.requests} == {"Bearer rk_"}


async def test_lists_may_be_cached_for_their_caller_only(connect):
    async with connect() as client:
        results = [
            await client.list_tools(),
            await client.list_prompts(),
            await client.list_resources(),
        ]
    assert {result.cache_scope for result in results} == {"private"}
    assert all(result.ttl_ms > 0 for result in results)


HOSTED = {tool.hosted_name: tool.name for tool in TOOLS if tool.hosted_name}


def test_the_names_of_the_hosted_server_that_differ_are_known():
    assert HOSTED == {"query_events": "raw_events", "get_stats": "stats"}


@pytest.mark.parametrize("mode", ["legacy", "auto"])
@pytest.mark.parametrize("name", HOSTED)
async def test_a_call_by_the_hosted_name_is_answered_though_it_is_not_listed(name, mode, connect):
    async with connect(mode=mode) as client:
        listed = await client.list_tools()
        by_hosted_name = await client.call_tool(name, {"from": "7d"})
        by_own_name = await client.call_tool(HOSTED[name], {"from": "7d"})
    assert name not in {tool.name for tool in listed.tools}
    assert not by_hosted_name.is_error
    assert by_hosted_name.structured_content == by_own_name.structured_content
