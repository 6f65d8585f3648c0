"""HTTP connections with the limits that uvicorn lacks."""

import json
import logging
from asyncio import BaseTransport

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from millimetric_mcp.contract.codes import ErrorCode

MAX_HEAD_BYTES = 64 * 1024
MIN_READ_BYTES = 64 * 1024

_MALFORMED_BODY = json.dumps({"error": ErrorCode.INVALID_PAYLOAD}).encode()
_MALFORMED = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_MALFORMED_BODY), _MALFORMED_BODY)
)

_log = logging.getLogger(__name__)


class LimitedHttp(HttpToolsProtocol):
    """uvicorn's connection, with these limits:

    - A head is at most 64 KiB, plus one read of the socket. Trailers count too, and are ignored.
    - A head and a body are complete within ``max_wait_s``; twice as long at the most.
    - A client reads `MIN_READ_BYTES` of its response in that time.
    - At ``limit_concurrency``, a new connection closes one that waits for a request.
    """

    max_wait_s: float = 30
    _head_bytes = 0

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        if self.client:  # an IPv6 socket writes the IPv4 address 1.2.3.4 as ::ffff:1.2.3.4
            self.client = (self.client[0].removeprefix("::ffff:"), self.client[1])
        if self.limit_concurrency and len(self.connections) >= self.limit_concurrency:
            waiting = (c for c in self.connections if isinstance(c, LimitedHttp) and c.is_waiting())
            closed = next((c for c in waiting if c is not self), self)
            closed.transport.close()
            # uvloop may read a request of this one before it says that the other one is closed.
            self.connections.discard(closed)
        self._watch(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def is_waiting(self) -> bool:
        """Return whether the client has to send the rest of a head or body, or a new request."""
        is_served = self.cycle and not self.cycle.response_complete and not self.cycle.more_body
        return not is_served and not self.transport.is_closing()

    def _watch(self, last_seen: object) -> None:
        """End the connection if the client has completed or read nothing since the last call."""
        has_own_timer = self.timeout_keep_alive_task is not None
        unread_bytes = self.transport.get_write_buffer_size()
        state: object = None
        if unread_bytes:
            state = unread_bytes // MIN_READ_BYTES
        elif self.is_waiting() and not has_own_timer:
            state = (self.cycle,)
        if state is not None and state == last_seen:
            self.transport.abort()  # close waits for the reader
        self._timer = self.loop.call_later(self.max_wait_s, self._watch, state)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._read_without_upgrade(data[upgrade.args[0] :])
        except HttpParserError:
            self._refuse()
        else:
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse()

    def _refuse(self) -> None:
        _log.warning("a malformed HTTP request was refused")
        self.transport.write(_MALFORMED)
        self.transport.close()

    def _read_without_upgrade(self, rest: bytes) -> None:
        """Read the request again as one that asks for no other protocol.

        The parser takes the body of a request with an Upgrade header for the other protocol.
        Some clients ask for HTTP/2 in every request, Java's for example.
        """
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.data_received(b"\r\n".join([*lines, b"", rest]))

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise ValueError("not a proxy")
            return
        super().on_headers_complete()
        self._head_bytes = 0
        self.headers = []  # the request has its own list: trailers don't get into it

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            self._head_bytes = 0
            super().on_message_complete()
