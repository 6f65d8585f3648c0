"""The tables and charts of the docs: made from the results, and still theirs."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.__main__ import DOCUMENTS, RESULTS, read_reports
from bench.plots import draw_chart
from bench.render import (
    fill_document,
    render_promises,
    render_results,
    render_server_sizing,
    render_table,
)
from bench.report import Bar, Chart, Check, Findings, Report
from tests.bench.machine import MACHINE
from tests.torture.__main__ import SCENARIOS

SVG = "{http://www.w3.org/2000/svg}"


def make_report(*checks, quick=False):
    chart = Chart("track", "Events", "requests/s", [Bar("ours", 3.0, ours=True)])
    findings = Findings(checks=checks, charts=[chart], notes=["Nothing was lost."])
    return Report("track", "Single events", quick, "2026-01-31", 12.0, MACHINE, findings)


def draw(*values, logarithmic=False):
    bars = [Bar(f"bar {number}", value, ours=number == 0) for number, value in enumerate(values)]
    chart = Chart("x", "A <title>", "ms & more", bars, logarithmic=logarithmic)
    return ElementTree.fromstring(draw_chart(chart))


def widths(svg):
    _paper, *bars = svg.iter(f"{SVG}rect")
    return [float(bar.get("width")) for bar in bars]


def test_a_chart_names_its_title_axis_bars_and_values():
    texts = {text.text for text in draw(3.0, 12.5).iter(f"{SVG}text")}
    assert {"A <title>", "ms & more", "bar 0", "bar 1", "3", "12.5"} <= texts


def test_bars_are_as_long_as_their_values():
    short, long = widths(draw(10.0, 40.0))
    assert long == pytest.approx(4 * short, rel=0.01)


def test_bars_of_a_logarithmic_chart_grow_by_equal_steps():
    first, second, third = widths(draw(10.0, 100.0, 1000.0, logarithmic=True))
    assert third - second == pytest.approx(second - first, abs=0.2)


@pytest.mark.parametrize("logarithmic", [False, True])
@pytest.mark.parametrize("value", [0.004, 1.0, 99.0, 1_000_000.0])
def test_no_bar_leaves_the_page(value, logarithmic):
    svg = draw(value, logarithmic=logarithmic)
    assert 1 < widths(svg)[0] <= float(svg.get("width")) - 400


def test_the_bars_of_the_product_have_their_own_colour():
    _, ours, others = draw(1.0, 2.0).iter(f"{SVG}rect")
    assert ours.get("fill") != others.get("fill")


def test_a_document_is_filled_between_its_markers():
    text = "before\n<!-- x -->\nstale\n<!-- /x -->\nafter\n"
    assert fill_document(text, "x", "new") == "before\n<!-- x -->\nnew\n<!-- /x -->\nafter\n"


def test_filling_a_document_again_changes_nothing():
    once = fill_document("<!-- x -->\n<!-- /x -->", "x", "new")
    assert fill_document(once, "x", "new") == once


def test_a_document_without_markers_is_refused():
    with pytest.raises(ValueError, match="<!-- x -->"):
        fill_document("<!-- y --> nothing <!-- /y -->", "x", "new")


def test_results_have_a_part_for_each_report_with_its_chart():
    text = render_results([make_report()], plots="plots")
    assert "## Single events" in text
    assert "![Events](plots/track.svg)" in text


def test_a_missed_target_is_marked():
    held = Check("held", 0.3, "×", 0.15, at_most=False, aim=0.25)
    missed = Check("missed", 7, "ms", 5, at_most=True)
    lines = render_results([make_report(held, missed)], plots=".").splitlines()
    assert "| held | 0.3 × | ≥ 0.15 ×, aim 0.25 | yes |" in lines
    assert "| missed | 7 ms | ≤ 5 ms | **no** |" in lines


def test_each_promise_names_the_command_that_measures_it_alone():
    commands = [row.split(" | ")[-1] for row in render_promises(read_committed()).splitlines()[2:]]
    measured = {command.strip("`| ") for command in commands}
    scenarios = {command.partition("torture ")[2] for command in measured} - {""}
    parts = {command.partition("--only ")[2] for command in measured} - {""}
    assert parts == {"fairness", "isolation", "restore"}
    assert scenarios <= set(SCENARIOS)
    assert len(scenarios) + len(parts) == len(measured)


def test_memory_is_sized_by_the_nearest_number_of_events_that_was_measured():
    disk = Check("Disk of an event", 48, "bytes", 100, at_most=True)
    load = Check("API resident memory at 10,000,000 events", 834, "MB", 1500, at_most=True)
    sizes = [{"events": 10**7, "peak_mb": 500.0}, {"events": 10**8, "peak_mb": 1200.0}]
    reports = [
        replace(make_report(disk), part="reads"),
        replace(make_report(load), part="isolation"),
    ]
    scale = replace(make_report(), part="scale", findings=Findings(raw={"sizes": sizes}))

    def list_memory(found):
        return [row.split(" | ")[3].strip(" |") for row in found.splitlines()[2:]]

    assert list_memory(render_server_sizing(reports)) == [
        "834, measured with 10,000,000 events",
        "834, measured with 10,000,000 events",
        "not measured",
    ]
    assert list_memory(render_server_sizing([*reports, scale])) == [
        "834, measured with 10,000,000 events",
        "1,200, measured with 100,000,000 events",
        "1,200, measured with 100,000,000 events",
    ]


def test_a_quick_run_says_that_it_proves_nothing():
    assert "quick run" not in render_results([make_report()], plots=".")
    assert "quick run" in render_results([make_report(), make_report(quick=True)], plots=".")


def test_a_cell_cannot_end_its_column():
    assert render_table(("a",), [("x|y",)]).splitlines()[-1] == "| x\\|y |"


def read_committed():
    return read_reports(RESULTS)


@pytest.mark.parametrize(
    ("document", "name", "render"), DOCUMENTS, ids=[name for _, name, _ in DOCUMENTS]
)
def test_a_documents_figures_are_those_of_the_results(document, name, render):
    text = document.read_text(encoding="utf-8")
    assert fill_document(text, name, render(read_committed())) == text


def test_no_result_comes_from_a_quick_run():
    assert not [report.part for report in read_committed() if report.quick]


def test_every_chart_is_drawn_from_the_results():
    for report in read_committed():
        for chart in report.findings.charts:
            file = Path(RESULTS / f"{chart.name}.svg")
            assert file.read_text(encoding="utf-8") == draw_chart(chart), file.name
