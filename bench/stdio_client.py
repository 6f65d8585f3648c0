"""An MCP client of as little as possible: lines of JSON over a child's pipes, one at a time."""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bench.processes import stop

PROTOCOL_VERSION = "2025-11-25"


class StdioServer:
    """A server that was spawned and initialised; ``ready_in_s`` is how long that took."""

    def __init__(self, child: "subprocess.Popen[bytes]", *, began_s: float) -> None:
        self.process_id = child.pid
        self._child = child
        self._last_id = 0
        self.request(
            "initialize",
            {
                "protocolVersion": PROTOCOL_VERSION,
                "capabilities": {},
                "clientInfo": {"name": "bench", "version": "1"},
            },
        )
        self.ready_in_s = time.perf_counter() - began_s
        self._send({"method": "notifications/initialized"})

    def request(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The result of a request.

        Raises:
            RuntimeError: the server answered with an error, or ended.
        """
        self._last_id += 1
        self._send({"id": self._last_id, "method": method, "params": params})
        assert self._child.stdout is not None
        for line in self._child.stdout:
            message = json.loads(line)
            if message.get("id") == self._last_id:
                break
        else:
            raise RuntimeError("the MCP server ended")
        if "error" in message:
            raise RuntimeError(f"{method} failed: {message['error']}")
        result: dict[str, Any] = message["result"]
        return result

    def call(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The result of a tool.

        Raises:
            RuntimeError: the tool failed.
        """
        result = self.request("tools/call", {"name": tool, "arguments": arguments})
        if result.get("isError"):
            raise RuntimeError(f"{tool} failed: {result['content']}")
        return result

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self._child.stdin.flush()


@contextmanager
def spawn_server(
    command: Sequence[str], *, environ: Mapping[str, str] | None = None
) -> Iterator[StdioServer]:
    """The server as a child on stdio, initialised, until the end of the block."""
    began_s = time.perf_counter()
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **(environ or {})},
    )
    with child:
        try:
            yield StdioServer(child, began_s=began_s)
        finally:
            stop(child)
