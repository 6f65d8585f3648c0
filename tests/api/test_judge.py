"""The process that judges large bodies: what becomes of a body when it dies."""

import asyncio

import pytest
import uvloop

from millimetric_mcp.api import judge
from millimetric_mcp.contract.events import TrackEvent
from millimetric_mcp.errors import RequestError

BODY = b'{"event":"x"}'.ljust(9_000_000)
LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])


@LOOPS
@pytest.mark.parametrize(
    "program",
    [
        pytest.param("import os; os.kill(os.getpid(), 9)", id="unread"),
        pytest.param(
            "import os, sys; sys.stdin.buffer.read(100_000); os.kill(os.getpid(), 9)",
            id="half read",
        ),
        pytest.param("import sys; sys.stdin.buffer.read(); sys.exit(1)", id="read"),
        pytest.param("import sys; sys.stdin.buffer.read()", id="no answer"),
    ],
)
def test_of_a_body_whose_process_dies_nothing_is_stored(monkeypatch, new_loop, program):
    monkeypatch.setattr(judge, "_PROGRAM", program)

    with asyncio.Runner(loop_factory=new_loop) as runner, pytest.raises(RequestError) as raised:
        runner.run(judge.judge_apart(TrackEvent, BODY))

    assert (raised.value.status, raised.value.retry_after_s) == (503, 1)


@LOOPS
def test_a_process_may_be_gone_before_the_body_is_sent(monkeypatch, new_loop):
    start = asyncio.create_subprocess_exec

    async def start_late(*args, **options):
        process = await start(*args, **options)
        process.kill()
        await asyncio.sleep(0.2)
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start_late)

    with asyncio.Runner(loop_factory=new_loop) as runner, pytest.raises(RequestError) as raised:
        runner.run(judge.judge_apart(TrackEvent, BODY))

    assert raised.value.status == 503


@LOOPS
def test_a_body_is_judged_on_either_loop(new_loop):
    with asyncio.Runner(loop_factory=new_loop) as runner:
        judged = runner.run(judge.judge_apart(TrackEvent, BODY))

    assert judged.event == "x"
