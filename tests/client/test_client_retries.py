"""When a call is sent again, how long it waits before, and when it gives up."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from millimetric_mcp.client.client import FIRST_BACKOFF_S, MAX_ATTEMPTS, RetryTiming
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.errors import ApiError, CallError, NextStep, UncertainWrite, UpstreamError

NOW = datetime(2026, 5, 16, 15, 4, 26, tzinfo=UTC)


class Script:
    """Answers request after request as scripted; an exception class is raised."""

    def __init__(self, *steps):
        self.steps = list(steps)
        self.sent = 0

    def __call__(self, request):
        self.sent += 1
        step = self.steps.pop(0)
        if isinstance(step, type):
            raise step("", request=request)
        return step


def limited(retry_after=None, *, date=None, body=None):
    headers = {"retry-after": retry_after, "date": date}
    return httpx.Response(
        429,
        json={"error": "rate_limited", **(body or {})},
        headers={name: value for name, value in headers.items() if value is not None},
    )


def failed(status, code="upstream_failed"):
    return httpx.Response(status, json={"error": code})


def good(call):
    return httpx.Response(call.endpoint.status, json=call.answer)


SAFE = {
    "429": lambda: limited("0"),
    "503": lambda: failed(503),
    "503 without a body": lambda: httpx.Response(503),
    "no connection": lambda: httpx.ConnectError,
    "no connection in time": lambda: httpx.ConnectTimeout,
}
IDEMPOTENT = {
    "500": lambda: failed(500, "internal_error"),
    "502": lambda: failed(502),
    "504": lambda: httpx.Response(504),
    "reset": lambda: httpx.ReadError,
    "time-out": lambda: httpx.ReadTimeout,
    "cut short": lambda: httpx.RemoteProtocolError,
}


@pytest.mark.parametrize("fault", SAFE.values(), ids=SAFE.keys())
async def test_any_call_is_retried_if_nothing_was_stored(fault, call, connect):
    script = Script(fault(), fault(), good(call))
    async with connect(script) as client:
        assert isinstance(await call.run(client), call.endpoint.result)
    assert script.sent == 3


@pytest.mark.parametrize("fault", IDEMPOTENT.values(), ids=IDEMPOTENT.keys())
async def test_reads_are_retried_after_any_upstream_failure(fault, read, connect):
    script = Script(fault(), fault(), good(read))
    async with connect(script) as client:
        assert isinstance(await read.run(client), read.endpoint.result)
    assert script.sent == 3


@pytest.mark.parametrize("fault", IDEMPOTENT.values(), ids=IDEMPOTENT.keys())
async def test_a_write_that_may_be_stored_is_never_repeated(fault, write, connect):
    script = Script(fault(), good(write))
    async with connect(script) as client:
        with pytest.raises(UncertainWrite):
            await write.run(client)
    assert script.sent == 1


async def test_a_retried_write_that_breaks_is_uncertain(write, connect):
    script = Script(failed(503), httpx.ReadError, good(write))
    async with connect(script) as client:
        with pytest.raises(UncertainWrite):
            await write.run(client)
    assert script.sent == 2


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 405, 413, 415])
async def test_a_permanent_error_is_not_retried(status, call, connect):
    script = Script(httpx.Response(status), good(call))
    async with connect(script) as client:
        with pytest.raises(UpstreamError):
            await call.run(client)
    assert script.sent == 1


async def test_waits_double_and_stop_after_the_last_attempt(call, connect, fake_time):
    script = Script(*[httpx.ConnectError] * MAX_ATTEMPTS)
    async with connect(script) as client:
        with pytest.raises(UpstreamError):
            await call.run(client)
    assert fake_time.waits_s == [FIRST_BACKOFF_S * 2**n for n in range(MAX_ATTEMPTS - 1)]


def test_half_of_a_backoff_is_random():
    waits_s = [RetryTiming(jitter=lambda at=at: at).backoff_s(1) for at in (0.0, 0.5, 1.0)]
    assert waits_s == [FIRST_BACKOFF_S * part for part in (0.5, 0.75, 1.0)]


SOON, LATER = NOW + timedelta(seconds=2), NOW + timedelta(seconds=9)
RETRY_AFTER = [
    # header, Date header, seconds waited
    ("2", None, 2.0),
    (" 2 ", None, 2.0),
    ("0", None, FIRST_BACKOFF_S),
    (format_datetime(SOON, usegmt=True), NOW, 2.0),
    ("Saturday, 16-May-26 15:04:28 GMT", NOW, 2.0),
    (format_datetime(NOW - timedelta(seconds=9), usegmt=True), NOW, FIRST_BACKOFF_S),
    ("-5", None, FIRST_BACKOFF_S),
    ("1.5", None, FIRST_BACKOFF_S),
    ("soon", None, FIRST_BACKOFF_S),
    ("", None, FIRST_BACKOFF_S),
    ("٧", None, FIRST_BACKOFF_S),
    ("9" * 5000, None, FIRST_BACKOFF_S),
]


@pytest.mark.parametrize(("value", "date", "wait_s"), RETRY_AFTER)
async def test_a_short_retry_after_is_waited_for_as_seconds_or_date(
    value, date, wait_s, call, connect, fake_time
):
    answer = limited(value.encode(), date=date and format_datetime(date, usegmt=True))
    async with connect(Script(answer, good(call))) as client:
        await call.run(client)
    assert fake_time.waits_s == [wait_s]


LONG_WAITS = {
    "a moment too long": (lambda: limited("3"), 3.0),
    "seconds": (lambda: limited("7"), 7.0),
    "a date": (
        lambda: limited(
            format_datetime(LATER, usegmt=True), date=format_datetime(NOW, usegmt=True)
        ),
        9.0,
    ),
    "the body's seconds": (lambda: limited(body={"retry_after_s": 18}), 18.0),
    "longer than the call may take": (lambda: limited("31"), 31.0),
    "without a code": (lambda: httpx.Response(503, headers={"retry-after": "120"}), 120.0),
}


@pytest.mark.parametrize(("answer", "wait_s"), LONG_WAITS.values(), ids=LONG_WAITS)
async def test_a_long_wait_fails_at_once_with_its_seconds(answer, wait_s, call, connect, fake_time):
    script = Script(answer(), good(call))
    async with connect(script) as client:
        with pytest.raises(CallError) as caught:
            await call.run(client)
    assert (caught.value.next_step, caught.value.retry_after_s) == (NextStep.WAIT, wait_s)
    assert (script.sent, fake_time.waits_s) == (1, [])


async def test_a_retry_after_date_is_compared_with_our_clock_if_the_response_has_no_date(
    call, connect
):
    soon = datetime.now(UTC) + timedelta(seconds=100)
    script = Script(limited(format_datetime(soon, usegmt=True)), good(call))
    async with connect(script) as client:
        with pytest.raises(ApiError) as caught:
            await call.run(client)
    assert 60 < caught.value.retry_after_s <= 100


@pytest.mark.parametrize(
    ("seconds", "wait_s"),
    [(2, 2.0), (1.5, 1.5), (-1, 0.25), (1e300, 0.25), ("1", 0.25), (None, 0.25), ([], 0.25)],
)
async def test_retry_after_s_of_the_body_is_used_without_the_header(
    seconds, wait_s, call, connect, fake_time
):
    script = Script(limited(body={"retry_after_s": seconds}), good(call))
    async with connect(script) as client:
        await call.run(client)
    assert fake_time.waits_s == [wait_s]


async def test_a_wait_beyond_the_deadline_fails_at_once_with_its_seconds(call, connect, fake_time):
    script = Script(limited("2"), good(call))
    async with connect(script, timeout_s=1.5) as client:
        with pytest.raises(ApiError) as caught:
            await call.run(client)
    assert (caught.value.code, caught.value.retry_after_s) == (ErrorCode.RATE_LIMITED, 2.0)
    assert fake_time.waits_s == []


async def test_all_waits_of_a_call_together_are_short(call, connect, fake_time):
    script = Script(limited("1"), limited("2"), good(call))
    async with connect(script) as client:
        with pytest.raises(ApiError) as caught:
            await call.run(client)
    assert caught.value.retry_after_s == 2.0
    assert (script.sent, fake_time.waits_s) == (2, [1.0])


async def test_the_deadline_counts_all_attempts_together(call, connect, fake_time):
    script = Script(limited("1"), limited("1"), good(call))
    async with connect(script, timeout_s=1.5) as client:
        with pytest.raises(ApiError) as caught:
            await call.run(client)
    assert caught.value.retry_after_s == 1.0
    assert (script.sent, fake_time.waits_s) == (2, [1.0])


async def test_each_call_has_its_own_deadline_and_attempts(call, connect, fake_time):
    script = Script(limited("2"), good(call), limited("2"), good(call))
    async with connect(script, timeout_s=3) as client:
        await call.run(client)
        await call.run(client)
    assert fake_time.now_s == 4


@pytest.mark.parametrize(
    ("status", "is_said"), [(401, True), (404, True), (400, False), (500, False)]
)
async def test_an_error_without_a_known_code_says_what_to_check(status, is_said, read, connect):
    script = Script(*[httpx.Response(status)] * MAX_ATTEMPTS)
    async with connect(script) as client:
        with pytest.raises(UpstreamError) as failure:
            await read.run(client)
    assert ("check MILLIMETRIC_HOST" in str(failure.value)) is is_said


async def test_every_failure_is_a_call_error(call, connect):
    for step in (httpx.TooManyRedirects, httpx.DecodingError, httpx.UnsupportedProtocol):
        async with connect(Script(*[step] * MAX_ATTEMPTS)) as client:
            with pytest.raises(CallError):
                await call.run(client)
