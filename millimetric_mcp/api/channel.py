"""A socket in the data directory, on which this machine's commands ask the running API.

A request and its answer are one line of JSON each. Only the owner of the data directory can
connect.
"""

import asyncio
import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, chdir, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from millimetric_mcp.errors import MillimetricError, StoreUnavailable
from millimetric_mcp.web.log import log_failure

SOCKET_FILE = "api.sock"
MAX_PATH_BYTES = 100
"""Of a socket's path. Systems allow 103 or 107."""

_log = logging.getLogger(__name__)

Request = Mapping[str, Any]
Answer = Callable[[Request], Awaitable[Request]]


@asynccontextmanager
async def serve_channel(data_dir: Path, answer: Answer) -> AsyncIterator[None]:
    """Answer requests until the block ends; the caller holds the data directory's lock."""
    place = data_dir / SOCKET_FILE
    place.unlink(missing_ok=True)  # a process that was killed leaves its socket
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        with _near(data_dir) as near:
            listener.bind(near)
        place.chmod(0o600)
        server = await asyncio.start_unix_server(partial(_serve_one, answer), sock=listener)
        try:
            yield
        finally:
            server.close()
            place.unlink(missing_ok=True)


@contextmanager
def _near(data_dir: Path) -> Iterator[str]:
    """Yield a path of the socket that is short enough for the system."""
    path = str(data_dir.absolute() / SOCKET_FILE)
    if len(os.fsencode(path)) <= MAX_PATH_BYTES:
        yield path
    else:
        with chdir(data_dir):
            yield SOCKET_FILE


async def _serve_one(
    answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        result = await answer(json.loads(await reader.readline()))
    except MillimetricError as error:
        result = {"error": str(error)}
    except Exception as error:  # noqa: BLE001 - the command needs an answer
        reference = log_failure(_log, "a command's request failed", error)
        result = {"error": f"the API failed. Its log says why; look for reference {reference}"}
    with suppress(ConnectionError):  # the command may have ended
        writer.write(json.dumps(result).encode() + b"\n")
        await writer.drain()
    writer.close()


def ask(data_dir: Path, request: Request) -> dict[str, Any] | None:
    """Return the answer of the API that runs on the data directory; None if there is none.

    Raises:
        StoreUnavailable: the API failed, or stopped before it answered.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            with _near(data_dir) as near:
                connection.connect(near)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as lines:
            line = lines.readline()
    if not line:
        raise StoreUnavailable("the API stopped before it was done. Try again.")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise StoreUnavailable(answer["error"])
    return answer
