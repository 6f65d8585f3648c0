"""The MCP server on stdio: one client, one message a line.

The SDK's own transport drops unreadable lines, and drops open calls when the input ends. Here,
both get their answers.
"""

import asyncio
import os
import select
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, Self

import anyio
import mcp_types as types
from anyio.streams.memory import MemoryObjectSendStream
from mcp.server.lowlevel import Server
from mcp.shared.message import SessionMessage

from millimetric_mcp.mcp.messages import Unreadable, read_message

ANSWER_GRACE_S = 60
"""Longer than a call of the API takes by default."""
MAX_LINE_BYTES = 16 * 1024 * 1024
MAX_WAITING_LINES = 2


async def serve_stdio(server: Server[Any]) -> None:
    """Serve one client on stdin and stdout until its input ends or a signal stops the server.

    Requests that came before the end of the input get their answers.
    """
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_cancel_on_signal, tasks.cancel_scope)
        with _claim_stdout() as descriptor:
            output = _Output(descriptor, tasks.cancel_scope)
            send, receive = anyio.create_memory_object_stream[SessionMessage | Exception](0)
            tasks.start_soon(_relay_input, send, output)
            async with receive:
                await server.run(receive, output, server.create_initialization_options())
        tasks.cancel_scope.cancel()


async def _relay_input(
    send: MemoryObjectSendStream[SessionMessage | Exception], output: "_Output"
) -> None:
    """Pass on the client's messages; end when each of its requests has an answer."""
    async with send:
        async for line in _read_lines(os.fdopen(os.dup(0), "rb")):
            try:
                if len(line) > MAX_LINE_BYTES:
                    raise Unreadable(types.INVALID_REQUEST, "The line is longer than 16 MiB", None)
                message = read_message(line)
            except Unreadable as unreadable:
                await output.send(SessionMessage(unreadable.answer))
                continue
            output.note_read(message)
            await send.send(SessionMessage(message))
        with anyio.move_on_after(ANSWER_GRACE_S):
            async for asked in output.wait_for_answers():
                gone = types.ErrorData(code=types.CONNECTION_CLOSED, message="The client is gone")
                error = types.JSONRPCError(jsonrpc="2.0", id=asked, error=gone)
                await send.send(SessionMessage(error))


class _Output:
    """The stream of messages to the client; knows which requests have no answer yet."""

    def __init__(self, descriptor: int, scope: anyio.CancelScope) -> None:
        self._descriptor = descriptor
        self._scope = scope
        self._lock = anyio.Lock()
        self._unanswered: set[types.RequestId | None] = set()
        self._asked: set[types.RequestId | None] = set()
        self._changed = anyio.Event()

    async def send(self, item: SessionMessage, /) -> None:
        message = item.message
        text = message.model_dump_json(by_alias=True, exclude_unset=True) + "\n"
        try:
            async with self._lock:
                await self._write(memoryview(text.encode()))
        except BrokenPipeError:  # the client closed its end
            self._scope.cancel()
        match message:
            case types.JSONRPCRequest():
                self._asked.add(message.id)
            case types.JSONRPCResponse() | types.JSONRPCError():
                self._unanswered.discard(message.id)
        self._changed.set()

    async def _write(self, rest: memoryview) -> None:
        """Write without a thread, which takes longer than most answers.

        The descriptor stays in blocking mode, because other processes may share it: a ready one
        takes ``PIPE_BUF`` bytes at once.
        """
        while rest:
            if sys.platform == "win32" or select.select((), (self._descriptor,), (), 0)[1]:
                size = getattr(select, "PIPE_BUF", 512)
                rest = rest[os.write(self._descriptor, rest[:size]) :]
            else:
                await anyio.wait_writable(self._descriptor)

    def note_read(self, message: types.JSONRPCMessage) -> None:
        match message:
            case types.JSONRPCRequest():
                self._unanswered.add(message.id)
            case types.JSONRPCResponse() | types.JSONRPCError():
                self._asked.discard(message.id)
            case types.JSONRPCNotification(
                method="notifications/cancelled", params={"requestId": str() | int() as cancelled}
            ):
                self._unanswered.discard(cancelled)

    async def wait_for_answers(self) -> AsyncIterator[types.RequestId | None]:
        """Yield the server's questions to the client, until the client's requests have answers."""
        while self._asked or self._unanswered:
            if self._asked:
                yield self._asked.pop()
                continue
            self._changed = anyio.Event()
            await self._changed.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Do nothing: the descriptor belongs to `_claim_stdout`."""


@contextmanager
def _claim_stdout() -> Iterator[int]:
    """Yield a descriptor of stdout; meanwhile, other code's output to stdout goes to stderr."""
    descriptor = os.dup(1)
    os.dup2(2, 1)
    try:
        yield descriptor
    finally:
        os.dup2(descriptor, 1)
        os.close(descriptor)


async def _cancel_on_signal(scope: anyio.CancelScope) -> None:
    if sys.platform == "win32":  # signals end the process there
        return
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()
            return


async def _read_lines(stdin: BinaryIO) -> AsyncIterator[bytes]:
    """Yield the lines that aren't blank; of one that is too long, its start.

    A daemon thread reads them: a thread that waits for input must not delay the exit.
    """
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[bytes] = asyncio.Queue()
    room = threading.Semaphore(MAX_WAITING_LINES)

    def pump() -> None:
        line = b"\n"
        with stdin, suppress(RuntimeError):  # the loop is closed
            while line:
                line = _read_line(stdin)
                room.acquire()
                loop.call_soon_threadsafe(lines.put_nowait, line)

    threading.Thread(target=pump, name="stdin", daemon=True).start()
    while line := await lines.get():
        room.release()
        if not line.isspace():
            yield line


def _read_line(stdin: BinaryIO) -> bytes:
    """Return the next line, or the start of one that is too long; nothing at the end."""
    try:
        line = rest = stdin.readline(MAX_LINE_BYTES + 1)
        while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = stdin.readline(MAX_LINE_BYTES + 1)
    except OSError:  # the terminal is gone
        return b""
    return line
