"""The view of MCP Apps: who is offered it, and that its document needs nothing but itself."""

import re
from base64 import b64encode
from hashlib import sha256

import pytest
from mcp.client.extension import ClientExtension
from mcp.shared.exceptions import MCPError

from millimetric_mcp.mcp import app

WITH_VIEW = {"top_sources", "stats", "funnel"}
HTML = app.build_document()
[SCRIPT] = re.findall(r'<script type="module">(.*?)</script>', HTML, re.DOTALL)
[STYLE] = re.findall(r"<style>(.*?)</style>", HTML, re.DOTALL)
MAX_BYTES = 60_000


class Views(ClientExtension):
    """A client that shows views of these media types."""

    identifier = app.EXTENSION

    def __init__(self, *mime_types):
        self.mime_types = mime_types

    def settings(self):
        return {"mimeTypes": list(self.mime_types)}


ANNOUNCED = [Views(app.MIME_TYPE)]
MODES = pytest.mark.parametrize("mode", ["auto", "legacy"])


@MODES
async def test_a_client_that_shows_views_finds_one_at_three_tools(connect, mode):
    async with connect(mode=mode, extensions=ANNOUNCED) as client:
        tools = (await client.list_tools()).tools
        listed = [str(resource.uri) for resource in (await client.list_resources()).resources]

    assert {tool.name for tool in tools if tool.meta} == WITH_VIEW
    assert all(tool.meta["ui"] == {"resourceUri": app.URI} for tool in tools if tool.meta)
    assert app.URI in listed


@MODES
@pytest.mark.parametrize("extensions", [None, [Views("text/plain")]])
async def test_a_client_without_mcp_apps_gets_no_view(connect, mode, extensions):
    async with connect(mode=mode, extensions=extensions) as client:
        tools = (await client.list_tools()).tools
        listed = [str(resource.uri) for resource in (await client.list_resources()).resources]

    assert not [tool.name for tool in tools if tool.meta]
    assert app.URI not in listed


async def test_a_tool_answers_the_same_with_a_view_and_without(connect, api, source):
    api.sources = [source("google", "organic", 12)]
    results = []
    for extensions in (None, ANNOUNCED):
        async with connect(extensions=extensions) as client:
            result = await client.call_tool("top_sources", {"from": "7d"})
            results.append((result.content, result.structured_content, result.is_error))

    assert results[0] == results[1]


async def test_the_view_is_read_as_html_for_apps(connect):
    async with connect() as client:
        [content] = (await client.read_resource(app.URI)).contents
        with pytest.raises(MCPError):
            await client.read_resource("ui://millimetric/other")

    assert (content.mime_type, content.text) == ("text/html;profile=mcp-app", HTML)
    assert content.meta["ui"] == {"prefersBorder": True}


def test_the_document_allows_its_own_script_and_style_and_nothing_else():
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]+)"', HTML)
    expected = {"default-src 'none'", "base-uri 'none'", "form-action 'none'"}
    for directive, text in (("script-src", SCRIPT), ("style-src", STYLE)):
        digest = b64encode(sha256(text.encode()).digest()).decode()
        expected.add(f"{directive} 'sha256-{digest}'")

    assert set(policy.split("; ")) == expected


def test_the_document_loads_nothing_and_holds_no_markup_sinks():
    addresses = set(re.findall(r"https?://[^\s\"'`]+", HTML))

    assert addresses == {"http://www.w3.org/2000/svg"}  # the name of a vocabulary
    assert not re.search(r"\b(?:import|export)\b.*from|\bimport\(|fetch\(|@import|url\(", HTML)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", HTML)
    assert not re.search(r"\sstyle=|\son\w+=", HTML.replace(SCRIPT, ""))
    assert len(HTML.encode()) <= MAX_BYTES
