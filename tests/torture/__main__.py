"""``scripts/torture``: runs the scenarios, and writes what they found."""

import argparse
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.__main__ import QUICK_RESULTS, RESULTS, render_documents
from bench.machine import describe_machine
from bench.render import render_checks, write_machine
from bench.report import Check, Findings, Report, Table, read_report, write_report
from tests.torture.harness import Scale

SCENARIOS = (
    "access_http",
    "access_mcp",
    "browser_key",
    "clock",
    "control_database",
    "crashes",
    "damage",
    "descriptors",
    "disk_full",
    "hostile",
    "idle",
    "memory",
    "overload",
    "project_flood",
    "read_only",
)
BOUNDED = (
    "access_http",
    "access_mcp",
    "browser_key",
    "clock",
    "damage",
    "descriptors",
    "hostile",
    "memory",
    "read_only",
)
"""Together under a minute, and for any user: what CI runs."""
HEADS = ("scenario", "measured at", "took s", "commit", "machine")
UNKNOWN = "not recorded"
TITLE = "Torture: what tries to break the API"


def main() -> int:
    """0 if every scenario ran and every promise held."""
    parser = argparse.ArgumentParser(prog="scripts/torture", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--quick", action="store_true", help="a bounded part, without figures")
    options = parser.parse_args()
    if unknown := set(options.scenarios) - set(SCENARIOS):
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}")
    file = (QUICK_RESULTS if options.quick else RESULTS) / "torture.json"
    failed = [
        name
        for name in options.scenarios or (BOUNDED if options.quick else SCENARIOS)
        if not _run(name, Scale(quick=options.quick), file)
    ]
    if not options.quick:
        render_documents()
    print(render_checks([read_report(file)]))
    print("failed: " + ", ".join(failed) if failed else "Every promise held.")
    return 1 if failed else 0


def _run(name: str, scale: Scale, file: Path) -> bool:
    """Run one scenario and add what it found to the results; return whether all of it held."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    measured_at, began_s = datetime.now(UTC), time.monotonic()
    with TemporaryDirectory(prefix="millimetric-torture-") as directory:
        machine = describe_machine(Path(directory))
        try:
            checks: Sequence[Check] = import_module(f"tests.torture.{name}").run(
                scale, Path(directory)
            )
        except Exception:
            traceback.print_exc()
            return False
    took_s = round(time.monotonic() - began_s, 1)
    found = {
        "measured_at": f"{measured_at:%Y-%m-%dT%H:%MZ}",
        "took_s": took_s,
        "machine": machine,
        "checks": [asdict(check) for check in checks],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    before = read_report(file).findings.raw if file.exists() else {}
    write_report(build_report({**before, name: found}, quick=scale.quick), file)
    print(f"{name}: {took_s:.0f} s", file=sys.stderr, flush=True)
    return all(check.holds for check in checks)


def build_report(scenarios: Mapping[str, Any], *, quick: bool) -> Report:
    """Return the report of scenarios, each with when and on which machine it was measured.

    The machine is unknown of scenarios that were measured before it was kept of each.
    """
    by_name = sorted(scenarios.items())
    runs = [
        (
            f"`{name}`",
            found["measured_at"],
            f"{found['took_s']:.0f}",
            found["machine"]["commit"] if "machine" in found else UNKNOWN,
            write_machine(found["machine"]) if "machine" in found else UNKNOWN,
        )
        for name, found in by_name
    ]
    return Report(
        part="torture",
        title=TITLE,
        quick=quick,
        measured_at=max(found["measured_at"] for found in scenarios.values()),
        took_s=sum(found["took_s"] for found in scenarios.values()),
        machine={},
        findings=Findings(
            checks=[Check(**check) for _, found in by_name for check in found["checks"]],
            tables=[Table("When each scenario was measured", HEADS, runs)],
            raw=scenarios,
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
