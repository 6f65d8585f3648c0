"""Every form of a window, at fixed moments, on ordinary days and on days when clocks change."""

import itertools
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from millimetric_mcp.errors import InvalidArguments, MillimetricError, WindowError
from millimetric_mcp.mcp.window import PERIODS, resolve_window

NOW = datetime(2026, 5, 16, 15, 4, 26, 500_000, tzinfo=UTC)  # a Saturday
SECOND = "2026-05-16T15:04:27Z"


def moment(text):
    return datetime.fromisoformat(text)


def resolve(from_=None, to=None, *, timezone="UTC", now=NOW):
    return resolve_window(from_, to, timezone=timezone, now=now)


FORMS = [
    # from, to, start, end; in UTC, on Saturday 2026-05-16 at 15:04:26.5
    (None, None, "2026-04-16T15:04:27Z", SECOND),
    ("30m", None, "2026-05-16T14:34:27Z", SECOND),
    ("24h", None, "2026-05-15T15:04:27Z", SECOND),
    ("7d", None, "2026-05-09T15:04:27Z", SECOND),
    ("4w", None, "2026-04-18T15:04:27Z", SECOND),
    ("3mo", None, "2026-02-16T15:04:27Z", SECOND),
    ("1y", None, "2025-05-16T15:04:27Z", SECOND),
    (" 7d ", "now", "2026-05-09T15:04:27Z", SECOND),
    ("7d", "24h", "2026-05-09T15:04:27Z", "2026-05-15T15:04:27Z"),
    ("now", None, SECOND, SECOND),
    ("today", None, "2026-05-16T00:00Z", SECOND),
    ("yesterday", None, "2026-05-15T00:00Z", "2026-05-16T00:00Z"),
    ("this_week", None, "2026-05-11T00:00Z", SECOND),
    ("last_week", None, "2026-05-04T00:00Z", "2026-05-11T00:00Z"),
    ("this_month", None, "2026-05-01T00:00Z", SECOND),
    ("last_month", None, "2026-04-01T00:00Z", "2026-05-01T00:00Z"),
    ("this_quarter", None, "2026-04-01T00:00Z", SECOND),
    ("last_quarter", None, "2026-01-01T00:00Z", "2026-04-01T00:00Z"),
    ("this_year", None, "2026-01-01T00:00Z", SECOND),
    ("last_year", None, "2025-01-01T00:00Z", "2026-01-01T00:00Z"),
    ("last_week", "yesterday", "2026-05-04T00:00Z", "2026-05-16T00:00Z"),
    ("last_month", "last_month", "2026-04-01T00:00Z", "2026-05-01T00:00Z"),
    ("last_month", "today", "2026-04-01T00:00Z", SECOND),
    ("2026-05-01", "this_week", "2026-05-01T00:00Z", SECOND),
    (None, "yesterday", "2026-04-16T00:00Z", "2026-05-16T00:00Z"),
    (None, "2026-05-01", "2026-04-01T00:00Z", "2026-05-01T00:00Z"),
    ("2026-05-01", None, "2026-05-01T00:00Z", SECOND),
    ("2026-05-01", "2026-05-16", "2026-05-01T00:00Z", "2026-05-16T00:00Z"),
    ("2026-05-16", "2026-05-16", "2026-05-16T00:00Z", "2026-05-16T00:00Z"),
    ("2026-05-01", "2027-01-01", "2026-05-01T00:00Z", "2027-01-01T00:00Z"),
    ("2026-05-01T10:00", None, "2026-05-01T10:00Z", SECOND),
    ("2026-05-01 10:00:05.1239", None, "2026-05-01T10:00:05.123Z", SECOND),
    ("2026-05-01T10:00:00Z", "2026-05-01T12:00:00+02:00", "2026-05-01T10:00Z", "2026-05-01T10:00Z"),
    ("2026-05-01T10:00:00-05:30", None, "2026-05-01T15:30Z", SECOND),
    ("1970-01-01", "2100-01-01", "1970-01-01T00:00Z", "2100-01-01T00:00Z"),
]


@pytest.mark.parametrize(("from_", "to", "start", "end"), FORMS)
def test_a_form_means_one_window(from_, to, start, end):
    window = resolve(from_, to)
    assert (window.start_utc, window.end_utc) == (moment(start), moment(end))
    assert (window.from_, window.to) == (from_ and from_.strip(), to)


def test_every_named_period_is_in_the_table():
    assert {from_ for from_, *_ in FORMS} >= set(PERIODS)


ZONES = """
  # now in UTC         from              to          start in UTC         end in UTC
Europe/Berlin
  # Berlin, clocks forward on Sunday 2026-03-29 at 02:00
  2026-03-29T12:00     today             -           2026-03-28T23:00     2026-03-29T12:00:01
  2026-03-30T12:00     yesterday         -           2026-03-28T23:00     2026-03-29T22:00
  2026-03-30T12:00     24h               -           2026-03-29T12:00:01  2026-03-30T12:00:01
  2026-03-29T12:00     24h               -           2026-03-28T12:00:01  2026-03-29T12:00:01
  2026-03-29T12:00     1d                -           2026-03-28T13:00:01  2026-03-29T12:00:01
  2026-03-30T12:00     last_week         -           2026-03-22T23:00     2026-03-29T22:00
  2026-04-10T12:00     last_month        -           2026-02-28T23:00     2026-03-31T22:00
  2026-03-29T12:00     2026-03-29T02:30  -           2026-03-29T01:30     2026-03-29T12:00:01
  2026-03-30T00:29:59  1d                -           2026-03-29T01:30     2026-03-30T00:30
  # Berlin, clocks back on Sunday 2026-10-25 at 03:00
  2026-10-26T12:00     yesterday         -           2026-10-24T22:00     2026-10-25T23:00
  2026-10-25T12:00     1d                -           2026-10-24T11:00:01  2026-10-25T12:00:01
  2026-10-25T12:00     2026-10-25T02:30  -           2026-10-25T00:30     2026-10-25T12:00:01
  2026-10-25T01:30     30m               -           2026-10-25T01:00:01  2026-10-25T01:30:01
America/New_York
  # New York, forward on 2026-03-08, back on 2026-11-01
  2026-03-09T12:00     yesterday         -           2026-03-08T05:00     2026-03-09T04:00
  2026-11-02T12:00     yesterday         -           2026-11-01T04:00     2026-11-02T05:00
  2026-05-17T01:00     today             -           2026-05-16T04:00     2026-05-17T01:00:01
  2026-05-11T01:00     this_week         -           2026-05-04T04:00     2026-05-11T01:00:01
  2026-12-10T12:00     2026-11-01        2026-12-01  2026-11-01T04:00     2026-12-01T05:00
Australia/Lord_Howe
  # Lord Howe, half an hour back on 2026-04-05, forward on 2026-10-04
  2026-04-06T02:00     yesterday         -           2026-04-04T13:00     2026-04-05T13:30
  2026-10-05T02:00     yesterday         -           2026-10-03T13:30     2026-10-04T13:00
  2026-10-05T02:00     2026-10-04T02:10  -           2026-10-03T15:40     2026-10-05T02:00:01
Asia/Kathmandu
  # Kathmandu, 05:45 ahead
  2026-05-16T18:14:59  today             -           2026-05-15T18:15     2026-05-16T18:15
  2026-05-16T18:15:00  today             -           2026-05-16T18:15     2026-05-16T18:15:01
  2026-05-16T12:00     2026-05-01        2026-05-02  2026-04-30T18:15     2026-05-01T18:15
Africa/Cairo
  # Cairo, a day that begins at 01:00: clocks forward on Friday 2026-04-24 at 00:00
  2026-04-25T12:00     yesterday         -           2026-04-23T22:00     2026-04-24T21:00
UTC
  # Months of other lengths
  2026-03-31T12:00     1mo               -           2026-02-28T12:00:01  2026-03-31T12:00:01
  2024-02-29T12:00     1y                -           2023-02-28T12:00:01  2024-02-29T12:00:01
  2026-01-15T12:00     last_month        -           2025-12-01T00:00     2026-01-01T00:00
  2026-01-15T12:00     last_quarter      -           2025-10-01T00:00     2026-01-01T00:00
  2026-12-31T23:59:59  this_year         -           2026-01-01T00:00     2027-01-01T00:00
  2027-01-01T00:00     last_year         -           2026-01-01T00:00     2027-01-01T00:00
"""


def read_zones():
    zone = None
    for line in ZONES.splitlines():
        cells = [None if cell == "-" else cell for cell in line.split()]
        if len(cells) == 1:
            (zone,) = cells
        elif cells and cells[0] != "#":
            yield zone, *cells


@pytest.mark.parametrize(("timezone", "now", "from_", "to", "start", "end"), [*read_zones()])
def test_days_follow_the_zone_and_its_clock_changes(timezone, now, from_, to, start, end):
    window = resolve(from_, to, timezone=timezone, now=moment(f"{now}Z"))
    assert (window.start_utc, window.end_utc) == (moment(f"{start}Z"), moment(f"{end}Z"))


def test_the_clock_may_be_given_in_any_zone():
    tokyo = NOW.astimezone(ZoneInfo("Asia/Tokyo"))
    assert resolve("today", now=tokyo) == resolve("today")


def test_an_event_stored_this_very_moment_belongs_to_a_window_up_to_now():
    window = resolve("today", now=NOW)
    assert window.start_utc <= NOW < window.end_utc


RUNNING = [
    # zone, from, to, whether a part of today belongs to it; now is 2026-05-16T15:04:26.5Z
    ("UTC", None, None, True),
    ("UTC", "24h", None, True),
    ("UTC", "today", None, True),
    ("UTC", "this_year", None, True),
    ("UTC", "yesterday", None, False),
    ("UTC", "last_month", None, False),
    ("UTC", "7d", "2026-05-16", False),
    ("UTC", "7d", "2026-05-17", True),
    ("UTC", "2026-05-17", "2026-05-18", False),
    ("UTC", "2026-05-16T08:00", "2026-05-16T09:00", True),
    ("UTC", "now", None, False),
    ("Pacific/Auckland", "2026-05-16T10:00Z", "2026-05-16T12:00Z", False),
    ("Pacific/Auckland", "2026-05-16T10:00Z", "2026-05-16T12:00:01Z", True),
    ("Pacific/Honolulu", "2026-05-16T08:00Z", "2026-05-16T10:00Z", False),
]


@pytest.mark.parametrize(("timezone", "from_", "to", "expected"), RUNNING)
def test_a_window_knows_whether_its_day_still_runs(timezone, from_, to, expected):
    window = resolve(from_, to, timezone=timezone)
    assert window.includes_running_day is expected
    assert ("includes today, still running" in window.describe()) is expected


PREVIOUS = [
    # zone, from, to, start of the previous window
    ("UTC", "7d", None, "2026-05-02T15:04:27Z"),
    ("UTC", "24h", None, "2026-05-14T15:04:27Z"),
    ("UTC", "30m", None, "2026-05-16T14:04:27Z"),
    ("UTC", "last_month", None, "2026-03-01T00:00Z"),
    ("UTC", "last_quarter", None, "2025-10-01T00:00Z"),
    ("UTC", "last_year", None, "2024-01-01T00:00Z"),
    ("UTC", "2026-02-01", "2026-04-01", "2025-12-01T00:00Z"),
    ("UTC", "2026-02-02", "2026-04-01", "2025-12-06T00:00Z"),
    ("UTC", "last_week", None, "2026-04-27T00:00Z"),
    ("UTC", "this_month", None, "2026-04-15T08:55:33Z"),
    ("UTC", "2026-05-16", "2026-05-16", "2026-05-16T00:00Z"),
    ("UTC", "1970-01-02", "2026-05-16", "1970-01-01T00:00Z"),
    ("UTC", "1970-01-01", "2026-05-01", "1970-01-01T00:00Z"),
    # days and months as the zone counts them: 2026-03-29 has 23 hours in Berlin
    ("Europe/Berlin", "2026-03-30", "2026-03-31", "2026-03-28T23:00Z"),
    ("Europe/Berlin", "2026-03-29", "2026-03-30", "2026-03-27T23:00Z"),
    ("Europe/Berlin", "2026-04-01", "2026-05-01", "2026-02-28T23:00Z"),
    ("Europe/Berlin", "2026-03-29T04:00", "2026-03-29T05:00", "2026-03-29T01:00Z"),
    # days that begin at 01:00, for clocks skip midnight
    ("America/Havana", "2026-03-08", "2026-03-09", "2026-03-07T05:00Z"),
    ("America/Havana", "2026-03-01", "2026-03-08", "2026-02-22T05:00Z"),
    ("America/Santiago", "2026-09-06", "2026-09-07", "2026-09-05T04:00Z"),
    ("Africa/Cairo", "2026-04-24", "2026-04-25", "2026-04-22T22:00Z"),
    ("Africa/Cairo", "2026-04-24T01:00", "2026-04-24T02:00", "2026-04-23T21:00Z"),
    # the hour that comes twice is an hour, though both its ends read 02:30
    ("Europe/Berlin", "2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00", "2026-10-24T23:30Z"),
]


@pytest.mark.parametrize(("timezone", "from_", "to", "start"), PREVIOUS)
def test_the_previous_window_ends_where_this_one_starts_and_is_as_long(timezone, from_, to, start):
    window = resolve(from_, to, timezone=timezone)
    previous = window.previous()
    assert (previous.start_utc, previous.end_utc) == (moment(start), window.start_utc)
    assert (previous.timezone, previous.includes_running_day) == (timezone, False)


DESCRIPTIONS = {
    ("UTC", "7d", None): (
        "Window: 2026-05-09T15:04:27Z to 2026-05-16T15:04:27Z exclusive; zone UTC; "
        "includes today, still running."
    ),
    ("Europe/Berlin", "2026-03-01", "2026-04-01"): (
        "Window: 2026-03-01T00:00+01:00 to 2026-04-01T00:00+02:00 exclusive "
        "(nothing of 2026-04-01); zone Europe/Berlin; buckets are UTC."
    ),
    ("Etc/UTC", "2026-05-01T10:00:00.5Z", "2026-05-02T00:00Z"): (
        "Window: 2026-05-01T10:00:00.500Z to 2026-05-02T00:00Z exclusive; zone Etc/UTC."
    ),
    ("Asia/Kathmandu", "last_month", None): (
        "Window: 2026-04-01T00:00+05:45 to 2026-05-01T00:00+05:45 exclusive; "
        "zone Asia/Kathmandu; buckets are UTC."
    ),
    ("UTC", "2026-05-16", "2026-05-16"): (
        "Window: empty; from and to are both 2026-05-16T00:00Z, and to is exclusive "
        "(nothing of 2026-05-16)."
    ),
}


@pytest.mark.parametrize(("given", "line"), DESCRIPTIONS.items())
def test_a_window_is_described_in_one_line_with_both_ends_and_the_zone(given, line):
    timezone, from_, to = given
    window = resolve(from_, to, timezone=timezone)
    assert window.describe(has_buckets=True) == line
    assert window.describe() == line.replace("; buckets are UTC", "")


@pytest.mark.parametrize(
    ("from_", "to", "timezone", "fields"),
    [
        ("sometime", "never", "Nowhere", ["timezone", "from", "to"]),
        ("sometime", None, "", ["timezone", "from"]),
        ("sometime", "99999y", "UTC", ["from", "to"]),
        ("7d", "never", "Berlin", ["timezone", "to"]),
    ],
)
def test_every_fault_of_a_window_is_named_at_once(from_, to, timezone, fields):
    with pytest.raises(InvalidArguments) as caught:
        resolve(from_, to, timezone=timezone)
    assert [fault.partition(":")[0] for fault in caught.value.errors] == fields


@pytest.mark.parametrize(
    "from_",
    [" " * 5000 + "2026-05-17", "2026-05-17T00:00:00." + "1" * 5000 + "Z"],
    ids=["blanks", "a fraction"],
)
def test_a_long_form_is_cut_where_it_is_quoted(from_):
    with pytest.raises(WindowError) as caught:
        resolve(from_, from_.replace("17", "16"))
    assert "from=2026-05-17" in str(caught.value)
    assert len(str(caught.value)) < 300


NEAREST = [
    # what was written, what was meant
    ("last 7 days", "7d"),
    ("past 24 hours", "24h"),
    ("7 days ago", "7d"),
    ("7D", "7d"),
    ("-7d", "7d"),
    ("now-24h", "24h"),
    ("P7D", "7d"),
    ("PT30M", "30m"),
    ("3M", "3mo"),
    ("3 months", "3mo"),
    ("2 years", "2y"),
    ("90min", "90m"),
    ("last month", "last_month"),
    ("Last-Month", "last_month"),
    ("previous_week", "last_week"),
    ("current month", "this_month"),
    ("lastmonth", "last_month"),
    ("this_yaer", "this_year"),
    ("yesteday", "yesterday"),
    ("Today", "today"),
    ("mtd", "this_month"),
    ("this_day", "today"),
    ("last hour", "1h"),
    ("past_day", "1d"),
    ("this_hour", None),
    ("monday", None),
    ("last_monday", None),
    ("next_week", None),
    ("tonigth", None),
    ("YTD", "this_year"),
    ("2026-5-1", "2026-05-01"),
    ("2026/05/16", "2026-05-16"),
    ("2026-02-30", "2026-02-28"),
    ("2026-05", "2026-05-01"),
    ("2026-05-16T25:00", "2026-05-16"),
    ("2026-13-01", None),
    ("0000-01-01", None),
    ("0d", None),
    ("90s", None),
    ("1778932800", None),
    ("", None),
    ("\u202etoday\x1b[31m", "today"),
    ("x" * 10_000, None),
]


@pytest.mark.parametrize("field", ["from", "to"])
@pytest.mark.parametrize(("text", "nearest"), NEAREST)
def test_what_is_no_form_is_refused_with_the_field_the_rule_and_the_nearest(text, nearest, field):
    with pytest.raises(WindowError) as caught:
        resolve(**{"from_" if field == "from" else "to": text})
    error = caught.value
    assert (error.field, error.nearest) == (field, nearest)
    assert str(error).startswith(f"{field}: must be ISO 8601, a date, now")
    assert (f"did you mean {nearest}?" if nearest else f"for example {error.example}") in str(error)


def test_a_window_error_is_a_value_error_of_this_package():
    assert issubclass(WindowError, ValueError)
    assert issubclass(WindowError, MillimetricError)


@pytest.mark.parametrize(("text", "nearest"), [item for item in NEAREST if item[1]])
def test_the_nearest_form_is_itself_valid(text, nearest):
    assert resolve(nearest, "2100-01-01").start_utc < NOW


@pytest.mark.parametrize(
    ("from_", "to", "named", "nearest"),
    [
        ("2026-05-10", "2026-05-01", "to=2026-05-01", "from=2026-05-01 to=2026-05-10"),
        ("today", "last_week", "to=last_week", "from=last_week to=today"),
        ("2026-05-17", None, "to=now", None),
    ],
)
def test_a_window_that_runs_backwards_names_both_its_ends(from_, to, named, nearest):
    with pytest.raises(WindowError, match="must not be after") as caught:
        resolve(from_, to)
    assert f"from={from_} (" in str(caught.value)
    assert f"{named} (" in str(caught.value)
    assert caught.value.nearest == nearest


@pytest.mark.parametrize(
    ("from_", "to", "field"),
    [
        ("1969-12-31", None, "from"),
        ("0001-01-01", None, "from"),
        ("99999y", None, "from"),
        ("99999w", None, "from"),
        ("7d", "2100-01-02", "to"),
        ("7d", "9999-12-31T23:59:59-12:00", "to"),
        (None, "1970-01-05", "from"),
    ],
)
def test_a_window_lies_between_1970_and_2100(from_, to, field):
    with pytest.raises(WindowError) as caught:
        resolve(from_, to, timezone="Asia/Tokyo")
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("europe/berlin", "Europe/Berlin"),
        ("Berlin", "Europe/Berlin"),
        ("Europe/Brelin", "Europe/Berlin"),
        ("New York", "America/New_York"),
        ("America/NewYork", "America/New_York"),
        ("Asia/Katmandu2", "Asia/Katmandu"),
        ("utc", "UTC"),
    ],
)
def test_an_unknown_zone_is_answered_with_the_nearest_ones(name, nearest):
    with pytest.raises(WindowError) as caught:
        resolve(timezone=name)
    assert caught.value.field == "timezone"
    assert nearest in caught.value.nearest.split(" or ")


@pytest.mark.parametrize(
    "name", ["", "+02:00", "../etc/passwd", "/etc/localtime", "a\x00b", "Europe", "😀"]
)
def test_what_names_no_zone_at_all_is_refused_with_an_example(name):
    with pytest.raises(WindowError) as caught:
        resolve(timezone=name)
    assert (caught.value.field, caught.value.example) == ("timezone", "Europe/Berlin")


@pytest.mark.parametrize(
    "name", ["+02:00", "UTC+1", "GMT-03:30", "utc +2", "etc/localtime", "factory"]
)
def test_no_zone_is_taken_for_near_that_is_another_or_none(name):
    with pytest.raises(WindowError) as caught:
        resolve(timezone=name)
    assert caught.value.nearest is None


def test_windows_in_a_row_cover_each_moment_once():
    days = ["2026-03-28", "2026-03-29", "2026-03-30", "2026-03-31"]
    windows = [resolve(*pair, timezone="Europe/Berlin") for pair in itertools.pairwise(days)]
    assert all(a.end_utc == b.start_utc for a, b in itertools.pairwise(windows))
