"""A start that can't succeed ends in one sentence, whatever is wrong with the server."""

import socket
import threading

import pytest

from millimetric_mcp.api.store.migrations import list_versions, packaged_sql

ALL = list_versions(packaged_sql())
WRONG_PASSWORD = "hunter2-planted"
STARTS = [
    pytest.param(["api", "--port", "0"], id="api"),
    pytest.param(["api", "--port", "0", "--workers", "4"], id="api-with-workers"),
    pytest.param(["migrate"], id="migrate"),
]


@pytest.fixture
def unused_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture
def port_of_another_server():
    """Answers whatever is asked with something else."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                body = b"<html>Hello</html>"
                head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
                connection.sendall(head + body)

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.mark.parametrize("command", STARTS)
def test_the_error_names_a_server_that_is_down(command, call_command, unused_port):
    store = f"clickhouse://mm:{WRONG_PASSWORD}@127.0.0.1:{unused_port}/shop"

    code, _, errors = call_command(*command, "--store", store)

    assert code == 1
    sentence = f"the event store at 127.0.0.1:{unused_port} can't be reached"
    assert errors == (
        f"millimetric-mcp: {sentence} (Connection refused). Check that it runs, and --store / "
        "MILLIMETRIC_STORE\n"
    )


@pytest.mark.parametrize("command", STARTS)
def test_the_error_reports_a_wrong_password_without_showing_it(
    command, call_command, front, database
):
    store = front.dsn(database, password=WRONG_PASSWORD)

    code, printed, errors = call_command(*command, "--store", store)

    assert code == 1
    assert errors == (
        f"millimetric-mcp: the event store at 127.0.0.1:{front.port} refused the user or "
        "password of MILLIMETRIC_STORE\n"
    )
    assert WRONG_PASSWORD not in printed + errors


def test_the_error_reports_tls_to_a_server_without_it(call_command, front, database):
    store = front.dsn(database).replace("clickhouse:", "clickhouses:")

    code, _, errors = call_command("migrate", "--store", store)

    assert code == 1
    assert "can't be reached by TLS: check clickhouses://" in errors


def test_the_error_reports_a_server_that_is_not_clickhouse(call_command, port_of_another_server):
    code, _, errors = call_command(
        "migrate", "--store", f"clickhouse://127.0.0.1:{port_of_another_server}"
    )

    assert code == 1
    assert errors == (
        f"millimetric-mcp: the event store at 127.0.0.1:{port_of_another_server} does not "
        "answer as a ClickHouse server does\n"
    )


def test_the_error_gives_the_reason_of_a_server_that_refuses(call_command, front, database):
    front.plant(
        {
            "database": "",
            "match": "SELECT version()",
            "kind": "refuse",
            "code": 202,
            "name": "TOO_MANY_SIMULTANEOUS_QUERIES",
        }
    )

    code, _, errors = call_command("migrate", "--store", front.dsn(database))

    assert code == 1
    assert errors.endswith("refused the connection (TOO_MANY_SIMULTANEOUS_QUERIES)\n")


def test_several_workers_need_a_server(call_command):
    code, _, errors = call_command("api", "--port", "0", "--workers", "2")

    assert code == 2
    assert errors == (
        "millimetric-mcp: --workers: the embedded store takes one process. "
        "Use one worker, or a ClickHouse server with --store.\n"
    )


def test_the_error_names_an_unknown_cluster(call_command, front, database):
    code, _, errors = call_command(
        "migrate", "--store", front.dsn(database), "--cluster", "nowhere"
    )

    assert code == 1
    assert errors == "millimetric-mcp: --cluster: the event store has no cluster named nowhere\n"


@pytest.mark.parametrize("cluster", ["one", "two", "mirrored"])
def test_a_cluster_is_set_up_once(cluster, call_command, front, database):
    command = ["migrate", "--store", front.dsn(database), "--cluster", cluster]

    assert call_command(*command)[:2] == (0, "".join(f"applied {version}\n" for version in ALL))
    assert call_command(*command)[:2] == (0, "up to date\n")


def test_a_cluster_whose_writers_write_to_each_replica_is_refused(call_command, front, database):
    code, _, errors = call_command(
        "migrate", "--store", front.dsn(database), "--cluster", "doubled"
    )

    assert code == 1
    assert "<internal_replication>true</internal_replication>" in errors
