"""Checks that store, control database and secrets are undamaged and belong together."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from millimetric_mcp.api.control import ControlFacts

DELETION_LIMIT = timedelta(minutes=5)
"""A deletion takes a minute at the most; one that waits longer needs a person."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One thing that was looked at; ``remedy`` says what to do, and is empty if all is well."""

    subject: str
    fact: str
    remedy: str = ""


def list_results(
    store: Mapping[str, Any], control: ControlFacts, *, now: datetime
) -> Iterator[CheckResult]:
    """Yield a result for each part, from what `inspect` of the store and of the control gave."""
    yield _check_store(store)
    yield _check_journal(store)
    yield _check_control(control)
    yield _check_projects(store, control)
    yield _check_deletions(store, control, now=now)


def _check_store(store: Mapping[str, Any]) -> CheckResult:
    events = sum(count for _, count in store["projects"])
    if not store["is_sound"]:
        return CheckResult(
            "store",
            "A file of the events has another content than was written",
            "Restore a backup into another directory, and check the disk.",
        )
    if store["broken_parts"]:
        return CheckResult(
            "store",
            f"{store['broken_parts']} broken parts were put aside, so events are missing",
            "Restore a backup into another directory, and check the disk.",
        )
    return CheckResult("store", f"{events} events, every file has its checksum")


def _check_journal(store: Mapping[str, Any]) -> CheckResult:
    if store["damaged_journals"]:
        return CheckResult(
            "journal",
            f"{store['damaged_journals']} files have damaged lines, whose events are missing",
            "Check the disk. The files are kept as store/journal/*.damaged; move them away if "
            "you can't repair them.",
        )
    return CheckResult("journal", "No file has damaged lines")


def _check_control(control: ControlFacts) -> CheckResult:
    if not control.is_sound:
        return CheckResult(
            "control database",
            "A page of the file is damaged",
            "Stop the API and restore a backup, and check the disk.",
        )
    return CheckResult(
        "control database", f"{len(control.project_ids)} projects, the file is in order"
    )


def _check_projects(store: Mapping[str, Any], control: ControlFacts) -> CheckResult:
    unknown = {id_: count for id_, count in store["projects"] if id_ not in control.project_ids}
    if unknown:
        return CheckResult(
            "projects",
            f"{sum(unknown.values())} events belong to {len(unknown)} projects that the control "
            "database does not have",
            "Store and control database are not of the same time or deployment. Check --data-dir, "
            "--store and --control, or restore both from one backup.",
        )
    return CheckResult("projects", "The control database has every project of the store")


def _check_deletions(
    store: Mapping[str, Any], control: ControlFacts, *, now: datetime
) -> CheckResult:
    foreign = sum(w.count for w in control.waiting if w.store not in {None, store["id"]})
    late = sum(w.count for w in control.waiting if now - w.oldest > DELETION_LIMIT)
    if foreign:
        return CheckResult(
            "deletions",
            f"{foreign} deletions wait for another store than this one",
            "Start the API once with that store, so that it deletes these users there.",
        )
    if late:
        return CheckResult(
            "deletions",
            f"{late} deletions have waited for more than 5 minutes",
            "Start the API if it is stopped. If it runs, its log says why they fail.",
        )
    return CheckResult("deletions", f"{sum(w.count for w in control.waiting)} are waiting")
