"""Rules that hold for every window, in every zone, at every moment."""

from contextlib import suppress
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from millimetric_mcp.contract.reads import SourcesParams
from millimetric_mcp.errors import InvalidArguments
from millimetric_mcp.mcp.window import PERIODS, resolve_window

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Africa/Cairo",
    "America/Havana",
    "Pacific/Apia",
    "Africa/Casablanca",
)

moments = st.datetimes(datetime(1975, 1, 1), datetime(2080, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
lengths = st.builds(
    "{}{}".format, st.integers(1, 40), st.sampled_from(["m", "h", "d", "w", "mo", "y"])
)
dates = st.dates(datetime(1975, 1, 1).date(), datetime(2080, 1, 1).date()).map(str)  # noqa: DTZ001
local_times = st.datetimes(datetime(1975, 1, 1), datetime(2080, 1, 1)).map(  # noqa: DTZ001
    lambda value: value.isoformat(timespec="seconds")
)
forms = st.one_of(st.none(), st.just("now"), st.sampled_from(PERIODS), lengths, dates, local_times)


@settings(max_examples=400, deadline=None)
@given(from_=forms, to=forms, timezone=st.sampled_from(ZONES), now=moments)
def test_window_starts_before_it_ends_and_after_the_previous_one(from_, to, timezone, now):
    try:
        window = resolve_window(from_, to, timezone=timezone, now=now)
    except InvalidArguments:
        assume(False)
    assert window.start_utc <= window.end_utc
    previous = window.previous()
    assert previous.start_utc <= previous.end_utc == window.start_utc
    assert previous.is_empty <= (window.is_empty or window.start_utc.year < 2000)
    SourcesParams(from_=window.start_utc, to=window.end_utc)
    for line in (window.describe(), previous.describe()):
        assert line.startswith("Window: ")
        assert "\n" not in line


@settings(max_examples=300, deadline=None)
@given(period=st.sampled_from(PERIODS), timezone=st.sampled_from(ZONES), now=moments)
def test_named_period_starts_with_a_day_and_contains_now_only_if_it_has_not_ended(
    period, timezone, now
):
    window = resolve_window(period, None, timezone=timezone, now=now)
    start = window.start_utc.astimezone(ZoneInfo(timezone))
    assert start.hour <= 1
    runs = period == "today" or period.startswith("this_")
    assert (window.start_utc <= now < window.end_utc) is runs
    assert window.includes_running_day is runs


@settings(max_examples=300, deadline=None)
@given(period=st.sampled_from(["week", "month", "quarter", "year"]), now=moments)
def test_last_period_ends_where_this_one_starts(period, now):
    last, this = (
        resolve_window(f"{which}_{period}", None, timezone="Europe/Berlin", now=now)
        for which in ("last", "this")
    )
    assert last.end_utc == this.start_utc
    assert last.previous().end_utc == last.start_utc


years = st.integers(0, 9999).map("{:04d}-01-01".format)
texts = st.one_of(st.text(max_size=30), years, years.map("{}T00:00:00+14:00".format))


@settings(max_examples=500, deadline=None)
@given(text=texts, timezone=st.sampled_from(ZONES))
def test_any_text_gives_a_window_or_invalid_arguments(text, timezone):
    now = datetime(2026, 5, 16, 15, 4, 26, tzinfo=UTC)
    for from_, to in ((text, None), (None, text)):
        with suppress(InvalidArguments):
            assert resolve_window(from_, to, timezone=timezone, now=now).describe()


@settings(max_examples=200, deadline=None)
@given(name=st.text(max_size=30))
def test_any_text_is_a_zone_or_gives_invalid_arguments(name):
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        with pytest.raises(InvalidArguments):
            resolve_window(None, None, timezone=name, now=datetime(2026, 5, 16, tzinfo=UTC))
