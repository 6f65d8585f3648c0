"""The server on stdio: one client, a line a message, answered to the end."""

import asyncio
import os
import select
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Self, cast

import anyio
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp_types import (
    CONNECTION_CLOSED,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
)

from millimetric_mcp.mcp.messages import Unreadable, read_message

if TYPE_CHECKING:
    from mcp.shared._stream_protocols import ReadStream, WriteStream

ANSWER_GRACE_S = 60
"""Longer than a call of the API takes by default: a write's fate is told even then."""
CANCELLED = "notifications/cancelled"


class _Unanswered:
    """The requests that have no answer yet, by id: the client's, and those to the client."""

    def __init__(self) -> None:
        self._ids: set[str | int] = set()
        self._asked: set[str | int] = set()
        self._changed = anyio.Event()

    def note_read(self, message: JSONRPCMessage) -> None:
        if isinstance(message, JSONRPCRequest):
            self._ids.add(message.id)
        elif isinstance(message, JSONRPCNotification) and message.method == CANCELLED:
            given_up = (message.params or {}).get("requestId")
            if isinstance(given_up, str | int):
                self._ids.discard(given_up)
        elif isinstance(message, JSONRPCResponse | JSONRPCError) and message.id is not None:
            self._asked.discard(message.id)

    def note_written(self, item: SessionMessage) -> None:
        if isinstance(item.message, JSONRPCRequest):
            self._asked.add(item.message.id)
            self._changed.set()
        elif (
            isinstance(item.message, JSONRPCResponse | JSONRPCError) and item.message.id is not None
        ):
            self._ids.discard(item.message.id)
            self._changed.set()

    async def wait_for_none(self) -> AsyncIterator[str | int]:
        """Ends when the client, which is gone, has its answers; gives what it will not answer."""
        while self._asked or self._ids:
            if self._asked:
                yield self._asked.pop()
                continue
            self._changed = anyio.Event()
            await self._changed.wait()


@dataclass(frozen=True, slots=True)
class _Answers:
    """The stream of answers, noting each one that went out."""

    inner: "WriteStream[SessionMessage]"
    unanswered: _Unanswered

    async def send(self, item: SessionMessage, /) -> None:
        await self.inner.send(item)
        self.unanswered.note_written(item)

    async def aclose(self) -> None:
        await self.inner.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


@asynccontextmanager
async def _answering_to_the_end(
    lines: AsyncIterator[str], write: "WriteStream[SessionMessage]", unanswered: _Unanswered
) -> "AsyncIterator[ReadStream[SessionMessage | Exception]]":
    """The client's messages, ending only when what it asked before its end is answered."""
    send, receive = anyio.create_memory_object_stream[SessionMessage | Exception](0)

    async def relay() -> None:
        async with send:
            async for line in lines:
                try:
                    message = read_message(line)
                except Unreadable as unreadable:
                    await write.send(SessionMessage(unreadable.answer))
                    continue
                unanswered.note_read(message)
                await send.send(SessionMessage(message))
            with anyio.move_on_after(ANSWER_GRACE_S):
                async for asked in unanswered.wait_for_none():
                    await send.send(SessionMessage(_refuse(asked)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(relay)
        async with receive:
            yield receive
        tasks.cancel_scope.cancel()


def _refuse(asked: str | int) -> JSONRPCError:
    """The answer to a question whose client is gone."""
    gone = ErrorData(code=CONNECTION_CLOSED, message="The client is gone")
    return JSONRPCError(jsonrpc="2.0", id=asked, error=gone)


async def serve_stdio(server: Server[Any]) -> None:
    """Serve one client on stdin and stdout until it is gone or a signal says to stop.

    A client that ends its input still gets the answers to what it asked.
    """
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_on_signal, tasks.cancel_scope)
            lines = _read_lines(os.fdopen(os.dup(0), "rb"))
            unanswered = _Unanswered()
            # The library's own reader drops unreadable lines without a word: it gets none.
            nothing = cast("anyio.AsyncFile[str]", _read_nothing())
            with _claim_stdout() as stdout:
                async with (
                    stdio_server(stdin=nothing, stdout=stdout) as (unused, write),
                    unused,
                    _answering_to_the_end(lines, write, unanswered) as requests,
                ):
                    answers = _Answers(write, unanswered)
                    await server.run(requests, answers, server.create_initialization_options())
            tasks.cancel_scope.cancel()
    except* BrokenPipeError:
        pass  # the client closed its end without a word


class _Stdout:
    """Writes without a thread, whose two turns a message cost more than most answers do.

    The descriptor stays a blocking one, for others may share it: what is ready takes a chunk
    of ``PIPE_BUF`` bytes at once, and what is not ready is waited for.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def write(self, text: str) -> None:
        rest = memoryview(text.encode())
        while rest:
            if select.select((), (self._descriptor,), (), 0)[1]:
                rest = rest[os.write(self._descriptor, rest[: select.PIPE_BUF]) :]
            else:
                await anyio.wait_writable(self._descriptor)

    async def flush(self) -> None:
        """Nothing is kept back."""


@contextmanager
def _claim_stdout() -> "Iterator[anyio.AsyncFile[str] | None]":
    """The client's end of stdout; what anything else prints meanwhile goes to stderr."""
    if sys.platform == "win32":  # there, a pipe can't be asked whether it is ready
        yield None
        return
    descriptor = os.dup(1)
    os.dup2(2, 1)
    try:
        yield cast("anyio.AsyncFile[str]", _Stdout(descriptor))
    finally:
        os.dup2(descriptor, 1)
        os.close(descriptor)


async def _cancel_on_signal(scope: anyio.CancelScope) -> None:
    if sys.platform == "win32":  # there, signals end the process by themselves
        return
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()
            return


async def _read_nothing() -> AsyncIterator[str]:
    return
    yield


async def _read_lines(stdin: BinaryIO) -> AsyncIterator[str]:
    """Lines of stdin that aren't blank.

    They are read in a daemon thread: one blocked in a read must not delay the exit.
    """
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[bytes] = asyncio.Queue()

    def pump() -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody reads any more
            for line in stdin:
                loop.call_soon_threadsafe(lines.put_nowait, line)
            loop.call_soon_threadsafe(lines.put_nowait, b"")

    threading.Thread(target=pump, name="stdin", daemon=True).start()
    while line := await lines.get():
        if text := line.decode("utf-8", errors="replace").strip():
            yield text
