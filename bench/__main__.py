"""``scripts/bench``: measures, writes the results, and fills the tables of the docs from them."""

import argparse
import compileall
import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.machine import describe_machine
from bench.parts import ON_DEMAND, PARTS
from bench.plots import draw_chart
from bench.render import (
    fill_document,
    render_checks,
    render_promises,
    render_results,
    render_rivals,
    render_scale,
    render_server_sizing,
    render_sizing,
)
from bench.report import Report, read_report, write_report
from bench.workspace import FULL, QUICK, Workspace
from millimetric_mcp.cli import EXIT_INTERRUPTED
from millimetric_mcp.demo.processes import end_on_sigterm_as_on_ctrl_c

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
QUICK_RESULTS = ROOT / "build" / "bench"
PLOTS_FROM_DOCUMENT = "../bench/results"
Render = Callable[[Sequence[Report]], str]
DOCUMENTS: Sequence[tuple[Path, str, Render]] = (
    (ROOT / "README.md", "rivals", render_rivals),
    (ROOT / "docs" / "scale.md", "scale", partial(render_scale, plots=PLOTS_FROM_DOCUMENT)),
    (ROOT / "docs" / "scale.md", "sizing", render_sizing),
    (ROOT / "docs" / "operate.md", "server-sizing", render_server_sizing),
    (ROOT / "docs" / "reliability.md", "promises", render_promises),
    (
        ROOT / "docs" / "benchmarks.md",
        "results",
        partial(render_results, plots=PLOTS_FROM_DOCUMENT),
    ),
)
"""The marked parts of documents that are made from the results."""


def main() -> int:
    """0 when everything was measured, whether or not it reached its target; else 1."""
    options = _read_options()
    results = options.out or (QUICK_RESULTS if options.quick else RESULTS)
    results.mkdir(parents=True, exist_ok=True)
    failed: list[str] = []
    if not options.render:
        try:
            end_on_sigterm_as_on_ctrl_c()
            failed = _measure(options, results)
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED
    reports = read_reports(results)
    _write_documents(reports, results)
    asked = [name for name in _list_parts(options) if name not in failed]
    measured = [report for report in reports if report.part in asked]
    _print_result(measured, as_json=options.json, results=results)
    if failed:
        _say(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="small counts: shows in about two minutes that everything works, proves no figure",
    )
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, metavar="NAME", help=f"of {', '.join(PARTS)}"
    )
    parser.add_argument(
        "--scale",
        type=_read_count,
        metavar="EVENTS",
        help="measure many events, such as 100m; with --data-dir a stopped run goes on",
    )
    parser.add_argument("--json", action="store_true", help="print the reports as JSON")
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="keep the loaded stores here for the next run (default: load them each time)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the results go")
    parser.add_argument(
        "--render", action="store_true", help="measure nothing: write tables and charts again"
    )
    return parser.parse_args()


def _read_count(text: str) -> int:
    """Return a number of events such as 100m or 5000000."""
    return int(text.lower().removesuffix("m")) * (1_000_000 if text.lower().endswith("m") else 1)


def _list_parts(options: argparse.Namespace) -> Sequence[str]:
    if options.only or options.scale:
        return [*(options.only or ()), *(["scale"] if options.scale else ())]
    return [name for name in PARTS if options.quick or name not in ON_DEMAND]


def _measure(options: argparse.Namespace, results: Path) -> list[str]:
    """Runs the parts and names those that failed."""
    # As pip does when it installs: a checkout that has just changed has no bytecode.
    compileall.compile_dir(ROOT / "millimetric_mcp", quiet=1)
    scale = QUICK if options.quick else FULL
    if options.scale:
        scale = replace(scale, scaled_events=options.scale)
    failed = []
    with TemporaryDirectory(prefix="millimetric-bench-") as directory:
        workspace = Workspace(Path(directory), scale=scale, data_dir=options.data_dir, say=_say)
        for name in _list_parts(options):
            _say(f"{name} ...")
            try:
                report = _measure_part(name, workspace)
            except Exception:  # noqa: BLE001 - one part's failure must not cost the others
                traceback.print_exc()
                failed.append(name)
            else:
                write_report(report, results / f"{name}.json")
                _say(f"{name}: {report.took_s:.0f} s")
    return failed


def _measure_part(name: str, workspace: Workspace) -> Report:
    title, measure = PARTS[name]
    machine = describe_machine(workspace.directory)
    measured_at, began_s = datetime.now(UTC), time.monotonic()
    findings = measure(workspace)
    return Report(
        part=name,
        title=title,
        quick=workspace.scale.quick,
        measured_at=f"{measured_at:%Y-%m-%dT%H:%MZ}",
        took_s=round(time.monotonic() - began_s, 1),
        machine=machine,
        findings=findings,
    )


def read_reports(results: Path) -> list[Report]:
    """What was measured, the results of ``scripts/torture`` last."""
    files = [results / f"{name}.json" for name in (*PARTS, "torture")]
    return [read_report(file) for file in files if file.exists()]


def render_documents() -> None:
    """Fills the tables of the documents from the results."""
    reports = read_reports(RESULTS)
    for document, name, render in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        document.write_text(fill_document(text, name, render(reports)), encoding="utf-8")


def _write_documents(reports: Sequence[Report], results: Path) -> None:
    for report in reports:
        for chart in report.findings.charts:
            (results / f"{chart.name}.svg").write_text(draw_chart(chart), encoding="utf-8")
    if results == RESULTS:
        render_documents()
    else:
        text = render_results(reports, plots=".") + "\n"
        (results / "benchmarks.md").write_text(text, encoding="utf-8")


def _print_result(reports: Sequence[Report], *, as_json: bool, results: Path) -> None:
    if as_json:
        texts = [(results / f"{report.part}.json").read_text("utf-8") for report in reports]
        print(json.dumps([json.loads(text) for text in texts], ensure_ascii=False))
        return
    checks = [check for report in reports for check in report.findings.checks]
    print(render_checks(reports))
    print(f"\n{sum(check.holds for check in checks)} of {len(checks)} targets hold.")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
