"""What the engine in this process says of a failure, in our words."""

from dataclasses import replace

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from millimetric_mcp.api.store import ClientPool, embedded_target
from millimetric_mcp.api.store.clickhouse_errors import is_too_large
from millimetric_mcp.errors import StoreRefused, StoreUnavailable


@pytest.fixture
def pool(engine_target):
    pool = ClientPool(engine_target)
    yield pool
    pool.close()


def test_a_refused_statement_is_named(pool):
    with pytest.raises(StoreRefused, match=r"refused the statement \(UNKNOWN_TABLE\)"):
        pool.run(lambda client: client.command("SELECT * FROM nowhere"))


def test_a_programming_error_refuses_the_write_and_the_writer_goes_on(pool):
    with pytest.raises(StoreRefused, match="ZeroDivisionError"):
        pool.run(lambda client: 1 // 0)

    assert pool.run(lambda client: client.command("SELECT 1")) == 1


@pytest.mark.parametrize("way", ["query", "command"])
def test_a_failed_statement_leaves_no_rows_in_the_next_answer(pool, way):
    failing = "SELECT number, throwIf(number = 500000) FROM numbers(1000000)"

    with pytest.raises(StoreRefused, match="THROW_IF"):
        pool.run(lambda client: getattr(client, way)(failing))

    for number in (11, 22):
        statement = f"SELECT {number}"
        assert pool.run(lambda client, asked=statement: client.query(asked).result_rows) == [
            (number,)
        ]


def test_a_closed_store_is_unavailable(pool):
    client = pool.run(lambda client: client)
    pool.close()

    with pytest.raises(StoreUnavailable, match="is closed"):
        pool.run(lambda _: client.command("SELECT 1"))


def test_the_error_names_a_store_that_can_t_be_opened(pool, tmp_path):
    pool.run(lambda client: client.command("SELECT 1"))
    other = ClientPool(embedded_target(tmp_path / "other"))  # a process has one engine

    with pytest.raises(StoreUnavailable, match=rf"{tmp_path}/other can't be opened"):
        other.run(lambda client: client.command("SELECT 1"))


def test_memory_and_threads_are_bounded_by_the_settings(pool, engine_target):
    bounded = ClientPool(replace(engine_target, memory_mb=64, threads=1))
    greedy = "SELECT count() FROM (SELECT groupArray(number) FROM numbers(100000000))"

    with pytest.raises(StoreRefused, match="MEMORY_LIMIT_EXCEEDED") as refused:
        bounded.run(lambda client: client.command(greedy))
    assert is_too_large(refused.value.__cause__, is_alone=False)

    asked = "SELECT getSetting('max_threads')"
    assert bounded.run(lambda client: client.query(asked).result_rows) == [(1,)]
    bounded.close()


@pytest.mark.parametrize(
    ("code", "unreadable"),
    [(36, {"202612_1_2_1"}), (241, set()), (159, set()), (394, set())],
    ids=["a wrong file", "a memory limit", "a time limit", "stopped"],
)
def test_a_part_is_damaged_unless_a_limit_ended_the_statement(pool, code, unreadable):
    text = "(while reading from part /store/data/202612_1_2_1/ in table events)"

    def fail(_client):
        raise DatabaseError(text, code=code)

    with pytest.raises(StoreRefused):
        pool.run(fail)

    assert pool.unreadable_parts == unreadable


def test_a_statement_that_runs_alone_is_too_large_for_the_memory_of_all():
    error = DatabaseError("(total) memory limit exceeded: would use 258.56 MiB", code=241)

    assert is_too_large(error, is_alone=True)
    assert not is_too_large(error, is_alone=False)
