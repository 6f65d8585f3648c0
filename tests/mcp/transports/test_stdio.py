"""The server on stdio, as the child process that clients start."""

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time

import pytest
from mcp import Client, StdioServerParameters

from millimetric_mcp.mcp.tools import TOOLS

pytestmark = pytest.mark.slow

WRITE_KEY = "sk_test_WRITEKEY_" + "w" * 32
READ_KEY = "rk_test_READKEY0_" + "r" * 32
DEADLINE_S = 20
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


def ask_tool(number, name, arguments):
    return {
        "jsonrpc": "2.0",
        "id": number,
        "method": "tools/call",
        "params": {"name": name, "arguments": arguments},
    }


class Wire:
    """A child process spoken to line by line."""

    def __init__(self, process):
        self.process = process

    async def send(self, *messages):
        for message in messages:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
        await self.process.stdin.drain()

    async def receive(self):
        return json.loads(await asyncio.wait_for(self.process.stdout.readline(), DEADLINE_S))

    async def open(self):
        await self.send(INITIALIZE)
        await self.receive()
        await self.send(INITIALIZED)


@pytest.fixture
async def spawn(environ):
    children = []

    async def start(*command, **variables):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(command or ("-m", "millimetric_mcp")),
            env=environ | variables,
            limit=1 << 24,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        children.append(process)
        return Wire(process)

    yield start
    for process in children:
        if process.returncode is None:
            process.kill()
        process.stdin.close()
        await process.communicate()


@pytest.mark.parametrize("mode", ["legacy", "auto"], ids=["handshake", "2026-07-28"])
async def test_a_client_lists_and_calls_tools(mode, environ, upstream):
    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-m", "millimetric_mcp"],
        env=environ | {"MILLIMETRIC_KEY": WRITE_KEY, "MILLIMETRIC_RK": READ_KEY},
    )
    async with Client(parameters, mode=mode) as client:
        assert len((await client.list_tools()).tools) == len(TOOLS)
        result = await client.call_tool("stats", {})
    assert result.structured_content["total"] == 7
    assert upstream.keys == [READ_KEY]


async def test_the_end_of_stdin_ends_the_server(spawn):
    child = await spawn()
    await child.open()
    child.process.stdin.close()
    assert await asyncio.wait_for(child.process.wait(), DEADLINE_S) == 0
    assert await child.process.stderr.read() == b""


async def test_text_is_read_and_answered_whatever_the_machine_s_encoding_and_warnings(spawn):
    machine = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    child = await spawn(**machine, PYTHONWARNINGS="error", MILLIMETRIC_RK=READ_KEY)
    call = json.dumps(ask_tool(2, "stats", {"\u2028é😀": 1}), ensure_ascii=False)
    lines = [json.dumps(INITIALIZE), "", json.dumps(INITIALIZED), "   ", call, ""]
    child.process.stdin.write("\r\n".join(lines).encode())
    child.process.stdin.close()

    assert (await child.receive())["id"] == 1
    answer = await child.receive()
    assert "\\u2028é😀" in answer["result"]["content"][0]["text"]
    assert await asyncio.wait_for(child.process.wait(), DEADLINE_S) == 0
    assert await child.process.stderr.read() == b""


def test_input_that_can_t_be_read_ends_the_server(environ, tmp_path):
    """A terminal that is closed may fail instead of ending; so does a file open for writing."""
    unreadable = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    try:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "millimetric_mcp"],
            env=environ,
            stdin=unreadable,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    finally:
        os.close(unreadable)
    with process:
        _, stderr = process.communicate(timeout=DEADLINE_S)
        assert (process.returncode, stderr) == (0, b"")


def test_a_client_that_closes_stdout_ends_the_server(environ):
    process = subprocess.Popen(
        [sys.executable, "-m", "millimetric_mcp"],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        process.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        process.stdin.write(b'{"jsonrpc": "2.0", "id": 2, "method": "ping"}\n')
        process.stdin.flush()
        assert process.wait(DEADLINE_S) == 0
        assert process.stderr.read() == b""


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_a_signal_ends_the_server_cleanly_while_it_waits_for_input(signum, spawn):
    child = await spawn()
    await child.open()
    child.process.send_signal(signum)
    assert await asyncio.wait_for(child.process.wait(), DEADLINE_S) == 0
    assert await child.process.stderr.read() == b""


async def test_a_signal_during_a_call_drops_the_request_and_ends_cleanly(spawn, upstream):
    upstream.held.add("/v1/stats")
    child = await spawn(MILLIMETRIC_RK=READ_KEY)
    await child.open()
    await child.send(ask_tool(2, "stats", {}))
    assert await asyncio.to_thread(upstream.arrived.wait, DEADLINE_S)
    started = time.monotonic()
    child.process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(child.process.wait(), DEADLINE_S) == 0
    assert time.monotonic() - started < 30
    assert await asyncio.to_thread(upstream.dropped.wait, DEADLINE_S)


async def test_a_cancelled_call_drops_the_request_to_the_api(spawn, upstream):
    upstream.held.add("/v1/stats")
    child = await spawn(MILLIMETRIC_RK=READ_KEY)
    await child.open()
    await child.send(ask_tool(2, "stats", {}))
    assert await asyncio.to_thread(upstream.arrived.wait, DEADLINE_S)
    await child.send(
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}}
    )
    assert await asyncio.to_thread(upstream.dropped.wait, DEADLINE_S)
    upstream.held.clear()
    await child.send(ask_tool(3, "stats", {}))
    while (await child.receive()).get("id") != 3:
        pass


async def test_broken_input_does_not_end_the_server(spawn):
    child = await spawn()
    await child.open()
    child.process.stdin.write(b"this is not JSON\n\xff\xfe\n")
    for request_id in ([], {}, None, 1.5):
        await child.send(
            {
                "jsonrpc": "2.0",
                "method": "notifications/cancelled",
                "params": {"requestId": request_id},
            }
        )
    await child.send({"jsonrpc": "2.0", "id": 9, "method": "ping"})
    while (await child.receive()).get("id") != 9:
        pass


@pytest.mark.parametrize(
    ("line", "code", "request_id"),
    [
        pytest.param(b"{bad", -32700, None, id="not JSON"),
        pytest.param(b"\xff\xfe", -32700, None, id="not UTF-8"),
        pytest.param(b"[]", -32600, None, id="an array"),
        pytest.param(b'"x"', -32600, None, id="a string"),
        pytest.param(b"[" * 100_000, -32700, None, id="too deep"),
        pytest.param(b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600, None, id="id is null"),
        pytest.param(
            b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600, None, id="id is a fraction"
        ),
        pytest.param(b'{"jsonrpc":"2.0","id":7}', -32600, 7, id="no method"),
        pytest.param(b'{"id":"seven","method":"ping"}', -32600, "seven", id="no version"),
        pytest.param(b'{"jsonrpc":"2.0","id":7,"result":[]}', -32600, None, id="a wrong answer"),
    ],
)
async def test_a_line_without_a_message_is_answered(line, code, request_id, spawn):
    child = await spawn(MILLIMETRIC_KEY=WRITE_KEY)
    await child.open()
    child.process.stdin.write(b"\n" + line + b"\n")
    answer = await child.receive()
    assert (answer["id"], answer["error"]["code"]) == (request_id, code)
    await child.send({"jsonrpc": "2.0", "id": 9, "method": "ping"})
    assert (await child.receive())["id"] == 9


async def test_a_byte_order_mark_and_half_an_emoji_are_read(spawn):
    child = await spawn(MILLIMETRIC_RK=READ_KEY)
    opening = json.dumps(INITIALIZE).encode()
    child.process.stdin.write(b"\xef\xbb\xbf" + opening + b"\n")
    assert "result" in await child.receive()
    await child.send(INITIALIZED)
    call = json.dumps(ask_tool("half @", "stats", {"event": "hi @"})).replace("@", "\\ud83d")
    child.process.stdin.write(call.encode() + b"\n")
    answer = await child.receive()
    assert answer["id"] == "half \ufffd"
    assert 'Total 7 events of "hi \ufffd"' in answer["result"]["content"][0]["text"]


async def test_a_line_over_the_limit_is_answered_and_the_next_one_read(spawn):
    child = await spawn()
    await child.open()
    child.process.stdin.write(b'{"x":"' + b"x" * (40 << 20) + b'"}\n')
    answer = await child.receive()
    assert (answer["error"]["code"], answer["id"]) == (-32600, None)
    assert "16 MiB" in answer["error"]["message"]
    await child.send({"jsonrpc": "2.0", "id": 9, "method": "ping"})
    assert (await child.receive())["id"] == 9


async def test_a_notification_is_never_answered_even_with_an_id_of_null(spawn):
    child = await spawn()
    await child.send(INITIALIZE)
    await child.receive()
    await child.send(INITIALIZED | {"id": None}, {"jsonrpc": "2.0", "id": 9, "method": "ping"})
    assert (await child.receive())["id"] == 9


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        pytest.param({"MILLIMETRIC_KEY": READ_KEY}, "MILLIMETRIC_KEY", id="rk in KEY"),
        pytest.param({"MILLIMETRIC_RK": WRITE_KEY}, "MILLIMETRIC_RK", id="sk in RK"),
        pytest.param({"MILLIMETRIC_RK": "pk_test_" + "p" * 41}, "MILLIMETRIC_RK", id="pk in RK"),
    ],
)
async def test_a_key_of_the_wrong_kind_is_named_at_start_and_not_printed(variables, named, spawn):
    child = await spawn(**variables)
    assert await asyncio.wait_for(child.process.wait(), DEADLINE_S) == 2
    said = (await child.process.stderr.read()).decode()
    assert named in said
    assert "kind" in said
    for value in variables.values():
        assert value not in said
        assert value[:16] not in said
    assert await child.process.stdout.read() == b""


UNSENDABLE = {
    "white space": "sk_test_PLANTED1 planted",
    "a newline at the end": WRITE_KEY + "\n",
    "a tab": "sk_test_PLANTED1\tplanted",
    "another script": "sk_test_PLANTED1_ключ",
}


@pytest.mark.parametrize("value", UNSENDABLE.values(), ids=UNSENDABLE)
@pytest.mark.parametrize("variable", ["MILLIMETRIC_KEY", "MILLIMETRIC_RK", "MILLIMETRIC_MCP_TOKEN"])
async def test_a_secret_that_can_t_be_sent_is_named_at_start_and_not_printed(
    variable, value, spawn
):
    value = value.replace("sk_", "rk_") if variable == "MILLIMETRIC_RK" else value
    child = await spawn(**{variable: value})
    assert await asyncio.wait_for(child.process.wait(), DEADLINE_S) == 2
    said = (await child.process.stderr.read()).decode()
    assert (
        said == f"millimetric-mcp: {variable}: holds white space or characters that can't be sent\n"
    )


NOT_WHOLE = {
    "nothing but a kind": "sk_",
    "the example's": "sk_live_...",
    "nonsense": "sk_live_PLANTED",
    "another environment": "sk_prod_PLANTED1_" + "w" * 32,
    "cut short": WRITE_KEY[:-1],
}


@pytest.mark.parametrize("value", NOT_WHOLE.values(), ids=NOT_WHOLE)
async def test_an_incomplete_key_is_named_at_start_and_left_to_the_api(value, spawn):
    child = await spawn(MILLIMETRIC_KEY=value, MILLIMETRIC_RK=READ_KEY)
    await child.open()
    child.process.stdin.close()
    assert await asyncio.wait_for(child.process.wait(), DEADLINE_S) == 0
    said = (await child.process.stderr.read()).decode()
    assert "MILLIMETRIC_KEY is not a complete key" in said
    assert "MILLIMETRIC_RK" not in said
    assert value == "sk_" or value not in said
    assert said.count("\n") == 1


async def test_nothing_but_protocol_is_written_to_stdout(spawn, upstream):
    child = await spawn(MILLIMETRIC_RK=READ_KEY)
    await child.open()
    await child.send(ask_tool(2, "stats", {}))
    answer = await child.receive()
    assert answer["id"] == 2
    child.process.stdin.close()
    assert await child.process.stdout.read() == b""


def list_tools(number):
    return {"jsonrpc": "2.0", "id": number, "method": "tools/list"}


MANY = range(2, 62)
"""Requests whose answers fill any pipe several times."""


async def test_answers_wait_while_the_pipe_is_full_and_arrive_whole(spawn):
    child = await spawn()
    await child.open()
    child.process.stdout._transport.pause_reading()
    await child.send(*map(list_tools, MANY))
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(child.process.wait(), 0.5)
    child.process.stdout._transport.resume_reading()
    answers = [await child.receive() for _ in MANY]
    assert {answer["id"] for answer in answers} == set(MANY)
    assert all(len(answer["result"]["tools"]) == len(TOOLS) for answer in answers)


def test_a_signal_ends_the_server_while_its_client_does_not_read(environ):
    process = subprocess.Popen(
        [sys.executable, "-m", "millimetric_mcp"],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        for message in (INITIALIZE, INITIALIZED, *map(list_tools, MANY)):
            process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()
        wait_for_full_pipe(process.stdout)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
        assert process.stderr.read() == b""


def wait_for_full_pipe(stream):
    """Until much waits to be read and no more is written."""
    waiting = [0]
    while waiting[-1] < 32 * 1024 or len(set(waiting[-20:])) > 1:
        time.sleep(0.01)
        found = fcntl.ioctl(stream, termios.FIONREAD, bytes(4))
        waiting.append(int.from_bytes(found, sys.byteorder))
        assert len(waiting) < DEADLINE_S * 100


TALKATIVE_SERVER = """
import anyio, subprocess
from millimetric_mcp.client.client import MillimetricClient
from millimetric_mcp.mcp.server import Caller, build_server
from millimetric_mcp.mcp.stdio import serve_stdio

client = MillimetricClient(api_url="http://api.test", write_key=None, read_key=None)

def find_caller(_request):
    print("a stray line", flush=True)
    subprocess.run(["echo", "a child's line"], check=True)
    return Caller(client)

anyio.run(serve_stdio, build_server(find_caller=find_caller))
"""


async def test_other_output_to_stdout_goes_to_stderr(spawn):
    child = await spawn("-c", TALKATIVE_SERVER)
    await child.open()
    await child.send(list_tools(2))
    assert (await child.receive())["id"] == 2
    child.process.stdin.close()
    assert await child.process.stdout.read() == b""
    assert await child.process.stderr.read() == b"a stray line\na child's line\n"


MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


async def test_a_client_that_closes_stdin_still_gets_its_answer(spawn):
    wire = await spawn(MILLIMETRIC_KEY=WRITE_KEY, MILLIMETRIC_RK=READ_KEY)
    await wire.send(
        {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": MODERN}}
    )
    wire.process.stdin.close()

    assert len((await wire.receive())["result"]["tools"]) == len(TOOLS)
    assert await asyncio.wait_for(wire.process.wait(), DEADLINE_S) == 0


CAN_ASK = INITIALIZE | {
    "params": INITIALIZE["params"] | {"capabilities": {"elicitation": {"form": {}}}}
}


async def read_to_the_end(wire):
    """What the child still writes, by id; it ends in time and cleanly."""
    written = await asyncio.wait_for(wire.process.stdout.read(), DEADLINE_S)
    assert await asyncio.wait_for(wire.process.wait(), DEADLINE_S) == 0
    return {message.get("id"): message for message in map(json.loads, written.splitlines())}


async def test_a_client_that_closes_stdin_during_a_question_ends_the_server(spawn, upstream):
    wire = await spawn(MILLIMETRIC_KEY=WRITE_KEY)
    await wire.send(CAN_ASK)
    await wire.receive()
    await wire.send(INITIALIZED, ask_tool(2, "forget", {"user_id": "u"}))
    assert (await wire.receive())["method"] == "elicitation/create"
    wire.process.stdin.close()

    result = (await read_to_the_end(wire))[2]["result"]
    assert result["isError"]
    assert "nothing was sent" in result["content"][0]["text"]
    assert upstream.keys == []


async def test_a_client_that_closes_stdin_before_a_question_ends_the_server(spawn, upstream):
    upstream.held.add("/v1/query")  # the server counts the events before it asks
    wire = await spawn(MILLIMETRIC_KEY=WRITE_KEY, MILLIMETRIC_RK=READ_KEY)
    await wire.send(CAN_ASK)
    await wire.receive()
    await wire.send(INITIALIZED, ask_tool(2, "forget", {"user_id": "u"}))
    wire.process.stdin.close()

    result = (await read_to_the_end(wire))[2]["result"]
    assert result["isError"]
    assert "nothing was sent" in result["content"][0]["text"]
    assert WRITE_KEY not in upstream.keys
