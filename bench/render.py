"""Reports as Markdown: the figures with a target first, then each part's own."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bench.figures import write_number
from bench.report import Check, Report

RELIABILITY_PARTS = frozenset({"restore", "isolation", "fairness"})
_MEASURED_EVENTS = 10_000_000
QUICK_WARNING = "**A quick run: it shows that everything works; its figures mean nothing.**"


def fill_document(text: str, name: str, content: str) -> str:
    """The document with what stands between its markers of that name replaced.

    Raises:
        ValueError: the markers are missing.
    """
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found, rest = text.partition(start)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"no {start} … {end}")
    return f"{before}{start}\n{content}\n{end}{after}"


def render_results(reports: Sequence[Report], *, plots: str) -> str:
    """Everything that the reports say."""
    return "\n\n".join(_list_blocks(reports, plots))


def render_checks(reports: Iterable[Report]) -> str:
    """The figures with a target of all parts as one table."""
    rows = [
        (check.what, write_value(check), _write_bound(check), "yes" if check.holds else "**no**")
        for report in reports
        for check in report.findings.checks
    ]
    return render_table(("what", "measured", "target", "holds"), rows)


def render_rivals(reports: Iterable[Report]) -> str:
    """The table beside other stores."""
    tables = [table for report in _only(reports, "rivals") for table in report.findings.tables]
    return "\n\n".join(render_table(table.heads, table.rows) for table in tables)


def render_sizing(reports: Sequence[Report]) -> str:
    """The symbols of the sizing formulas with what was measured for them."""
    disk = [
        check.value
        for report in _only(reports, "reads")
        for check in report.findings.checks
        if check.what.startswith("Disk")
    ]
    found = {
        "p": _bars(reports, "batch", "over HTTP"),
        "t": _bars(reports, "track", "256 connections"),
        "i": _bars(reports, "batch", "the engine alone"),
        "b": disk,
    }
    heads = [f"`{symbol}`" for symbol in found]
    cells = [write_number(values[0]) if values else "" for values in found.values()]
    return render_table(heads, [cells])


def render_scale(reports: Sequence[Report], *, plots: str) -> str:
    """What was measured of many events in one process."""
    blocks = [
        block for report in _only(reports, "scale") for block in _list_findings(report, plots)
    ]
    return "\n\n".join(blocks) or "Not measured yet."


EVENTS_A_MONTH = (1_000_000, 10_000_000, 100_000_000)


def render_server_sizing(reports: Sequence[Report]) -> str:
    """Disk and memory of one server by its load; memory only where so many events were measured."""
    disk = _find_checks(reports, "reads", "Disk")[0]
    heads = (
        "events a month",
        "events a second, average",
        "disk for a year, GB",
        "resident memory of the API at its highest, MB",
    )
    rows = [
        (
            f"{events:,}",
            write_number(events / (30 * 86_400)),
            write_number(events * 12 * disk.value / 1e9),
            _write_memory(reports, a_month=events),
        )
        for events in EVENTS_A_MONTH
    ]
    return render_table(heads, rows)


def _write_memory(reports: Sequence[Report], *, a_month: int) -> str:
    """What was measured with the fewest events that are at least half of a year's, or with those
    of one month."""
    under_load = _find_checks(reports, "isolation", "API resident memory")
    sizes = [(_MEASURED_EVENTS, check.value) for check in under_load]
    for report in _only(reports, "scale"):
        sizes += [(size["events"], size["peak_mb"]) for size in report.findings.raw["sizes"]]
    for needed in (a_month * 12 // 2, a_month):
        for measured, memory_mb in sorted(sizes, key=lambda size: (size[0], -size[1])):
            if measured >= needed:
                return f"{write_number(memory_mb)}, measured with {measured:,} events"
    return "not measured"


def render_promises(reports: Sequence[Report]) -> str:
    """What must hold of data, with the figure and the command that measures it again."""
    rows = [
        (
            check.what,
            write_value(check).strip(),
            _write_bound(check).strip(),
            "yes" if check.holds else "**no**",
            f"`{command}`",
        )
        for report in reports
        for command, check in _list_promises(report)
    ]
    return render_table(("promise", "measured", "target", "holds", "measure it"), rows)


def _list_promises(report: Report) -> Iterator[tuple[str, Check]]:
    """Yield what a report says of reliability, each with the command that measures it alone."""
    if report.part in RELIABILITY_PARTS:
        for check in report.findings.checks:
            yield f"scripts/bench --only {report.part}", check
    elif report.part == "torture":
        for scenario, found in sorted(report.findings.raw.items()):
            for check in found["checks"]:
                yield f"scripts/torture {scenario}", Check(**check)


def _find_checks(reports: Iterable[Report], part: str, start: str) -> list[Check]:
    return [
        check
        for report in _only(reports, part)
        for check in report.findings.checks
        if check.what.startswith(start)
    ]


def _bars(reports: Iterable[Report], part: str, label: str) -> list[float]:
    return [
        bar.value
        for report in _only(reports, part)
        for chart in report.findings.charts
        for bar in chart.bars
        if label in bar.label
    ]


def _only(reports: Iterable[Report], part: str) -> Iterator[Report]:
    return (report for report in reports if report.part == part)


def write_value(check: Check) -> str:
    """The measured figure with its unit."""
    return f"{write_number(check.value)} {check.unit}"


def render_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = (heads, ["---"] * len(heads), *rows)
    return "\n".join(f"| {' | '.join(map(_escape, line))} |" for line in lines)


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|")


def _list_blocks(reports: Sequence[Report], plots: str) -> Iterator[str]:
    if any(report.quick for report in reports):
        yield QUICK_WARNING
    yield render_checks(reports)
    for report in reports:
        yield f"## {report.title}"
        yield from _list_findings(report, plots)


def _list_findings(report: Report, plots: str) -> Iterator[str]:
    findings = report.findings
    for chart in findings.charts:
        yield f"![{chart.title}]({plots}/{chart.name}.svg)"
    for table in findings.tables:
        yield f"{table.title}:"
        yield render_table(table.heads, table.rows)
    yield from findings.notes
    if report.machine:
        yield (
            f"<sub>{report.measured_at}, {report.took_s:.0f} s, commit "
            f"{report.machine['commit']}: {write_machine(report.machine)}.</sub>"
        )


def write_machine(machine: Mapping[str, Any]) -> str:
    """What a reader needs of the machine to place the figures."""
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}, Python {machine['python']}; a small fsync takes "
        f"{machine['fsync_ms']} ms; load before: {machine['load_before']}"
    )


def _write_bound(check: Check) -> str:
    sign = "≤" if check.at_most else "≥"
    aim = f", aim {write_number(check.aim)}" if check.aim is not None else ""
    return f"{sign} {write_number(check.bound)} {check.unit}{aim}"
