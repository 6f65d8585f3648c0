"""What is made of repeated measurements, and how figures are written and judged."""

import pytest

from bench.figures import pair_ratio, pick_quantile, root_mean_square, write_number
from bench.report import Bar, Chart, Check, Findings, Report, Table, read_report, write_report
from tests.bench.machine import MACHINE

REPORT = Report(
    part="track",
    title="Single events",
    quick=False,
    measured_at="2026-01-31T11:00Z",
    took_s=12.0,
    machine=MACHINE,
    findings=Findings(
        checks=[Check("fast", 0.31, "×", 0.15, at_most=False, aim=0.25)],
        tables=[Table("Medians", ("server", "requests/s"), [["ours", "1,234"]])],
        charts=[Chart("track", "Events", "requests/s", [Bar("ours", 1234.0, ours=True)])],
        raw={"runs": [1.5, 2.5]},
        notes=["Nothing was lost."],
    ),
)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1), (0.5, 2), (0.75, 3), (0.99, 4), (1.0, 4)]
)
def test_a_quantile_is_the_smallest_value_that_the_share_does_not_exceed(share, expected):
    assert pick_quantile([1, 2, 3, 4], share) == expected


def test_a_quantile_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="no values"):
        pick_quantile([], 0.5)


def test_a_ratio_is_the_median_of_the_pairs():
    assert pair_ratio([10, 40, 90], [10, 20, 10]) == 2


def test_sides_that_were_not_measured_as_often_have_no_ratio():
    with pytest.raises(ValueError, match="zip"):
        pair_ratio([1, 2], [1])


def test_a_standard_error_weighs_both_directions():
    assert root_mean_square([0.03, -0.04]) == pytest.approx(0.0353553, rel=1e-4)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0123456, "0.0123"),
        (0.00001234, "0.000012"),
        (1.0, "1"),
        (12.345, "12.3"),
        (99.96, "100"),
        (1234.5, "1,234"),
        (10_000_000, "10,000,000"),
        (-0.5, "-0.5"),
    ],
)
def test_numbers_are_written_with_three_digits(value, text):
    assert write_number(value) == text


@pytest.mark.parametrize(
    ("value", "at_most", "holds"),
    [(5, True, True), (5.1, True, False), (5, False, True), (4.9, False, False)],
)
def test_a_check_holds_up_to_its_bound(value, at_most, holds):
    assert Check("x", value, "×", 5, at_most=at_most).holds is holds


def test_a_report_can_be_read_back(tmp_path):
    write_report(REPORT, tmp_path / "track.json")
    found = read_report(tmp_path / "track.json")
    assert found.findings.checks == REPORT.findings.checks
    write_report(found, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == (tmp_path / "track.json").read_text()


def test_a_report_says_of_each_check_whether_it_holds(tmp_path):
    write_report(REPORT, tmp_path / "track.json")
    assert '"holds": true' in (tmp_path / "track.json").read_text()
