"""Group commit: what each request waits for, and what a failed insert means for it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from millimetric_mcp.api.store.commit import MAX_GROUP_EVENTS, GroupCommitter
from millimetric_mcp.errors import StoreRefused, StoreUnavailable, StoreUncertain

TIMEOUT_S = 5


class Inserts:
    """Notes each insert, waits at the gate, and raises what ``fail`` returns for its events."""

    def __init__(self) -> None:
        self.groups: list[list[Any]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fail: Callable[[Sequence[Any]], Exception | None] = lambda events: None

    async def __call__(self, requests: Sequence[Sequence[Any]]) -> None:
        events = [event for request in requests for event in request]
        self.groups.append(events)
        await self.gate.wait()
        fault = self.fail(events)
        if fault is not None:
            raise fault


@pytest.fixture
def inserts() -> Inserts:
    return Inserts()


@pytest.fixture
async def committer(inserts):
    committer = GroupCommitter(inserts, max_queued_events=10)
    committer.start()
    yield committer
    inserts.gate.set()
    await asyncio.wait_for(committer.close(), TIMEOUT_S)


async def commit_all(committer: GroupCommitter, *requests: Sequence[Any]) -> list[Any]:
    """How each of the requests, made at once, ends: None where it is stored."""
    commits = [committer.commit(request) for request in requests]
    return await asyncio.wait_for(asyncio.gather(*commits, return_exceptions=True), TIMEOUT_S)


async def hold(committer: GroupCommitter, inserts: Inserts) -> "asyncio.Task[None]":
    """An insert under way, behind which others gather."""
    inserts.gate.clear()
    held = asyncio.create_task(committer.commit(["held"]))
    for _ in range(100):
        if inserts.groups:
            return held
        await asyncio.sleep(0)
    raise AssertionError("it was not written")


async def test_requests_that_arrive_during_an_insert_share_the_next_one(committer, inserts):
    held = await hold(committer, inserts)
    others = asyncio.create_task(commit_all(committer, ["a"], ["b", "c"]))
    await asyncio.sleep(0.01)

    inserts.gate.set()

    assert await others == [None, None]
    await held
    assert inserts.groups == [["held"], ["a", "b", "c"]]


async def test_a_request_is_acknowledged_after_its_events_are_stored(committer, inserts):
    held = await hold(committer, inserts)
    await asyncio.sleep(0.01)

    assert not held.done()
    inserts.gate.set()
    await asyncio.wait_for(held, TIMEOUT_S)


async def test_a_full_queue_refuses_and_says_that_nothing_was_stored(committer, inserts):
    held = await hold(committer, inserts)
    waiting = asyncio.create_task(committer.commit(list("abcde")))
    await asyncio.sleep(0.01)

    with pytest.raises(StoreUnavailable, match="waiting") as refused:
        await committer.commit(list("fghij"))

    assert refused.value.retry_after_s == 1
    inserts.gate.set()
    await asyncio.gather(held, waiting)
    assert [len(group) for group in inserts.groups] == [1, 5]


async def test_a_request_larger_than_the_queue_is_taken_when_it_is_alone(committer, inserts):
    assert await commit_all(committer, list(range(1000))) == [None]


async def test_a_group_has_a_maximum_size(inserts):
    committer = GroupCommitter(inserts, max_queued_events=10 * MAX_GROUP_EVENTS)
    committer.start()
    held = await hold(committer, inserts)
    half = ["x"] * (MAX_GROUP_EVENTS // 2)
    others = asyncio.create_task(commit_all(committer, half, half, ["last"]))
    await asyncio.sleep(0.01)

    inserts.gate.set()

    assert await others == [None] * 3
    await held
    await committer.close()
    assert [len(group) for group in inserts.groups] == [1, MAX_GROUP_EVENTS, 1]


async def test_refused_events_fail_their_own_request_only(committer, inserts):
    inserts.fail = lambda events: StoreRefused("bad") if "bad" in events else None
    held = await hold(committer, inserts)
    others = asyncio.create_task(commit_all(committer, ["a"], ["bad"], ["b"]))
    await asyncio.sleep(0.01)

    inserts.gate.set()

    first, refused, last = await others
    await held
    assert (first, last) == (None, None)
    assert isinstance(refused, StoreRefused)
    assert inserts.groups[1:] == [["a", "bad", "b"], ["a"], ["bad"], ["b"]]


@pytest.mark.parametrize("fault", [StoreUnavailable("down"), StoreUncertain("no answer")])
async def test_a_store_failure_fails_the_whole_group_and_nothing_is_written_twice(
    committer, inserts, fault
):
    inserts.fail = lambda events: fault if "held" not in events else None
    held = await hold(committer, inserts)
    others = asyncio.create_task(commit_all(committer, ["a"], ["b"]))
    await asyncio.sleep(0.01)

    inserts.gate.set()

    assert await others == [fault, fault]
    await held
    inserts.fail = lambda events: None
    assert await commit_all(committer, ["again"]) == [None]
    assert inserts.groups == [["held"], ["a", "b"], ["again"]]


async def test_closing_writes_what_is_queued_and_takes_no_more(committer, inserts):
    held = await hold(committer, inserts)
    waiting = asyncio.create_task(committer.commit(["waits"]))
    await asyncio.sleep(0.01)

    closing = asyncio.create_task(committer.close())
    await asyncio.sleep(0.01)
    with pytest.raises(StoreUnavailable, match="stopping"):
        await committer.commit(["late"])
    inserts.gate.set()

    await asyncio.wait_for(asyncio.gather(held, waiting, closing), TIMEOUT_S)
    assert inserts.groups == [["held"], ["waits"]]


async def test_a_cancelled_request_does_not_affect_the_others(committer, inserts):
    held = await hold(committer, inserts)
    leaving = asyncio.create_task(committer.commit(["left"]))
    staying = asyncio.create_task(committer.commit(["stays"]))
    await asyncio.sleep(0.01)

    leaving.cancel()
    inserts.gate.set()

    await asyncio.wait_for(asyncio.gather(held, staying), TIMEOUT_S)
    assert inserts.groups[1] == ["left", "stays"]


async def test_an_unexpected_error_fails_its_group_and_the_next_is_written(committer, inserts):
    inserts.fail = lambda events: ValueError("unforeseen") if "a" in events else None

    [failed] = await commit_all(committer, ["a"])

    assert isinstance(failed, StoreUncertain)
    assert await commit_all(committer, ["b"]) == [None]


@pytest.fixture
async def quick(inserts):
    """A committer that can write at once, and what it wrote so."""
    written: list[Any] = []

    def write_now(events: Sequence[Any]) -> bool:
        written.append(events)
        return True

    committer = GroupCommitter(inserts, max_queued_events=10, write_now=write_now)
    committer.start()
    yield committer, written
    await asyncio.wait_for(committer.close(), TIMEOUT_S)


async def test_a_single_callers_requests_are_written_at_once(quick, inserts):
    committer, written = quick
    for request in (["a"], ["b"]):
        await committer.commit(request)
        await asyncio.sleep(0)  # another turn of the loop

    assert written == [["a"], ["b"]]
    assert inserts.groups == []


async def test_requests_of_one_turn_share_a_group_and_so_do_those_after_it(quick, inserts):
    committer, written = quick
    assert await commit_all(committer, ["a"], ["b"], ["c"]) == [None] * 3
    assert await commit_all(committer, ["d"], ["e"]) == [None] * 2

    assert written == [["a"]]  # the others came after it
    assert inserts.groups == [["b", "c"], ["d", "e"]]


async def test_a_caller_that_is_alone_again_is_written_at_once_again(quick):
    committer, written = quick
    await commit_all(committer, ["a"], ["b"], ["c"])
    await asyncio.sleep(0.01)

    for request in (["d"], ["e"]):
        await committer.commit(request)
        await asyncio.sleep(0.01)

    assert written == [["a"], ["e"]]


async def test_what_cannot_be_written_at_once_is_queued(inserts):
    committer = GroupCommitter(inserts, max_queued_events=10, write_now=lambda _: False)
    committer.start()

    await committer.commit(["a"])

    assert inserts.groups == [["a"]]
    await asyncio.wait_for(committer.close(), TIMEOUT_S)
