"""Questions in threads: whose turn it is, and when a question is stopped."""

import asyncio
import threading
import time
from functools import partial

import pytest

from millimetric_mcp.api.store import ClientPool
from millimetric_mcp.api.store.readers import MAX_WAITING, Readers
from millimetric_mcp.api.store.reads import stop_query
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.errors import RequestError, StoreUnavailable

ENDLESS = "SELECT count() FROM numbers(1000000000000) WHERE cityHash64(number) = 0"
DEADLOCK_S = 60


class Work:
    """Questions that wait in their thread until the test ends them."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.may_end = threading.Event()

    def ask(self, readers: Readers, name: str, *, project_id: int) -> "asyncio.Task[str]":
        def work(_mark: str) -> str:
            self.begun.append(name)
            self.may_end.wait(DEADLOCK_S)
            return name

        return asyncio.create_task(readers.run(project_id, work))


@pytest.fixture
def work():
    work = Work()
    yield work
    work.may_end.set()


def make_readers(timeout_s: float = DEADLOCK_S) -> Readers:
    return Readers(1, "test", stop=lambda mark: None, timeout_s=timeout_s)


async def test_projects_take_turns(work):
    readers = make_readers()
    asked = [work.ask(readers, name, project_id=1) for name in ("a1", "a2", "a3", "a4")]
    await asyncio.sleep(0)
    asked += [work.ask(readers, name, project_id=2) for name in ("b1", "b2")]
    await asyncio.sleep(0)

    work.may_end.set()

    assert await asyncio.gather(*asked) == ["a1", "a2", "a3", "a4", "b1", "b2"]
    assert work.begun == ["a1", "a2", "b1", "a3", "b2", "a4"]


async def test_a_question_whose_caller_leaves_before_its_turn_never_begins(work):
    readers = make_readers()
    asked = [work.ask(readers, name, project_id=1) for name in ("a1", "a2", "a3")]
    await asyncio.sleep(0)
    asked[1].cancel()
    await asyncio.sleep(0)

    work.may_end.set()

    assert await asyncio.gather(asked[0], asked[2]) == ["a1", "a3"]
    assert work.begun == ["a1", "a3"]


async def test_too_many_waiting_questions_of_a_project_are_refused(work):
    readers = make_readers()
    asked = [work.ask(readers, "a", project_id=1) for _ in range(1 + MAX_WAITING)]
    await asyncio.sleep(0)

    with pytest.raises(StoreUnavailable, match="too many questions"):
        await work.ask(readers, "refused", project_id=1)
    other = work.ask(readers, "b", project_id=2)
    work.may_end.set()

    assert await other == "b"
    await asyncio.gather(*asked)


async def test_a_question_that_waits_too_long_for_its_turn_is_unavailable(work):
    readers = make_readers(timeout_s=0.05)
    running = work.ask(readers, "a", project_id=1)
    await asyncio.sleep(0)

    with pytest.raises(StoreUnavailable, match="waited too long"):
        await work.ask(readers, "b", project_id=2)
    with pytest.raises(RequestError, match="more time or memory"):
        await running

    assert work.begun == ["a"]


@pytest.fixture
def pool(engine_target):
    pool = ClientPool(engine_target)
    yield pool
    pool.close()


def ask(pool: ClientPool, statement: str, mark: str) -> object:
    return pool.query(statement, settings={"log_comment": mark})[0][0]


def wait_until_it_runs(pool: ClientPool) -> None:
    running = "SELECT count() FROM system.processes WHERE Settings['log_comment'] != ''"
    while pool.query(running) == [(0,)]:
        time.sleep(0.01)


async def run_after(readers: Readers, pool: ClientPool) -> object:
    """Return the answer of the only thread's next question: it ran the endless one before."""
    async with asyncio.timeout(DEADLOCK_S):
        return await readers.run(1, partial(ask, pool, "SELECT 1"))


async def test_a_running_question_is_stopped_when_its_caller_leaves(pool):
    readers = Readers(1, "test", stop=partial(stop_query, pool), timeout_s=DEADLOCK_S)
    endless = asyncio.create_task(readers.run(1, partial(ask, pool, ENDLESS)))
    await asyncio.to_thread(wait_until_it_runs, pool)

    endless.cancel()

    assert await run_after(readers, pool) == 1


async def test_a_running_question_is_stopped_when_its_time_is_up(pool):
    readers = Readers(1, "test", stop=partial(stop_query, pool), timeout_s=2)

    with pytest.raises(RequestError) as refused:
        await readers.run(1, partial(ask, pool, ENDLESS))

    assert refused.value.code is ErrorCode.QUERY_TOO_LARGE
    assert await run_after(readers, pool) == 1
