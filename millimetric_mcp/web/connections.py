"""HTTP connections that bound a request's head, and answer what is no HTTP as the API answers."""

import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from httptools import (
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserUpgrade,
    HttpRequestParser,
)
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.endpoints import ENDPOINTS
from millimetric_mcp.errors import RequestError
from millimetric_mcp.web.log import KNOWN_PATHS, UNKNOWN, write_line

MAX_HEAD_BYTES = 64 * 1024

_VERSIONS = frozenset({"1.0", "1.1"})
_REQUEST_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ ([^\s?]+)\S* HTTP/1\.[01]\r?\n")
_LONG_HEAD = "The request's head is longer than 64 KiB."
_LENGTH_OVERFLOW = "Content-Length overflow"
_METHODS = dict.fromkeys(KNOWN_PATHS, b"GET, HEAD") | {
    endpoint.path: b"POST" for endpoint in ENDPOINTS if endpoint.method == "POST"
}
_NO_JSON = b"\xff"
"""Stands in no JSON text and behind no gzip stream."""


class BoundedHttp(HttpToolsProtocol):
    """Refuses what is no request in the API's envelope, with one line in its log.

    So are heads and trailers of much more than 64 KiB, which uvicorn would gather for ever.
    Whole reads of the socket are counted that neither begin nor end a head nor bring any body:
    what is a few reads longer than the limit may pass.
    """

    _in_message = False
    _in_body = False
    _got_on = False
    _fruitless_bytes = 0
    _at_start = True
    _is_deaf = False
    _refusal: "Refusal | None" = None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_message = self._got_on = True

    def on_headers_complete(self) -> None:
        self._got_on = True
        if len(self.url) >= MAX_HEAD_BYTES:
            raise _malformed(_LONG_HEAD)
        _check_version_and_host(self.parser.get_http_version(), self.headers)
        _check_transfer_coding(self.headers)
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise _malformed("The API is no proxy.")
            return
        self._at_start = False
        super().on_headers_complete()
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        self._got_on = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            self._in_message = self._in_body = False
            super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._write_refusal()

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        self._unset_keepalive_if_required()
        self._at_start = not self._in_message
        self._got_on = False
        try:
            self._feed(data)
            self._fruitless_bytes = 0 if self._got_on else self._fruitless_bytes + len(data)
            if self._fruitless_bytes > MAX_HEAD_BYTES:
                raise _malformed(_LONG_HEAD)
        except RequestError as error:
            self._refuse(Refusal(error))
        except HttpParserError as error:
            self._refuse(_explain(error, data if self._at_start else b""))

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
            except HttpParserUpgrade as upgrade:
                data = self._write_head_without_upgrade() + data[upgrade.args[0] :]
                self.parser = HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            else:
                return

    def _write_head_without_upgrade(self) -> bytes:
        """The head to be read again as that of a request that asks for no other protocol.

        Nobody here speaks one, and the parser takes a request that asks as one without a body.
        """
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def _refuse(self, refusal: "Refusal") -> None:
        """Answers after the requests before it, and listens no more.

        A body that breaks off is spoilt, so that nobody takes it for whole, and left to the
        application to refuse.
        """
        self._is_deaf = True
        if not self._in_body:
            self._refusal = refusal
            self._write_refusal()
            return
        self.cycle.keep_alive = False
        if self.cycle.response_complete:
            self.transport.close()
        self.cycle.body += _NO_JSON
        self.cycle.more_body = False
        self.cycle.message_event.set()

    def _write_refusal(self) -> None:
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if self._refusal is None or is_answering or self.transport.is_closing():
            return
        self.transport.write(self._refusal.render(self.server_state.default_headers))
        self.transport.close()
        write_line(
            method=UNKNOWN,
            path=self._refusal.path,
            status=self._refusal.error.status,
            duration_ms=0,
            write=sys.stderr.write,
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to what is no request; ``path`` is what it seems to have been sent to."""

    error: RequestError
    path: str = UNKNOWN

    def render(self, default_headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """The whole response."""
        body = json.dumps(self.error.body(), separators=(",", ":")).encode()
        headers = [
            *default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        if self.error.code is ErrorCode.METHOD_NOT_ALLOWED:
            headers.append((b"allow", _METHODS[self.path]))
        lines = [b"%b: %b\r\n" % header for header in headers]
        return b"".join([STATUS_LINE[self.error.status], *lines, b"\r\n", body])


def _check_version_and_host(version: str, headers: list[tuple[bytes, bytes]]) -> None:
    if version not in _VERSIONS:
        raise _malformed("The request is not one of HTTP/1.0 or HTTP/1.1.")
    hosts = sum(name == b"host" for name, _ in headers)
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        raise _malformed("A request of HTTP/1.1 has one Host header.")


def _check_transfer_coding(headers: list[tuple[bytes, bytes]]) -> None:
    """The parser undoes chunks, and would hand on whatever else was done to the body."""
    codings = [
        value.strip(b" \t").lower() for name, value in headers if name == b"transfer-encoding"
    ]
    if codings not in ([], [b"chunked"]):
        raise _malformed("The only transfer coding is chunked; Content-Encoding may be gzip.")


def _malformed(sentence: str) -> RequestError:
    details = {"fieldErrors": {}, "formErrors": [sentence]}
    return RequestError(ErrorCode.INVALID_PAYLOAD, details=details)


def _explain(error: HttpParserError, start: bytes) -> Refusal:
    """What is wrong with a request that begins with ``start``, where that is known."""
    if isinstance(error.__context__, RequestError):
        return Refusal(error.__context__)
    line = _REQUEST_LINE.match(start) if isinstance(error, HttpParserInvalidMethodError) else None
    if line is not None:
        path = line[1].decode("latin-1")
        code = ErrorCode.METHOD_NOT_ALLOWED if path in _METHODS else ErrorCode.NOT_FOUND
        return Refusal(RequestError(code), path)
    if str(error) == _LENGTH_OVERFLOW:
        return Refusal(RequestError(ErrorCode.PAYLOAD_TOO_LARGE))
    return Refusal(_malformed("The request is not valid HTTP/1.1."))
