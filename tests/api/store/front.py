"""A ClickHouse server for tests: the HTTP interface, spoken by the embedded engine.

Run as a separate process (a process has one engine):

    python front.py --port 0 --directory DIRECTORY --user USER

The password is read from FRONT_PASSWORD. Once it serves, one line says so on stdout.

It knows the clusters `CLUSTERS`, whose every shard and replica is this server itself:
Distributed tables, ``insert_shard_id`` and ``clusterAllReplicas`` are the engine's own, and a
cluster of two shards sees each row twice. What a real server does and this one does not:

- There is no Keeper. ``ON CLUSTER`` of a known cluster is done here, which is every host of
  it, and a replicated table is a plain one that drops equal inserts as replicated ones do.
- There is no queue of asynchronous inserts: the engine stores at once whatever
  ``async_insert`` says, which is what ``wait_for_async_insert`` promises.
- Results are plain Native blocks, as behind a proxy that drops ``client_protocol_version``.

Settings in the URL are the engine's own: an unknown one is an error, as on a server.

Beside ClickHouse's routes there are two for tests: ``POST /errors`` plants errors for the
statements to come, ``GET /statements`` lists those that came, with their settings.
"""

import argparse
import base64
import json
import os
import re
import socket
import ssl
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from email import message_from_bytes
from email.policy import HTTP
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import chdb
import lz4.frame
from backports import zstd
from chdb.state.sqlitelike import Connection

RESERVED = {
    "query",
    "database",
    "default_format",
    "query_id",
    "wait_end_of_query",
    "buffer_size",
    "client_protocol_version",
    "enable_http_compression",
    "send_progress_in_http_headers",
    "http_headers_progress_interval_ms",
}
AUTHENTICATION_FAILED = 516
STATUSES = {AUTHENTICATION_FAILED: 403, 115: 404, 60: 404, 81: 404, 117: 400, 159: 408, 209: 503}

TCP_PORT = 9000  # nobody listens: it makes the clusters' hosts this one
CLUSTERS = {"one": [1], "two": [1, 1], "mirrored": [2], "doubled": [-2]}
"""Replicas of each shard; below zero where the writer writes to each of them."""

_ON_CLUSTER = re.compile(rb"ON CLUSTER '(\w+)'")
_REPLICATED = re.compile(rb"ReplicatedMergeTree\('[^']+', '[^']+'\)")
_DROPS_EQUAL_INSERTS = b"non_replicated_deduplication_window = 10000"
_INSERT = re.compile(rb"\s*(INSERT\s+INTO\s+[^\n]*?)\s+FORMAT\s+Native\s*\n", re.IGNORECASE)
_FORMAT = re.compile(rb"\bFORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)
_RECORDED_BYTES = 200


@dataclass
class Error:
    """What happens to the next ``times`` statements to ``database`` that hold ``match``.

    ``kind``: ``cut_before`` and ``cut_after`` close the connection before or after the
    statement was done; ``refuse`` answers with ``code`` and does nothing; ``fail_after`` does
    it and answers with ``code`` all the same; ``hang`` waits ``delay_s`` before it is done;
    ``divide`` is no error: each shard reads only the events of ``rows``, a condition.
    """

    kind: str
    database: str
    match: str = "INSERT"
    times: int = 1
    code: int = 0
    name: str = ""
    delay_s: float = 0
    rows: str = ""


@dataclass
class Statement:
    """A statement that came, its beginning, and all it came with but values."""

    text: str
    database: str
    settings: dict[str, str]
    encoding: str


@dataclass
class State:
    """What the handlers share."""

    path: str
    user: str
    password: str
    errors: list[Error] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take_error(self, statement: Statement) -> Error | None:
        with self.lock:
            self.statements.append(statement)
            for error in self.errors:
                is_meant = error.database == statement.database and error.match in statement.text
                if error.times > 0 and is_meant:
                    error.times -= 1
                    return error
        return None


class Failed(Exception):
    """A ClickHouse error: its code and its text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Front(ThreadingHTTPServer):
    """The server; ``state`` is every handler's."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, state: State, certificate: Path | None) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.state = state
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def handle_error(self, *_: object) -> None:
        """Nothing: clients hang up in tests."""


class Handler(BaseHTTPRequestHandler):
    """One connection, kept alive; a statement on each request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Front

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, *_: object) -> None:
        """Nothing: the statements are recorded."""

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        body, state = self._read_body(), self.server.state
        if parts.path == "/ping":
            self._answer(HTTPStatus.OK, b"Ok.\n")
        elif parts.path == "/errors":
            state.errors = [Error(**error) for error in json.loads(body)]
            self._answer(HTTPStatus.OK, b"")
        elif parts.path == "/statements":
            listed = [asdict(statement) for statement in state.statements]
            self._answer(HTTPStatus.OK, json.dumps(listed).encode())
        else:
            self._serve_statement(dict(parse_qsl(parts.query, keep_blank_values=True)), body)

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = bytearray()
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return bytes(body)

    def _serve_statement(self, params: dict[str, str], body: bytes) -> None:
        if self.headers.get("Content-Type", "").startswith("multipart/form-data"):
            params, body = params | _read_form(self.headers["Content-Type"], body), b""
        statement = b"\n".join(part for part in (params.get("query", "").encode(), body) if part)
        encoding = self.headers.get("Content-Encoding", "")
        try:
            self._check_user()
            if encoding:
                statement = _decompress(body, encoding)
            self._run(statement, params, encoding)
        except Failed as error:
            self._answer_failure(error)

    def _check_user(self) -> None:
        state = self.server.state
        expected = base64.b64encode(f"{state.user}:{state.password}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {expected}":
            raise Failed(
                AUTHENTICATION_FAILED,
                f"{state.user}: Authentication failed: password is incorrect, or there is no "
                "user with such name. (AUTHENTICATION_FAILED)",
            )

    def _run(self, statement: bytes, params: dict[str, str], encoding: str) -> None:
        settings = {name: value for name, value in params.items() if _is_setting(name)}
        text = statement[:_RECORDED_BYTES].decode(errors="replace")
        came = Statement(text, params.get("database", ""), settings | _own(params), encoding)
        state = self.server.state
        error = state.take_error(came)
        if error and error.kind == "cut_before":
            self._cut()
            return
        if error and error.kind == "refuse":
            raise Failed(error.code, f"Planted. ({error.name})")
        if error and error.kind == "hang":
            time.sleep(error.delay_s)
        if error and error.kind == "divide":
            local = f"{error.database}.events_local"
            settings["additional_table_filters"] = f"{{'{local}': {_quote(error.rows)}}}"
        answer = _execute(state.path, statement, params, settings)
        if error and error.kind == "cut_after":
            self._cut()
        elif error and error.kind == "fail_after":
            raise Failed(error.code, f"Planted. ({error.name})")
        else:
            self._answer_result(answer, compress=params.get("enable_http_compression") == "1")

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _answer_result(self, answer: bytes, *, compress: bool) -> None:
        accepted = [name.strip() for name in self.headers.get("Accept-Encoding", "").split(",")]
        encoding = next((name for name in accepted if name in _COMPRESS), "") if compress else ""
        zone = os.environ.get("TZ", "UTC")
        headers = {"X-ClickHouse-Timezone": zone, "X-ClickHouse-Summary": "{}"}
        if encoding:
            answer = _COMPRESS[encoding](answer)
            headers["Content-Encoding"] = encoding
        self._answer(HTTPStatus.OK, answer, headers)

    def _answer_failure(self, error: Failed) -> None:
        text = f"Code: {error.code}. DB::Exception: {error} (version 26.9.2.1)\n"
        headers = {"X-ClickHouse-Exception-Code": str(error.code)}
        self._answer(STATUSES.get(error.code, 500), text.encode(), headers)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


_COMPRESS = {"lz4": lz4.frame.compress, "zstd": zstd.compress}


def _read_form(content_type: str, body: bytes) -> dict[str, str]:
    """A statement and its parameters that came in the body."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    return {
        str(part.get_param("name", header="Content-Disposition")): part.get_content()
        for part in message_from_bytes(head + body, policy=HTTP).iter_parts()
    }


def _decompress(body: bytes, encoding: str) -> bytes:
    if encoding == "lz4":
        plain = b""
        while body:
            block, used = lz4.frame.decompress(body, return_bytes_read=True)
            plain, body = plain + block, body[used:]
        return plain
    return zstd.decompress(body)


def _is_setting(name: str) -> bool:
    return name not in RESERVED and not name.startswith("param_")


def _own(params: dict[str, str]) -> dict[str, str]:
    return {name: params[name] for name in RESERVED - {"query"} if name in params}


def _execute(
    path: str, statement: bytes, params: dict[str, str], settings: dict[str, str]
) -> bytes:
    """A statement in a new session, as the HTTP interface has it."""
    connection = chdb.connect(path)
    try:
        if database := params.get("database"):
            connection.query(f"USE `{database}`", "TabSeparated")
        for name, value in settings.items():
            connection.query(f"SET {name} = {_quote(value)}", "TabSeparated")
        statement = _spread(statement)
        if insert := _INSERT.match(statement):
            return _insert(connection, insert[1].decode(), statement[insert.end() :])
        bound = {name[6:]: value for name, value in params.items() if name.startswith("param_")}
        named = _FORMAT.search(statement)
        form = named[1].decode() if named else "TabSeparated"
        return connection.query(statement, form, params=bound).bytes() or b""
    except (RuntimeError, chdb.ChdbError) as error:
        raise _translate(error) from None
    finally:
        connection.close()


def _spread(statement: bytes) -> bytes:
    """A statement as the hosts of its cluster do it, which is this one."""
    found = _ON_CLUSTER.search(statement)
    if not found or found[1].decode() not in CLUSTERS:
        return statement
    statement, count = _REPLICATED.subn(b"MergeTree", _ON_CLUSTER.sub(b"", statement))
    if not count:
        return statement
    if b"SETTINGS" in statement:
        return statement + b", " + _DROPS_EQUAL_INSERTS
    return statement + b" SETTINGS " + _DROPS_EQUAL_INSERTS


def _insert(connection: Connection, statement: str, rows: bytes) -> bytes:
    with connection.send_insert(statement, "Native") as inserter:
        inserter.append(rows)
        inserter.finish()
    return b""


def _quote(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _translate(error: Exception) -> Failed:
    found = re.search(r"Code: (\d+)\. (?:DB::Exception: )?(.*)", str(error), re.DOTALL)
    return Failed(int(found[1]), found[2]) if found else Failed(1002, str(error))


def describe_clusters() -> str:
    """The engine's configuration."""
    host = f"<replica><host>127.0.0.1</host><port>{TCP_PORT}</port></replica>"
    clusters = "".join(
        f"<{name}>"
        + "".join(
            f"<shard><internal_replication>{int(count > 0)}</internal_replication>"
            f"{host * abs(count)}</shard>"
            for count in replicas
        )
        + f"</{name}>"
        for name, replicas in CLUSTERS.items()
    )
    return (
        f"<clickhouse><tcp_port>{TCP_PORT}</tcp_port>"
        f"<remote_servers>{clusters}</remote_servers></clickhouse>"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--user", required=True)
    parser.add_argument("--certificate", type=Path, help="a file with a key: TLS")
    options = parser.parse_args()
    configuration = options.directory / "config.xml"
    configuration.write_text(describe_clusters())
    path = f"{options.directory / 'store'}?config-file={configuration}"
    engine = chdb.connect(path)  # keeps it alive between requests
    engine.query("SELECT 1")
    state = State(path, options.user, os.environ["FRONT_PASSWORD"])
    with Front(options.port, state, options.certificate) as front:
        sys.stdout.write(f"serving on {front.server_address[1]}\n")
        sys.stdout.flush()
        front.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
