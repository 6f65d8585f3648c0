"""Every form of a window, on ordinary days and on days when clocks change."""

import itertools
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from millimetric_mcp.errors import InvalidArguments
from millimetric_mcp.mcp.window import PERIODS, resolve_window

NOW = datetime(2026, 5, 16, 15, 4, 26, 500_000, tzinfo=UTC)  # a Saturday
SECOND = "2026-05-16T15:04:27Z"


def moment(text):
    return datetime.fromisoformat(text)


def resolve(from_=None, to=None, *, timezone="UTC", now=NOW):
    return resolve_window(from_, to, timezone=timezone, now=now)


def fail(from_=None, to=None, *, timezone="UTC"):
    """Return the one error of an invalid window."""
    with pytest.raises(InvalidArguments) as caught:
        resolve(from_, to, timezone=timezone)
    (error,) = caught.value.errors
    return error


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
def test_form_means_one_window(from_, to, start, end):
    window = resolve(from_, to)
    assert (window.start_utc, window.end_utc) == (moment(start), moment(end))
    assert (window.from_, window.to) == (from_ and from_.strip(), to)


def test_every_named_period_is_tested():
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


def test_now_may_be_in_any_zone():
    tokyo = NOW.astimezone(ZoneInfo("Asia/Tokyo"))
    assert resolve("today", now=tokyo) == resolve("today")


def test_window_up_to_now_contains_an_event_of_this_moment():
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
def test_window_knows_whether_it_contains_a_part_of_today(timezone, from_, to, expected):
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
def test_previous_window_ends_where_this_one_starts_and_is_as_long(timezone, from_, to, start):
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
        "(2026-04-01 not included); zone Europe/Berlin; buckets are UTC."
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
        "(2026-05-16 not included)."
    ),
}


@pytest.mark.parametrize(("given", "line"), DESCRIPTIONS.items())
def test_description_is_one_line_with_both_ends_and_the_zone(given, line):
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
def test_all_invalid_fields_are_named_at_once(from_, to, timezone, fields):
    with pytest.raises(InvalidArguments) as caught:
        resolve(from_, to, timezone=timezone)
    assert [error.partition(":")[0] for error in caught.value.errors] == fields


INVALID = [
    "last 7 days",
    "7D",
    "-7d",
    "0d",
    "90s",
    "Today",
    "next_week",
    "monday",
    "2026-5-1",
    "2026/05/16",
    "2026-02-30",
    "2026-05",
    "2026-05-16T25:00",
    "0000-01-01",
    "1778932800",
    "",
    "\u202etoday\x1b[31m",
    "x" * 10_000,
]


@pytest.mark.parametrize("field", ["from", "to"])
@pytest.mark.parametrize("text", INVALID)
def test_invalid_form_gives_an_error_with_the_field_all_forms_and_an_example(text, field):
    error = fail(**{"from_" if field == "from" else "to": text})
    assert error.startswith(f"{field}: must be ISO 8601, a date, now")
    assert error.endswith("; for example 7d, 2026-05-16 or last_month")
    assert error.isascii()
    assert error.isprintable()


@pytest.mark.parametrize(
    ("from_", "to", "ends"),
    [
        ("2026-05-10", "2026-05-01", ["2026-05-10T00:00Z", "2026-05-01T00:00Z"]),
        ("today", "last_week", ["2026-05-16T00:00Z", "2026-05-11T00:00Z"]),
        ("2026-05-17", None, ["2026-05-17T00:00Z", SECOND]),
    ],
)
def test_window_that_ends_before_its_start_gives_an_error_with_both_ends(from_, to, ends):
    assert fail(from_, to) == f"from: must not be after to; from is {ends[0]}, to is {ends[1]}"


@pytest.mark.parametrize(
    ("from_", "to", "field"),
    [
        ("1969-12-31", None, "from"),
        ("0001-01-01", None, "from"),
        ("99999y", None, "from"),
        ("99999w", None, "from"),
        ("7d", "2100-01-02", "to"),
        (None, "1970-01-05", "from"),
        (None, "0001-01-01", "to"),
        (None, "0001-01-01T00:00", "to"),
        (None, "0001-01-20T00:00:00Z", "to"),
        (None, "99999y", "to"),
        (None, "99999d", "to"),
        ("7d", "0001-01-01", "to"),
        ("9999-12-31T23:59:59Z", None, "from"),
    ],
)
@pytest.mark.parametrize("timezone", ["Asia/Tokyo", "America/New_York"])
def test_window_outside_1970_to_2100_gives_an_error(from_, to, field, timezone):
    error = fail(from_, to, timezone=timezone)
    assert error.startswith(f"{field}: must lie between 1970 and 2100; for example ")


@pytest.mark.parametrize("to", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
def test_time_that_utc_cannot_express_gives_an_error(to):
    assert fail(to=to).startswith("to: must be ")


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
def test_unknown_zone_gives_an_error_with_the_nearest_one(name, nearest):
    error = fail(timezone=name)
    assert error == f"timezone: must be an IANA time zone name; did you mean {nearest}?"


@pytest.mark.parametrize(
    "name",
    ["", "+02:00", "UTC+1", "GMT-03:30", "utc +2", "../etc/passwd", "a\x00b", "😀", "factory"],
)
def test_zone_that_is_like_no_other_gives_an_error_with_an_example(name):
    error = fail(timezone=name)
    assert error == "timezone: must be an IANA time zone name; for example Europe/Berlin"


@pytest.mark.parametrize("name", ["/etc/localtime", "etc/localtime", "Europe"])
def test_zone_that_is_a_path_or_a_region_gives_an_error(name):
    assert fail(timezone=name).startswith("timezone: must be an IANA time zone name; ")


def test_consecutive_windows_contain_each_moment_once():
    days = ["2026-03-28", "2026-03-29", "2026-03-30", "2026-03-31"]
    windows = [resolve(*pair, timezone="Europe/Berlin") for pair in itertools.pairwise(days)]
    assert all(a.end_utc == b.start_utc for a, b in itertools.pairwise(windows))
