"""``--dry-run``: what an import would store and leave out, without the API."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

from pydantic_core import to_jsonable_python

from millimetric_mcp.api.ingest.address import host_of
from millimetric_mcp.api.ingest.classify import classify
from millimetric_mcp.api.ingest.enrich import parse_user_agent
from millimetric_mcp.cli.imports.files import SourceFile
from millimetric_mcp.cli.imports.formats import Format
from millimetric_mcp.cli.imports.records import Event, Item, Reading, Rejected
from millimetric_mcp.cli.imports.sending import ImportCounts, check_part, count_events, cut_parts
from millimetric_mcp.cli.output import print_json
from millimetric_mcp.contract.imports import ImportedEvent

SAMPLE_EVENTS = 10
SHOWN_REASONS = 5

FIELDS = tuple(ImportedEvent.model_fields)
_PROPERTY = "properties."


def is_field(name: str) -> bool:
    """Return whether an imported event has a field or property of that name."""
    return name in FIELDS or (name.startswith(_PROPERTY) and name != _PROPERTY)


def show(
    plan: Sequence[tuple[SourceFile, Format]], reading: Reading, *, as_json: bool = False
) -> int:
    """Print what importing the files would do; return 0."""
    files: list[dict[str, Any]] = []
    for source, found in plan:
        counts, reasons = ImportCounts(), dict[str, int]()

        def note(item: Item, reasons: dict[str, int] = reasons) -> None:
            reason = item.found.reason if isinstance(item.found, Rejected) else ""
            reasons[reason] = reasons.get(reason, 0) + 1

        sample: list[Event] = []
        for items in cut_parts(found.read(source, reading), counts, note):
            events = count_events(check_part(items, counts, note), counts)
            sample += events[: SAMPLE_EVENTS - len(sample)]
        if as_json:
            own = {"reasons": reasons, "sample": [_describe(event) for event in sample]}
            files.append(describe_file(source, found, counts) | own)
            continue
        print(f"{source.name} ({found.name}): {counts.events} events, nothing was sent")
        show_counts(counts)
        for reason, count in islice(sorted(reasons.items(), key=_by_count), SHOWN_REASONS):
            print(f"    {count} × {reason}")
        for event in sample:
            print(f"  {_describe(event)}")
    if as_json:
        print_json({"files": files})
    return 0


def describe_file(source: SourceFile, found: Format, counts: ImportCounts) -> dict[str, Any]:
    """Return what ``--json`` says of a file."""
    return {"file": source.name, "format": found.name, **to_jsonable_python(counts)}


def show_counts(counts: ImportCounts) -> None:
    """Print the window of the events, and what was left out and rejected."""
    if counts.first and counts.last:
        print(f"  from {counts.first:%Y-%m-%d %H:%M} to {counts.last:%Y-%m-%d %H:%M} UTC")
    for why, count in sorted(counts.left_out.items(), key=_by_count):
        print(f"  left out: {count} {why}")
    if counts.rejected:
        print(f"  rejected: {counts.rejected} records")


def _by_count(entry: tuple[str, int]) -> tuple[int, str]:
    return -entry[1], entry[0]


def _describe(event: Event) -> str:
    url, referrer = event.get("url"), event.get("referrer")
    found = classify(url, referrer, host_of(url))
    device = parse_user_agent(event.get("user_agent"))
    facts = [event.get("device_type") or device.device_type, event.get("browser") or device.browser]
    text = " ".join(
        [
            str(event["timestamp"]),
            str(event["event"]),
            f"{found.source}/{found.medium} ({found.rule_id})",
            *filter(None, facts),
            str(url or ""),
        ]
    )
    return "".join(char if char.isprintable() else "?" for char in text)
