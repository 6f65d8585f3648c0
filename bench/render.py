"""Reports as Markdown: the judged figures first, then each part's own."""

from collections.abc import Iterable, Iterator, Sequence

from bench.figures import write_number
from bench.report import Check, Report

START, END = "<!-- results -->", "<!-- /results -->"
QUICK_WARNING = "**A quick run: it shows that everything works; its figures mean nothing.**"


def fill_document(text: str, reports: Sequence[Report], *, plots: str) -> str:
    """The document with its marked part replaced; ``plots`` is where the charts are.

    Raises:
        ValueError: the markers are missing.
    """
    before, found, rest = text.partition(START)
    _, ended, after = rest.partition(END)
    if not (found and ended):
        raise ValueError(f"no {START} … {END}")
    return f"{before}{START}\n{render_results(reports, plots=plots)}\n{END}{after}"


def render_results(reports: Sequence[Report], *, plots: str) -> str:
    """Everything that the reports say."""
    return "\n\n".join(_list_blocks(reports, plots))


def render_checks(reports: Iterable[Report]) -> str:
    """The judged figures of all parts as one table."""
    rows = [
        (check.what, write_value(check), _write_bound(check), "yes" if check.holds else "**no**")
        for report in reports
        for check in report.findings.checks
    ]
    return render_table(("what", "measured", "target", "holds"), rows)


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
        findings = report.findings
        yield f"## {report.title}"
        for chart in findings.charts:
            yield f"![{chart.title}]({plots}/{chart.name}.svg)"
        for table in findings.tables:
            yield f"{table.title}:"
            yield render_table(table.heads, table.rows)
        yield from findings.notes
        yield _describe_run(report)


def _describe_run(report: Report) -> str:
    machine = report.machine
    return (
        f"<sub>{report.measured_at}, {report.took_s:.0f} s, commit {machine['commit']}: "
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}, Python {machine['python']}; a small fsync takes "
        f"{machine['fsync_ms']} ms; load before: {machine['load_before']}.</sub>"
    )


def _write_bound(check: Check) -> str:
    sign = "≤" if check.at_most else "≥"
    aim = f", aim {write_number(check.aim)}" if check.aim is not None else ""
    return f"{sign} {write_number(check.bound)} {check.unit}{aim}"
