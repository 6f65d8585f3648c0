import pytest
from hypothesis import given
from hypothesis import strategies as st

from millimetric_mcp.api.ratelimit import RateLimiter, TokenBucket, take_token
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.endpoints import BATCH, ENDPOINTS, IDENTIFY, TRACK
from millimetric_mcp.contract.keys import KeyEnv, KeyKind, KeyRecord
from millimetric_mcp.errors import RequestError
from millimetric_mcp.settings import RateLimits

S = 1_000_000_000


def make_key(kind: KeyKind = KeyKind.SK, project_id: int = 1) -> KeyRecord:
    return KeyRecord(
        prefix="AAAAAAAA",
        kind=kind,
        env=KeyEnv.LIVE,
        project_id=project_id,
        project="default",
        origins=frozenset(),
        secret_hash=bytes(32),
    )


SERVER_KEY = make_key()


class Clock:
    now_ns = 5 * S

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> RateLimiter:
    return RateLimiter(RateLimits(), clock=clock)


def take_all(limiter: RateLimiter, endpoint=TRACK, key: KeyRecord = SERVER_KEY) -> int:
    """How many tokens there are, by taking them."""
    for count in range(10_000):
        try:
            limiter.take(key, endpoint)
        except RequestError:
            return count
    raise AssertionError("the bucket has no bottom")


def refused_for_s(limiter: RateLimiter, endpoint=TRACK) -> int:
    with pytest.raises(RequestError) as refused:
        limiter.take(SERVER_KEY, endpoint)
    assert refused.value.code is ErrorCode.RATE_LIMITED
    assert refused.value.status == 429
    return refused.value.body()["retry_after_s"]


@pytest.mark.parametrize(
    ("endpoint", "burst", "per_s"), [(TRACK, 200, 50), (BATCH, 20, 5)], ids=["track", "batch"]
)
def test_a_burst_and_then_the_rate_is_allowed(limiter, clock, endpoint, burst, per_s):
    assert take_all(limiter, endpoint) == burst
    clock.now_ns += 1 * S
    assert take_all(limiter, endpoint) == per_s
    clock.now_ns += 3600 * S
    assert take_all(limiter, endpoint) == burst


@pytest.mark.parametrize("endpoint", [e for e in ENDPOINTS if e not in {TRACK, BATCH}])
def test_other_endpoints_are_not_limited(limiter, endpoint):
    for _ in range(1000):
        limiter.take(SERVER_KEY, endpoint)


def test_nothing_is_limited_without_limits(clock):
    limiter = RateLimiter(None, clock=clock)
    for _ in range(1000):
        limiter.take(SERVER_KEY, TRACK)


def test_each_project_and_route_has_its_own_bucket(limiter):
    assert take_all(limiter, TRACK) == 200
    assert take_all(limiter, BATCH) == 20
    assert take_all(limiter, TRACK, make_key(project_id=2)) == 200


def test_a_browser_key_leaves_the_rate_of_server_keys_untouched(limiter):
    assert take_all(limiter, TRACK, make_key(KeyKind.PK)) == 200
    assert take_all(limiter, TRACK, SERVER_KEY) == 200


def test_identify_with_a_browser_key_counts_as_track(limiter):
    browser_key = make_key(KeyKind.PK)
    assert take_all(limiter, IDENTIFY, browser_key) == 200
    assert take_all(limiter, TRACK, browser_key) == 0


@pytest.mark.parametrize(
    ("limits", "retry_after_s"),
    [
        pytest.param(RateLimits(), 1, id="a fiftieth of a second is one second"),
        pytest.param(RateLimits(track_per_s=1, track_burst=1), 1, id="a second is one second"),
        pytest.param(RateLimits(track_per_s=0.999, track_burst=1), 2, id="a bit more is two"),
        pytest.param(RateLimits(track_per_s=0.1, track_burst=3), 10, id="ten seconds"),
        pytest.param(RateLimits(track_per_s=1e-300, track_burst=1), 86_400, id="a day at most"),
    ],
)
def test_the_wait_is_rounded_up_to_a_second(clock, limits, retry_after_s):
    limiter = RateLimiter(limits, clock=clock)
    take_all(limiter)
    assert refused_for_s(limiter) == retry_after_s


def test_a_refused_call_takes_no_token(limiter, clock):
    take_all(limiter)
    for _ in range(100):
        refused_for_s(limiter)
    clock.now_ns += S // 50
    limiter.take(SERVER_KEY, TRACK)


buckets = st.builds(
    TokenBucket.of, per_s=st.floats(0.01, 10_000, allow_nan=False), burst=st.integers(1, 50)
)
steps_ns = st.lists(st.integers(0, 3 * S), max_size=60)


@given(bucket=buckets, steps=steps_ns)
def test_a_token_is_free_after_the_wait_and_not_before(bucket, steps):
    now_ns = full_at_ns = 0
    for step_ns in steps:
        now_ns += step_ns
        full_at_ns, wait_ns = take_token(bucket, full_at_ns=full_at_ns, now_ns=now_ns)
        if wait_ns:
            assert take_token(bucket, full_at_ns=full_at_ns, now_ns=now_ns + wait_ns)[1] == 0
            assert take_token(bucket, full_at_ns=full_at_ns, now_ns=now_ns + wait_ns - 1)[1] == 1


@given(bucket=buckets, steps=steps_ns)
def test_no_period_allows_more_than_burst_and_rate(bucket, steps):
    now_ns = full_at_ns = 0
    taken_at_ns: list[int] = []
    for step_ns in steps:
        now_ns += step_ns
        full_at_ns, wait_ns = take_token(bucket, full_at_ns=full_at_ns, now_ns=now_ns)
        if not wait_ns:
            taken_at_ns.append(now_ns)
    for first, start_ns in enumerate(taken_at_ns):
        for last in range(first, len(taken_at_ns)):
            window_ns = taken_at_ns[last] - start_ns
            assert last - first + 1 <= bucket.burst + window_ns // bucket.interval_ns


@given(bucket=buckets, idle_ns=st.integers(0, 10 * S))
def test_a_bucket_holds_at_most_its_burst(bucket, idle_ns):
    full_at_ns, taken = 0, 0
    while True:
        full_at_ns, wait_ns = take_token(bucket, full_at_ns=full_at_ns, now_ns=idle_ns)
        if wait_ns:
            break
        taken += 1
    assert taken == bucket.burst


def test_memory_grows_with_recently_active_projects_only(limiter, clock):
    for project_id in range(20_000):
        limiter.take(make_key(project_id=project_id), TRACK)
        clock.now_ns += S // 1000
    assert len(limiter._full_at_ns) <= 2048


def test_sweeping_keeps_buckets_that_are_not_full(limiter, clock):
    assert take_all(limiter) == 200
    for project_id in range(2, 5000):
        limiter.take(make_key(project_id=project_id), TRACK)
    refused_for_s(limiter)
