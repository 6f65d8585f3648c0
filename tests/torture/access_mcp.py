"""Every kind of key at every tool, over every transport."""

import asyncio
import os
import sys
from contextlib import asynccontextmanager

import httpx
from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from bench.processes import find_free_port, run_server
from millimetric_mcp.contract.keys import Scope
from millimetric_mcp.demo.processes import clean_environment
from millimetric_mcp.mcp.tools import TOOLS
from tests.torture.harness import at_least, none, run_api

COMMAND = [sys.executable, "-m", "millimetric_mcp"]


@asynccontextmanager
async def connect_stdio(url, write_key, read_key):
    keys = {"MILLIMETRIC_KEY": write_key, "MILLIMETRIC_RK": read_key, "MILLIMETRIC_HOST": url}
    environ = clean_environment(os.environ) | {name: key for name, key in keys.items() if key}
    server = StdioServerParameters(command=COMMAND[0], args=COMMAND[1:], env=environ)
    async with Client(stdio_client(server)) as client:
        yield client


def connect_http(path):
    @asynccontextmanager
    async def connect(url, write_key, read_key):
        headers = {"Authorization": f"Bearer {write_key or read_key}"}
        if write_key and read_key:
            headers["Millimetric-Read-Key"] = read_key
        if path == "/sse":
            async with Client(sse_client(url + path, headers=headers)) as client:
                yield client
            return
        async with (
            httpx.AsyncClient(headers=headers, timeout=60) as http,
            Client(streamable_http_client(url + path, http_client=http)) as client,
        ):
            yield client

    return connect


async def count_wrong_tools(connect, url, api):
    asked = wrong = 0
    for write_key, read_key in ((True, False), (False, True), (True, True)):
        given = (api.keys["sk"] if write_key else None, api.keys["rk"] if read_key else None)
        async with connect(url, *given) as client:
            listed = {tool.name for tool in (await client.list_tools()).tools}
            for tool in TOOLS:
                is_allowed = read_key if tool.scope is Scope.READ else write_key
                result = await client.call_tool(tool.name, MINIMAL.get(tool.name, {}))
                wrong += (tool.name in listed) is not is_allowed
                wrong += (not result.is_error) is not is_allowed
                asked += 1
    return asked, wrong


MINIMAL = {
    "track_event": {"event": "x"},
    "identify": {"anonymous_id": "a", "user_id": "u"},
    "batch": {"events": [{"event": "x"}]},
    "forget": {"user_id": "u", "confirm": True},
    "funnel": {"steps": [{"event": "a"}, {"event": "b"}]},
    "retention": {"event": "x"},
}


def run(scale, directory):
    port = find_free_port()
    own = f"http://127.0.0.1:{port}"
    serve = ["serve", "--transport", "http", "--auth", "passthrough", "--port", str(port)]
    with run_api(directory / "data") as api:
        url = f"http://127.0.0.1:{api.port}"
        with run_server([*COMMAND, *serve], port=port, environ={"MILLIMETRIC_HOST": url}):
            counts = [
                asyncio.run(count_wrong_tools(connect, where, api))
                for connect, where in (
                    (connect_stdio, url),
                    (connect_http("/mcp"), url),
                    (connect_http("/mcp"), own),
                    (connect_http("/sse"), own),
                )
            ]
        unexpected = api.count_unexpected()
    asked, wrong = (sum(values) for values in zip(*counts, strict=True))
    return [
        at_least("triples of keys, tool and transport tried", asked, 12 * len(TOOLS)),
        none("of them listed, let in or refused wrongly", wrong),
        none("unexpected errors of these calls", unexpected),
    ]
