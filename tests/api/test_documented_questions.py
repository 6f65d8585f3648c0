"""The questions in docs/ask.md: each answer stands there as the tools give it.

Each question is a block ``json TOOL`` with the arguments, and after it a block ``text`` with the
answer, which may be empty at first. This writes the answers anew:
``UPDATE_DOCS=1 scripts/test tests/api/test_documented_questions.py``
"""

import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import httpx
from mcp import Client

from millimetric_mcp import MillimetricClient
from millimetric_mcp.contract.keys import KeyKind
from millimetric_mcp.mcp.server import Caller, build_server
from millimetric_mcp.mcp.tools import TOOLS

DOCS = Path(__file__).parents[2] / "docs"
TODAY = datetime(2026, 5, 16, 19, 30, tzinfo=UTC)
EXAMPLE = re.compile(r"```json (\w+)\n(.*?)```\n\n```text\n(.*?)```", re.S)


@asynccontextmanager
async def connect(api) -> AsyncIterator[Client]:
    """Connect an MCP client to the server in front of the API, which holds the page's events."""
    lines = (DOCS / "sample-events.ndjson").read_text().splitlines()
    sent = await api.post("/v1/batch", {"events": [json.loads(line) for line in lines]})
    assert sent.status_code == 202, sent.text
    numbers = count(1)
    async with MillimetricClient(
        api_url="http://api.test",
        write_key=api.keys[KeyKind.SK],
        read_key=api.keys[KeyKind.RK],
        transport=httpx.ASGITransport(api.app),
    ) as client:
        server = build_server(
            find_caller=lambda _: Caller(client),
            now=lambda: TODAY,
            new_id=lambda: f"id-{next(numbers)}",
        )
        async with Client(server) as connected:
            yield connected


async def test_each_documented_question_gets_the_documented_answer(api):
    page = DOCS / "ask.md"
    text = page.read_text()
    answers = []
    async with connect(api) as client:
        for name, arguments, _ in EXAMPLE.findall(text):
            result = await client.call_tool(name, json.loads(arguments))
            assert not result.is_error, (name, result.content[0].text)
            answers.append(result.content[0].text.rstrip("\n") + "\n")

    if os.environ.get("UPDATE_DOCS"):
        given = iter(answers)
        text = EXAMPLE.sub(
            lambda found: f"```json {found[1]}\n{found[2]}```\n\n```text\n{next(given)}```", text
        )
        page.write_text(text)

    assert [answer for _, _, answer in EXAMPLE.findall(text)] == answers


def test_each_tool_has_a_documented_question():
    asked = {name for name, _, _ in EXAMPLE.findall((DOCS / "ask.md").read_text())}

    assert asked == {tool.name for tool in TOOLS}, "see this file's head"
