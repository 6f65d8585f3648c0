"""Stats: the table, zeros for empty buckets, and buckets that the window cuts."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millimetric_mcp.contract.reads import GroupColumn, Interval, Metric, StatsRow
from millimetric_mcp.contract.validation import parse_timestamp
from millimetric_mcp.errors import InvalidArguments, UpstreamError
from millimetric_mcp.mcp.render.stats import (
    MAX_FILLED_ROWS,
    describe_cut_buckets,
    fill_buckets,
    render_stats,
)
from millimetric_mcp.mcp.render.table import write_table


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def bucket(text):
    return f"{text}T00:00:00.000Z"


def render(rows, *, interval=None, group_by=(), metric=Metric.COUNT, max_chars=1000):
    table = render_stats(rows, metric=metric, interval=interval, group_by=group_by)
    return write_table(table, receipt=["Total 9."], max_chars=max_chars)


def test_stats_without_columns_are_one_row():
    assert render([StatsRow(value=9)]).text == "Total 9.\ncount\n9"


@pytest.mark.parametrize(
    ("interval", "given", "shown"),
    [
        (Interval.HOUR, "2026-05-16T19:00:00.000Z", "2026-05-16T19"),
        (Interval.DAY, "2026-05-16T00:00:00.000Z", "2026-05-16"),
        (Interval.WEEK, "2026-05-11T00:00:00.000Z", "2026-05-11"),
        (Interval.MONTH, "2026-05-01T00:00:00.000Z", "2026-05-01"),
        (Interval.DAY, "2026-05-16 00:00:00", "2026-05-16 00:00:00"),
    ],
)
def test_bucket_is_shown_as_its_start(interval, given, shown):
    rows = [StatsRow(bucket=given, value=3)]
    assert render(rows, interval=interval).text == f"Total 9.\nbucket,count\n{shown},3"


def test_group_columns_keep_their_order_and_absent_values_are_empty():
    rows = [
        StatsRow(campaign="spring, sale", source="facebook", value=5),
        StatsRow(campaign=None, source="direct", value=4),
    ]
    group_by = (GroupColumn.SOURCE, GroupColumn.CAMPAIGN)
    assert render(rows, group_by=group_by, metric=Metric.UNIQUES).text.splitlines() == [
        "Total 9.",
        "source,campaign,uniques",
        'facebook,"spring, sale",5',
        "direct,,4",
    ]


def test_group_value_that_ends_like_a_bucket_is_not_changed():
    rows = [StatsRow(campaign="T00:00:00.000Z", value=5)]
    assert render(rows, group_by=(GroupColumn.CAMPAIGN,)).text.endswith("\nT00:00:00.000Z,5")


def test_rows_that_do_not_fit_are_left_out_and_counted():
    rows = [StatsRow(path=f"/products/{number}", value=1) for number in range(500)]
    rendered = render(rows, group_by=(GroupColumn.PATH,))
    assert len(rendered.text) <= 1000
    assert f"first {rendered.shown} of 500 rows" in rendered.text


BUCKETS = [
    # interval, start, end, the buckets
    (Interval.HOUR, "2026-05-16T22:30", "2026-05-17T00:30", ["16T22", "16T23", "17T00"]),
    (Interval.HOUR, "2026-05-16T22:00", "2026-05-16T23:00", ["16T22"]),
    (Interval.DAY, "2026-05-16T22:30", "2026-05-18T00:00", ["16T00", "17T00"]),
    (Interval.WEEK, "2026-05-16T00:00", "2026-05-18T00:01", ["11T00", "18T00"]),
    (Interval.DAY, "2026-05-16T10:00", "2026-05-16T10:00", []),
]


@pytest.mark.parametrize(("interval", "start", "end", "expected"), BUCKETS)
def test_fill_buckets_adds_zeros_for_empty_buckets(interval, start, end, expected):
    filled = fill_buckets([], interval=interval, start=at(start), end=at(end))
    assert [row.bucket for row in filled] == [f"2026-05-{text}:00:00.000Z" for text in expected]
    assert all(row.value == 0 for row in filled)


def test_fill_buckets_knows_the_lengths_of_months():
    filled = fill_buckets(
        [], interval=Interval.MONTH, start=at("2025-11-30T00:00"), end=at("2026-03-01T00:00")
    )
    assert [row.bucket[:10] for row in filled] == [
        "2025-11-01",
        "2025-12-01",
        "2026-01-01",
        "2026-02-01",
    ]


def test_fill_buckets_fills_each_group_and_keeps_the_order_of_the_api():
    rows = [
        StatsRow(bucket=bucket("2026-05-01"), source="b", value=5),
        StatsRow(bucket=bucket("2026-05-01"), source="a", value=5),
        StatsRow(bucket=bucket("2026-05-03"), source="b", value=1),
    ]
    filled = fill_buckets(
        rows, interval=Interval.DAY, start=at("2026-05-01T00:00"), end=at("2026-05-04T00:00")
    )
    assert [(row.bucket[8:10], row.source, row.value) for row in filled] == [
        ("01", "a", 5),
        ("01", "b", 5),
        ("02", "a", 0),
        ("02", "b", 0),
        ("03", "b", 1),
        ("03", "a", 0),
    ]
    assert filled[2].model_fields_set == {"bucket", "source", "value"}


@settings(deadline=None)
@given(
    start=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    hours=st.integers(0, 400),
    interval=st.sampled_from(Interval),
    data=st.data(),
)
def test_fill_buckets_keeps_every_row_and_leaves_no_gap(start, hours, interval, data):
    end = start + timedelta(hours=hours)
    zeros = fill_buckets([], interval=interval, start=start, end=end)
    kept = [row for row in zeros if data.draw(st.booleans())]
    rows = [row.model_copy(update={"value": 7}) for row in kept]
    filled = fill_buckets(rows, interval=interval, start=start, end=end)
    assert [row.bucket for row in filled] == [row.bucket for row in zeros]
    assert [row for row in filled if row.value] == rows
    moments = [parse_timestamp(row.bucket) for row in filled]
    assert all(moment < end for moment in moments)
    assert not moments or moments[0] <= start


def test_fill_buckets_keeps_a_row_outside_the_window():
    rows = [StatsRow(bucket=bucket("2020-01-01"), value=3)]
    filled = fill_buckets(
        rows, interval=Interval.DAY, start=at("2026-05-01T00:00"), end=at("2026-05-02T00:00")
    )
    assert [row.value for row in filled] == [3, 0]


def test_fill_buckets_raises_if_the_result_has_too_many_rows():
    start = at("2000-01-01T00:00")
    with pytest.raises(
        InvalidArguments,
        match=f"fill_empty: the result would have more than {MAX_FILLED_ROWS} rows",
    ):
        fill_buckets(
            [],
            interval=Interval.HOUR,
            start=start,
            end=start + timedelta(hours=MAX_FILLED_ROWS + 1),
        )
    groups = [
        StatsRow(bucket=bucket("2000-01-01"), path=f"/{number}", value=1)
        for number in range(MAX_FILLED_ROWS // 2)
    ]
    with pytest.raises(InvalidArguments):
        fill_buckets(groups, interval=Interval.DAY, start=start, end=start + timedelta(days=3))
    assert len(
        fill_buckets(groups, interval=Interval.DAY, start=start, end=start + timedelta(days=2))
    ) == (MAX_FILLED_ROWS)


@pytest.mark.parametrize("given_bucket", [None, "2026-05-16 00:00:00", "planted"])
def test_fill_buckets_raises_if_a_bucket_is_not_a_time(given_bucket):
    rows = [StatsRow(bucket=given_bucket, value=3)]
    with pytest.raises(UpstreamError) as caught:
        fill_buckets(rows, interval=Interval.DAY, start=at("2026-05-01"), end=at("2026-05-02"))
    assert "planted" not in str(caught.value)
    assert caught.value.__context__ is None


CUTS = [
    # interval, start, end, the note
    (Interval.DAY, "2026-05-16T00:00", "2026-05-17T00:00", ""),
    (Interval.DAY, "2026-05-16T10:00", "2026-05-17T00:00", "The first bucket is only partly"),
    (Interval.DAY, "2026-05-16T00:00", "2026-05-17T10:00", "The last bucket is only partly"),
    (Interval.DAY, "2026-05-16T10:00", "2026-05-17T10:00", "The first and the last buckets are"),
    (Interval.WEEK, "2026-05-11T00:00", "2026-05-18T00:00", ""),
    (Interval.WEEK, "2026-05-12T00:00", "2026-05-18T00:00", "The first bucket is"),
    (Interval.MONTH, "2026-05-01T00:00", "2026-06-01T00:00", ""),
    (Interval.HOUR, "2026-05-16T10:00", "2026-05-16T10:30", "The last bucket is"),
    (Interval.DAY, "2026-05-16T10:00", "2026-05-16T10:00", ""),
]


@pytest.mark.parametrize(("interval", "start", "end", "said"), CUTS)
def test_describe_cut_buckets_names_the_buckets(interval, start, end, said):
    sentence = describe_cut_buckets(interval, start=at(start), end=at(end))
    assert sentence.startswith(said)
    assert bool(sentence) is bool(said)
