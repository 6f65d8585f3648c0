import asyncio
import gc
import threading
import time
from collections.abc import Collection

import pytest

from millimetric_mcp.api.control import KeyCache, open_control
from millimetric_mcp.contract.keys import KeyEnv, KeyKind, KeyRecord
from millimetric_mcp.errors import StoreUnavailable

PEPPER = b"pepper for the tests"


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Keys:
    """A database of keys that counts its queries, and can stop or fail."""

    def __init__(self, *prefixes: str) -> None:
        self.prefixes = set(prefixes)
        self.asked: list[str] = []
        self.queries = 0
        self.is_down = False
        self.open = threading.Event()
        self.open.set()

    def find(self, prefixes: Collection[str]) -> dict[str, KeyRecord]:
        self.asked += prefixes
        self.queries += 1
        assert self.open.wait(timeout=10)
        if self.is_down:
            raise StoreUnavailable("down")
        return {
            prefix: KeyRecord(prefix, KeyKind.SK, KeyEnv.LIVE, 1, "shop", frozenset(), b"hash")
            for prefix in prefixes
            if prefix in self.prefixes
        }


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys() -> Keys:
    return Keys("known001", "known002")


@pytest.fixture
async def cache(keys, clock):
    made = KeyCache(keys.find, clock=clock)
    yield made
    keys.open.set()
    await made.close()


async def settle(keys: Keys, count: int) -> None:
    """Wait until the database was asked for that many prefixes and has answered."""
    async with asyncio.timeout(10):
        while len(keys.asked) < count:  # noqa: ASYNC110 - it is asked in threads
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)


async def test_a_known_key_is_looked_up_once_a_second(cache, keys, clock):
    first = await cache.find("known001")
    clock.now_s += 0.999
    assert await cache.find("known001") is first
    assert first.prefix == "known001"
    assert keys.asked == ["known001"]


async def test_an_unknown_prefix_is_looked_up_once_a_second(cache, keys):
    assert await cache.find("unknown1") is None
    assert await cache.find("unknown1") is None
    assert keys.asked == ["unknown1"]


async def test_an_old_entry_is_used_while_it_is_fetched_again(cache, keys, clock):
    await cache.find("known001")
    keys.open.clear()
    clock.now_s += 1.5
    assert (await cache.find("known001")).prefix == "known001"
    assert (await cache.find("known001")).prefix == "known001"
    keys.open.set()
    await settle(keys, 2)
    assert keys.asked == ["known001", "known001"]


async def test_an_entry_is_not_used_when_it_is_two_seconds_old(cache, keys, clock):
    await cache.find("known001")
    keys.prefixes.clear()
    clock.now_s += 2.0
    assert await cache.find("known001") is None
    assert await cache.find("known001") is None
    assert keys.asked == ["known001"] * 2


async def test_an_entry_is_as_old_as_its_query(cache, keys, clock):
    keys.open.clear()
    waiting = asyncio.create_task(cache.find("known001"))
    await settle(keys, 1)
    clock.now_s += 2.0
    keys.prefixes.clear()
    keys.prefixes.add("known001")
    keys.open.set()
    assert await waiting is not None
    keys.prefixes.clear()
    assert await cache.find("known001") is None


async def test_a_key_that_is_created_after_a_miss_is_found_two_seconds_later(cache, keys, clock):
    assert await cache.find("unknown1") is None
    keys.prefixes.add("unknown1")
    clock.now_s += 2.0
    assert (await cache.find("unknown1")).prefix == "unknown1"


async def test_callers_of_one_prefix_share_a_look_up(cache, keys):
    keys.open.clear()
    callers = [asyncio.create_task(cache.find("known001")) for _ in range(50)]
    await settle(keys, 1)
    keys.open.set()
    assert {record.prefix for record in await asyncio.gather(*callers)} == {"known001"}
    assert keys.asked == ["known001"]


async def test_a_look_up_goes_on_when_one_of_its_callers_is_cancelled(cache, keys):
    keys.open.clear()
    cancelled, other = (asyncio.create_task(cache.find("known001")) for _ in range(2))
    await settle(keys, 1)
    cancelled.cancel()
    keys.open.set()
    assert (await other).prefix == "known001"
    assert cancelled.cancelled()
    assert keys.asked == ["known001"]


async def test_every_caller_gets_the_failure_of_the_database(cache, keys):
    keys.is_down = True
    callers = [cache.find("known001") for _ in range(3)]
    failures = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(failure) for failure in failures] == [StoreUnavailable] * 3
    keys.is_down = False
    assert (await cache.find("known001")).prefix == "known001"


async def test_a_busy_key_is_found_during_a_short_failure(cache, keys, clock, caplog):
    await cache.find("known001")
    keys.is_down = True
    clock.now_s += 1.5
    assert (await cache.find("known001")).prefix == "known001"
    await settle(keys, 2)
    gc.collect()
    assert caplog.records == []
    assert (await cache.find("known001")).prefix == "known001"
    clock.now_s += 0.5
    with pytest.raises(StoreUnavailable):
        await cache.find("known001")


async def test_a_look_up_fails_when_the_database_does_not_answer(keys):
    cache = KeyCache(keys.find, timeout_s=0.05)
    keys.open.clear()
    with pytest.raises(StoreUnavailable, match="did not answer"):
        await cache.find("known001")
    keys.open.set()
    await cache.close()


async def test_guessed_keys_neither_displace_nor_delay_a_known_key(keys, clock):
    cache = KeyCache(keys.find, clock=clock, max_keys=10)
    await cache.find("known001")
    for number in range(50):
        await cache.find(f"guess{number:03d}")
    asked = len(keys.asked)
    await cache.find("known001")
    assert len(keys.asked) == asked
    keys.open.clear()
    guesses = [asyncio.create_task(cache.find(f"other{number:03d}")) for number in range(20)]
    await settle(keys, asked + 1)
    clock.now_s += 1.5
    await cache.find("known001")
    await settle(keys, asked + 2)
    assert keys.asked[-1] == "known001"
    keys.open.set()
    await asyncio.gather(*guesses)
    await cache.close()


async def test_prefixes_that_wait_are_looked_up_in_one_query(cache, keys):
    keys.open.clear()
    first = asyncio.create_task(cache.find("known001"))
    await settle(keys, 1)
    others = [asyncio.create_task(cache.find(f"guess{number:03d}")) for number in range(500)]
    await asyncio.sleep(0)
    keys.open.set()
    assert (await first).prefix == "known001"
    assert await asyncio.gather(*others) == [None] * 500
    assert keys.queries == 2


async def test_a_flood_of_unknown_keys_is_refused_early_and_does_not_lock_out_a_new_key(keys):
    def find_slowly(prefixes: Collection[str]) -> dict[str, KeyRecord]:
        time.sleep(0.02)
        return keys.find(prefixes)

    cache = KeyCache(find_slowly, max_waiting=1000)
    guesses = [asyncio.create_task(cache.find(f"{number:08d}")) for number in range(5000)]
    await asyncio.sleep(0)
    outcomes = await asyncio.gather(*guesses, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, StoreUnavailable)]
    assert len(refused) == 4000
    assert "too many keys" in str(refused[0])
    assert (await asyncio.wait_for(cache.find("known001"), 1)).prefix == "known001"
    assert len(keys.asked) == 1001
    await cache.close()


async def test_look_ups_stay_bounded_while_the_database_does_not_answer(keys):
    cache = KeyCache(keys.find, timeout_s=0.05, max_waiting=10)
    keys.open.clear()
    for round_number in range(3):
        guesses = [cache.find(f"{round_number}{number:07d}") for number in range(50)]
        outcomes = await asyncio.gather(*guesses, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
    new = asyncio.create_task(cache.find("known001"))
    await asyncio.sleep(0)
    keys.open.set()
    assert (await new).prefix == "known001"
    assert len(keys.asked) == 10 + 1
    await cache.close()


async def test_the_cache_drops_its_oldest_entry_when_it_is_full(keys, clock):
    keys.prefixes = {f"known{number:03d}" for number in range(12)}
    cache = KeyCache(keys.find, clock=clock, max_keys=10)
    for prefix in sorted(keys.prefixes):
        await cache.find(prefix)
    keys.asked.clear()
    for prefix in sorted(keys.prefixes)[2:]:
        await cache.find(prefix)
    assert keys.asked == []
    await cache.find("known000")
    assert keys.asked == ["known000"]
    await cache.close()


async def test_closing_cancels_running_look_ups(keys):
    cache = KeyCache(keys.find)
    keys.open.clear()
    waiting = asyncio.create_task(cache.find("known001"))
    await settle(keys, 1)
    await cache.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    keys.open.set()


async def test_a_revoked_key_is_refused_within_five_seconds(control, control_dsn):
    new = control.create_key(kind=KeyKind.SK, env=KeyEnv.LIVE, project="shop")
    elsewhere = open_control(control_dsn, pepper=PEPPER)
    cache = KeyCache(elsewhere.find_keys)
    assert await cache.find(new.key.prefix) == new.record
    control.revoke_key(new.key.prefix)
    revoked_at_s = time.monotonic()
    while await cache.find(new.key.prefix) is not None:
        assert time.monotonic() - revoked_at_s < 5
        await asyncio.sleep(0.05)
    await cache.close()
    elsewhere.close()
