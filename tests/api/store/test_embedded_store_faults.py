"""What the engine in this process says of a failure, in our words."""

import pytest

from millimetric_mcp.api.store import ClientPool, embedded_target
from millimetric_mcp.errors import StoreRefused, StoreUnavailable


@pytest.fixture
def pool(engine_target):
    pool = ClientPool(engine_target)
    yield pool
    pool.close()


def test_a_refused_statement_is_named(pool):
    with pytest.raises(StoreRefused, match=r"refused the statement \(UNKNOWN_TABLE\)"):
        pool.run(lambda client: client.command("SELECT * FROM nowhere"))


def test_a_fault_of_ours_is_a_refusal_and_not_the_end_of_the_writer(pool):
    with pytest.raises(StoreRefused, match="ZeroDivisionError"):
        pool.run(lambda client: 1 // 0)

    assert pool.run(lambda client: client.command("SELECT 1")) == 1


def test_a_closed_store_is_unavailable(pool):
    client = pool.run(lambda client: client)
    pool.close()

    with pytest.raises(StoreUnavailable, match="is closed"):
        pool.run(lambda _: client.command("SELECT 1"))


def test_a_store_that_can_t_be_opened_is_named(pool, tmp_path):
    pool.run(lambda client: client.command("SELECT 1"))
    other = ClientPool(embedded_target(tmp_path / "other"))  # a process has one engine

    with pytest.raises(StoreUnavailable, match=rf"{tmp_path}/other can't be opened"):
        other.run(lambda client: client.command("SELECT 1"))
