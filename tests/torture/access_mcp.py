"""Every kind and state of key at every tool, over every transport, in both protocol eras."""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx
import httpx2
from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types.version import LATEST_HANDSHAKE_VERSION, LATEST_MODERN_VERSION

from bench.processes import find_free_port, run_server
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.keys import SCOPES, KeyKind
from millimetric_mcp.demo.processes import clean_environment
from millimetric_mcp.mcp.access import READ_KEY_HEADER, AccessError
from millimetric_mcp.mcp.tools import TOOLS
from tests.torture.access import PROJECTS, Tally, add_bad_keys, add_test_keys
from tests.torture.harness import at_least, none, run_api

COMMAND = [sys.executable, "-m", "millimetric_mcp"]
ERAS = {"legacy": LATEST_HANDSHAKE_VERSION, "auto": LATEST_MODERN_VERSION}
"""The protocol version that a client of each mode agrees on."""
TOKEN = "a-token-of-the-mcp-server"
MISSING = "no key"
"""Stands for the answer of a tool whose key was not given."""

ARGUMENTS = {
    "track_event": {"event": "x"},
    "identify": {"anonymous_id": "a", "user_id": "u"},
    "batch": {"events": [{"event": "x"}]},
    "forget": {"user_id": "u", "confirm": True},
    "stats": {"group_by": ["event_name"]},
    "raw_events": {"fields": ["event_name"], "limit": 1000},
    "funnel": {"steps": [{"event": "a"}, {"event": "b"}]},
    "retention": {"event": "x"},
}
EVENTS_WRITTEN = {"track_event": 1, "batch": 1}
NAMES_SHOWN = ("stats", "raw_events", "describe_data")
"""The tools whose answers, as they are asked here, name the events of the project."""


@dataclass(frozen=True)
class Case:
    """A key that writes, one that reads, and the codes with which the API refuses them."""

    write: str | None = None
    read: str | None = None
    write_code: str | None = None
    read_code: str | None = None

    @property
    def is_known(self):
        return self.write_code is None and self.read_code is None


VALID = (
    Case("sk", None),
    Case(None, "rk"),
    Case("sk", "rk"),
    Case("test sk", "test rk"),
    Case("other sk", "other rk"),
    Case("sk", "other rk"),
)
UNKNOWN = (
    Case("expired sk", "rk", write_code=ErrorCode.INVALID_API_KEY),
    Case("sk", "expired rk", read_code=ErrorCode.INVALID_API_KEY),
    Case("revoked sk", None, write_code=ErrorCode.INVALID_API_KEY),
    Case(None, "revoked rk", read_code=ErrorCode.INVALID_API_KEY),
    Case("sk with another secret", None, write_code=ErrorCode.INVALID_API_KEY),
    Case(None, "rk as a test key", read_code=ErrorCode.INVALID_API_KEY),
    Case("rk as sk", "sk as rk", *[ErrorCode.KEY_KIND_MISMATCH] * 2),
    Case("pk as sk", "pk as rk", *[ErrorCode.KEY_KIND_MISMATCH] * 2),
)
"""Keys that have the form of a key, so only the API finds that they are wrong."""

REFUSED = (
    (None, None, 401, ErrorCode.MISSING_BEARER_TOKEN),
    (None, "rk", 401, ErrorCode.MISSING_BEARER_TOKEN),
    ("nonsense", None, 401, ErrorCode.MALFORMED_API_KEY),
    ("cut sk", "rk", 401, ErrorCode.MALFORMED_API_KEY),
    ("sk", "cut rk", 401, ErrorCode.MALFORMED_API_KEY),
    ("pk", None, 403, AccessError.KEY_KIND_NOT_ALLOWED),
    ("test pk", None, 403, AccessError.KEY_KIND_NOT_ALLOWED),
    ("expired pk", None, 403, AccessError.KEY_KIND_NOT_ALLOWED),
    ("sk as pk", None, 403, AccessError.KEY_KIND_NOT_ALLOWED),
    ("pk", "rk", 403, AccessError.KEY_KIND_NOT_ALLOWED),
    ("sk", "pk", 403, AccessError.KEY_KIND_NOT_ALLOWED),
    ("sk", "sk", 403, AccessError.KEY_KIND_NOT_ALLOWED),
    ("rk", "pk", 403, AccessError.KEY_KIND_NOT_ALLOWED),
    ("rk", "sk", 403, AccessError.KEY_KIND_NOT_ALLOWED),
    ("rk", "other rk", 400, AccessError.AMBIGUOUS_CREDENTIALS),
)
"""A bearer and a read key beside it that no server lets in, whatever its API says."""

NOT_STARTED = (
    ("pk", None, "This is a key of kind pk. Use one that starts with sk_."),
    ("rk", None, "This is a key of kind rk. Use one that starts with sk_."),
    (None, "pk", "This is a key of kind pk. Use one that starts with rk_."),
    (None, "sk", "This is a key of kind sk. Use one that starts with rk_."),
    ("rk", "sk", "This is a key of kind rk. Use one that starts with sk_."),
    ("nonsense", None, "This is not an API key: it does not start with sk_."),
)
"""A write and a read key in the environment with which the MCP server does not start."""

WRONG_TOKENS = (
    (None, ErrorCode.MISSING_BEARER_TOKEN),
    ("nonsense", ErrorCode.INVALID_API_KEY),
    ("token and more", ErrorCode.INVALID_API_KEY),
    ("sk", ErrorCode.INVALID_API_KEY),
    ("rk", ErrorCode.INVALID_API_KEY),
    ("pk", ErrorCode.INVALID_API_KEY),
)
SERVER_ROUTES = (
    ("POST", "/mcp"),
    ("GET", "/mcp"),
    ("DELETE", "/mcp"),
    ("GET", "/sse"),
    ("POST", "/messages/"),
)
API_ROUTES = SERVER_ROUTES[:3]
MESSAGES = tuple(
    {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    for method, params in (
        (
            "initialize",
            {
                "protocolVersion": LATEST_HANDSHAKE_VERSION,
                "capabilities": {},
                "clientInfo": {"name": "torture", "version": "1"},
            },
        ),
        ("server/discover", {}),
        ("tools/list", {}),
        *(("tools/call", {"name": tool.name}) for tool in TOOLS),
    )
)


@asynccontextmanager
async def connect_stdio(keys, url, case, mode):
    server = StdioServerParameters(
        command=COMMAND[0], args=COMMAND[1:], env=set_keys(keys, url, case.write, case.read)
    )
    async with Client(stdio_client(server), mode=mode) as client:
        yield client


@asynccontextmanager
async def connect_http(url, headers, mode):
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60, trust_env=False) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


def connect_sse(url, headers, mode):
    return Client(sse_client(f"{url}/sse", headers=headers), mode=mode)


def set_keys(keys, url, write, read):
    given = {"MILLIMETRIC_KEY": write, "MILLIMETRIC_RK": read}
    values = {variable: keys[name] for variable, name in given.items() if name}
    return clean_environment(os.environ) | {"MILLIMETRIC_HOST": url} | values


def make_headers(keys, bearer, read_key=None):
    headers = {"Authorization": f"Bearer {keys[bearer]}"} if bearer else {}
    return headers | ({READ_KEY_HEADER: keys[read_key]} if read_key else {})


def send_keys(keys, case):
    """Return the headers of a case: a read key alone is the bearer."""
    return make_headers(keys, case.write or case.read, case.read if case.write else None)


def expect(case):
    """Return what each tool answers: None for a result, else the code, or `MISSING`."""
    of_kind = {KeyKind.SK: (case.write, case.write_code), KeyKind.RK: (case.read, case.read_code)}
    expected = {}
    for tool in TOOLS:
        [(key, code)] = [
            of_kind[kind] for kind in of_kind if tool.endpoints[0].scope in SCOPES[kind]
        ]
        expected[tool.name] = code if key else MISSING
    return expected


def read(result):
    """Return None for a result, else what the text says of the failure."""
    text = result.content[0].text
    if not result.is_error:
        return None
    codes = [code for code in ErrorCode if f"Code: {code}." in text]
    if codes:
        return codes[0]
    return MISSING if "To write, " in text or "To read, " in text or "send a key" in text else text


class Callers:
    """Calls every tool as each case, and counts what was written to which project."""

    def __init__(self):
        self.tally = Tally()
        self.written = Counter()

    async def try_case(self, what, connection, case, mode):
        what = f"{what}, {mode}, {case.write} and {case.read}"
        expected = expect(case)
        has_keys = case.write or case.read
        listed = [name for name, found in expected.items() if found != MISSING or not has_keys]
        async with connection as client:
            self.tally.compare(f"{what}: the version", client.protocol_version, ERAS[mode])
            names = [tool.name for tool in (await client.list_tools()).tools]
            self.tally.compare(f"{what}: the list", names, listed)
            for name, right in expected.items():
                result = await client.call_tool(name, ARGUMENTS.get(name, {}))
                self.tally.compare(f"{what}: {name}", read(result), right)
                if right is None and name in EVENTS_WRITTEN:
                    self.written[find_project(case.write)] += EVENTS_WRITTEN[name]
                seen = [project for project in PROJECTS if plant(project) in str(result)]
                if right is None and name in NAMES_SHOWN:
                    self.tally.compare(f"{what}: {name} of", seen, [find_project(case.read)])
                else:  # some name an event of the project where they find nothing
                    foreign = [one for one in seen if one != find_project(case.read)]
                    self.tally.compare(f"{what}: other projects in {name}", foreign, [])


def find_project(key):
    return next((one for one in PROJECTS if one and (key or "").startswith(one)), "")


def plant(project):
    """Return the name of an event that only this project has."""
    return f"planted-{project.strip() or 'first'}"


async def count_refusals(tally, url, routes, refused):
    """Send every message to every route with credentials that none lets in."""
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as http:
        for what, headers, status, code in refused:
            for method, path in routes:
                for message in MESSAGES if method == "POST" else (None,):
                    body = {"json": message} if message else {}
                    async with http.stream(method, path, headers=headers, **body) as answer:
                        # What is let in may be a stream without an end.
                        is_json = answer.headers.get("content-type") == "application/json"
                        text = await answer.aread() if is_json else "{}"
                    found = answer.status_code, json.loads(text).get("error")
                    tally.compare(f"{method} {path} with {what}", found, (status, code))


def try_starts(keys, url, tally):
    """Start the server on stdio with keys of wrong kinds."""
    for write, read_key, sentence in NOT_STARTED:
        ended = subprocess.run(
            COMMAND,
            env=set_keys(keys, url, write, read_key),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        found = ended.returncode, sentence in ended.stderr
        tally.compare(f"a start with {write} and {read_key}", found, (2, True))


async def try_callers(keys, servers, cases, modes):
    """Call every tool over every transport: stdio, three servers over HTTP, and the API."""
    callers = Callers()
    for case in (*cases, Case(None, None)):
        for mode in modes:
            connection = connect_stdio(keys, servers["api"], case, mode)
            await callers.try_case("stdio", connection, case, mode)
    over_http = [("api", case, send_keys(keys, case)) for case in cases if case.is_known]
    over_http += [("passthrough", case, send_keys(keys, case)) for case in cases]
    # The server's own keys count, whatever keys a caller sends beside the token, or without it.
    both, reads = Case("sk", "rk"), Case(None, "rk")
    over_http += [
        ("token", both, make_headers(keys, "token")),
        ("token", both, make_headers(keys, "token", "other rk")),
        ("open", reads, {}),
        ("open", reads, make_headers(keys, "other sk", "other rk")),
    ]
    for name, case, headers in over_http:
        for mode in modes:
            for connect in (connect_http, *([] if name == "api" else [connect_sse])):
                connection = connect(servers[name], headers, mode)
                await callers.try_case(f"{name}, {connect.__name__}", connection, case, mode)
    return callers


async def try_refusals(keys, servers, tally):
    refused = [
        (f"{bearer} and {read_key}", make_headers(keys, bearer, read_key), status, code)
        for bearer, read_key, status, code in REFUSED
    ]
    unknown = [
        (f"{case.write} and {case.read}", send_keys(keys, case), 401, code)
        for case in UNKNOWN
        for code in (case.write_code or case.read_code,)
    ]
    wrong_tokens = [
        (f"{name} as the token", make_headers(keys, name), 401, code) for name, code in WRONG_TOKENS
    ]
    await count_refusals(tally, servers["passthrough"], SERVER_ROUTES, refused)
    await count_refusals(tally, servers["api"], API_ROUTES, [*refused, *unknown])
    await count_refusals(tally, servers["token"], SERVER_ROUTES, wrong_tokens)


def start_servers(stack, url, keys):
    """Start an MCP server for each way to log in; return their URLs and the API's, by name."""
    own = {"MILLIMETRIC_HOST": url, "MILLIMETRIC_RK": keys["rk"]}
    servers = {"api": url}
    for name, options, environ in (
        ("passthrough", ["--auth", "passthrough"], {}),
        ("token", ["--auth", "token"], {"MILLIMETRIC_KEY": keys["sk"]}),
        ("open", [], {}),
    ):
        port = find_free_port()
        command = [*COMMAND, "serve", "--transport", "http", "--port", str(port), *options]
        command += ["--log-level", "warning"]
        token = {"MILLIMETRIC_MCP_TOKEN": TOKEN} if name == "token" else {}
        stack.enter_context(run_server(command, port=port, environ=own | environ | token))
        servers[name] = f"http://127.0.0.1:{port}"
    return servers


def run(scale, directory):
    cases = (VALID[4], UNKNOWN[0]) if scale.quick else (*VALID, *UNKNOWN)
    with run_api(directory / "data") as api, ExitStack() as stack:
        add_test_keys(api)
        add_bad_keys(api)
        api.keys |= {"token": TOKEN, "token and more": TOKEN + "x"}
        for project in PROJECTS:
            api.track(plant(project), key=f"{project}sk")
        servers = start_servers(stack, f"http://127.0.0.1:{api.port}", api.keys)
        callers = asyncio.run(try_callers(api.keys, servers, cases, tuple(ERAS)))
        refusals = Tally()
        asyncio.run(try_refusals(api.keys, servers, refusals))
        try_starts(api.keys, servers["api"], refusals)
        for project in PROJECTS:
            stored = api.count(key=f"{project}rk", event="x")
            callers.tally.compare(f"events of {project}sk", stored, callers.written[project])
        unexpected = api.count_unexpected()
    return [
        at_least(
            "calls of a tool by its caller's keys, transport and protocol version",
            callers.tally.asked,
            len(cases) * len(TOOLS) * 4,
        ),
        none(
            "of them listed, let in or refused wrongly, or of another project", callers.tally.wrong
        ),
        at_least(
            "messages with keys or tokens that no server takes",
            refusals.asked,
            len(REFUSED) * len(MESSAGES),
        ),
        none("of them taken, or refused with another code", refusals.wrong),
        none("unexpected errors of these calls", unexpected),
    ]
