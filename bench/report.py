"""What a part of the benchmark found: the shape of its JSON file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Check:
    """A figure with a target, and its bound; ``aim`` is what is hoped for beyond it."""

    what: str
    value: float
    unit: str
    bound: float
    at_most: bool
    aim: float | None = None

    @property
    def holds(self) -> bool:
        return self.value <= self.bound if self.at_most else self.value >= self.bound


@dataclass(frozen=True, slots=True)
class Table:
    """Absolute figures for people, cells already written."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a chart; ``ours`` sets the product apart from what it is compared with."""

    label: str
    value: float
    ours: bool


@dataclass(frozen=True, slots=True)
class Chart:
    """Horizontal bars over one axis; ``name`` is the file's."""

    name: str
    title: str
    axis: str
    bars: Sequence[Bar]
    logarithmic: bool = False


@dataclass(frozen=True, slots=True)
class Findings:
    """What one part measured; ``raw`` holds every repetition."""

    checks: Sequence[Check] = ()
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    raw: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """A part's findings, and where, when and how long they were measured.

    ``quick`` marks the small run that shows that everything works and proves no figure.
    ``machine`` is empty if the findings were not measured in one run.
    """

    part: str
    title: str
    quick: bool
    measured_at: str
    took_s: float
    machine: Mapping[str, Any]
    findings: Findings


def write_report(report: Report, path: Path) -> None:
    """The report as JSON, each check with whether it holds."""
    document = asdict(report)
    for entry, check in zip(document["findings"]["checks"], report.findings.checks, strict=True):
        entry["holds"] = check.holds
    text = json.dumps(_round(document), indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_report(path: Path) -> Report:
    """The report that `write_report` wrote."""
    document = json.loads(path.read_text(encoding="utf-8"))
    found = document.pop("findings")
    for check in found["checks"]:
        del check["holds"]
    findings = Findings(
        checks=[Check(**check) for check in found["checks"]],
        tables=[Table(**table) for table in found["tables"]],
        charts=[
            Chart(**{**chart, "bars": [Bar(**bar) for bar in chart["bars"]]})
            for chart in found["charts"]
        ],
        raw=found["raw"],
        notes=found["notes"],
    )
    return Report(**document, findings=findings)


def _round(value: Any) -> Any:  # noqa: ANN401 - whatever JSON may hold
    """The value, its numbers no longer than they are exact."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {name: _round(part) for name, part in value.items()}
    return [_round(part) for part in value] if isinstance(value, list | tuple) else value
