"""The windows of ``millimetric-mcp report``: local days, and the time before them."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from millimetric_mcp.cli.report.windows import find_range
from millimetric_mcp.errors import SettingsError

NOW = datetime(2026, 5, 16, 19, 30, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def find(name="30d", first=None, last=None, *, zone=BERLIN, now=NOW):
    return find_range(name, first, last, zone, now)


def test_thirty_days_end_now_and_begin_at_a_local_midnight():
    shown = find()

    assert (shown.window.start, shown.window.end) == (at("2026-04-16T22:00"), NOW)
    assert (shown.before.start, shown.before.end) == (
        at("2026-03-17T23:00"),
        at("2026-04-16T20:30"),
    )


def test_the_time_before_ends_at_the_same_time_of_day():
    [today, yesterday] = find().today

    assert (today.start, today.end) == (at("2026-05-15T22:00"), NOW)
    assert (yesterday.start, yesterday.end) == (at("2026-05-14T22:00"), NOW - timedelta(days=1))


def test_a_range_that_is_today_has_no_other_today():
    assert find("today").today is None
    assert find("today").interval == "hour"


def test_own_days_are_whole_and_both_included():
    shown = find(first="2026-05-01", last="2026-05-03")

    assert (shown.window.start, shown.window.end) == (
        at("2026-04-30T22:00"),
        at("2026-05-03T22:00"),
    )
    assert (shown.before.start, shown.before.end) == (
        at("2026-04-27T22:00"),
        at("2026-04-30T22:00"),
    )


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25)])
def test_a_day_on_which_clocks_change_has_all_its_hours(day, hours):
    shown = find(first=day, last=day, now=datetime(2027, 1, 1, tzinfo=UTC))

    assert len(list(shown.list_buckets())) == hours


@pytest.mark.parametrize(
    ("first", "interval", "count"),
    [
        ("2026-05-15", "hour", 46),
        ("2026-04-01", "day", 46),
        ("2026-01-01", "week", 20),
        ("2024-01-01", "month", 29),
    ],
)
def test_the_buckets_cover_the_window(first, interval, count):
    shown = find(first=first)
    buckets = list(shown.list_buckets())

    assert (shown.interval, len(buckets)) == (interval, count)
    assert buckets[0] <= shown.window.start
    assert all(one < other for one, other in pairwise(buckets))
    assert buckets[-1] < shown.window.end


@pytest.mark.parametrize(
    ("first", "last", "option"),
    [
        ("1 May", None, "--first-day"),
        ("2026-05-01", "31", "--last-day"),
        (None, "2026-05-01", "--last-day"),
        ("2026-05-02", "2026-05-01", "--first-day"),
        ("2026-05-17", None, "--first-day"),
    ],
)
def test_a_wrong_day_is_named(first, last, option):
    with pytest.raises(SettingsError, match=option):
        find(first=first, last=last)
