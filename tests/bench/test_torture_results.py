"""What ``scripts/torture`` records, and what its checks count."""

from bench.__main__ import RESULTS
from bench.render import render_promises, render_results
from bench.report import read_report, write_report
from tests.bench.machine import MACHINE
from tests.torture.__main__ import build_report
from tests.torture.control_database import check_corrupt

CHECK = {"what": "lost", "value": 0, "unit": "", "bound": 0, "at_most": True, "aim": None}


def make_scenario(measured_at, **machine):
    recorded = {"machine": MACHINE | machine} if machine else {}
    return {"measured_at": measured_at, "took_s": 12.4, "checks": [CHECK], **recorded}


SCENARIOS = {
    "idle": make_scenario("2026-02-01T12:00Z", commit="bbb", load_before=7.5),
    "clock": make_scenario("2026-01-31T12:00Z", commit="aaa"),
    "memory": make_scenario("2026-01-30T12:00Z"),
}


def test_each_scenario_keeps_its_commit_and_time_when_another_one_is_measured(tmp_path):
    write_report(build_report(SCENARIOS, quick=False), tmp_path / "torture.json")
    found = read_report(tmp_path / "torture.json").findings.raw
    again = {**found, "idle": make_scenario("2026-02-02T12:00Z", commit="ccc")}
    write_report(build_report(again, quick=False), tmp_path / "torture.json")

    report = read_report(tmp_path / "torture.json")
    assert report.findings.raw == again
    assert report.findings.raw["clock"] == SCENARIOS["clock"]
    assert report.machine == {}


def test_the_results_say_when_and_on_what_each_scenario_was_measured():
    lines = render_results([build_report(SCENARIOS, quick=False)], plots=".").splitlines()

    rows = [line.split(" | ") for line in lines if line.startswith("| `")]
    assert [row[:4] for row in rows] == [
        ["| `clock`", "2026-01-31T12:00Z", "12", "aaa"],
        ["| `idle`", "2026-02-01T12:00Z", "12", "bbb"],
        ["| `memory`", "2026-01-30T12:00Z", "12", "not recorded"],
    ]
    assert "load before: 7.5" in rows[1][4]
    assert "commit" not in lines[-1]


def test_every_scenario_of_the_results_is_in_their_table_and_among_the_promises():
    report = read_report(RESULTS / "torture.json")
    [table] = report.findings.tables
    names = {row[0].strip("`") for row in table.rows}
    assert names == set(report.findings.raw)
    promises = render_promises([report])
    assert all(f"`scripts/torture {name}`" in promises for name in names)


def test_a_request_that_a_corrupt_control_database_lets_in_is_counted():
    found = {
        check.what: check
        for check in check_corrupt([(202, 0.1), (202, 0.1), (503, 0.1), (401, 0.1)], ready=503)
    }
    let_in = found["requests let in by a corrupt control database"]
    assert (let_in.value, let_in.holds) == (2, False)
    refused = found["requests that a corrupt control database refuses with another status than 503"]
    assert (refused.value, refused.holds) == (1, False)


def test_a_corrupt_control_database_that_refuses_all_with_503_keeps_its_promises():
    assert all(check.holds for check in check_corrupt([(503, 0.1)] * 20, ready=503))
