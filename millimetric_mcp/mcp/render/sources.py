"""Sources: the table, the paid and unpaid shares of one source, and what changed."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import Field

from millimetric_mcp.contract.reads import Breakdown, PaidProof, SourceRow
from millimetric_mcp.mcp.render.table import (
    Table,
    decimal,
    join_cells,
    percent,
    print_cell,
    quote_words,
)
from millimetric_mcp.mcp.render.untrusted import Cell

PAID = "paid"
MAX_NAMED_MEDIA = 6


class SourceShare(SourceRow):
    """A row of sources and its share of all events; None if their number is unknown."""

    share: float | None = Field(None, description="Of all events in the window, 0 to 1.")


class SourceChange(SourceShare):
    """A row of sources, and how it differs from the same row of the window before.

    ``*_before`` and ``*_change`` are None if the earlier row is unknown or was not asked for.
    Percentages are None also if there was nothing before.
    """

    events_before: int | None = None
    events_change: int | None = None
    events_change_pct: float | None = None
    uniques_before: int | None = None
    uniques_change: int | None = None
    uniques_change_pct: float | None = None
    paid_share_before: float | None = None


def compare_sources(
    current: Sequence[SourceRow],
    previous: Sequence[SourceRow],
    *,
    current_is_whole: bool = True,
    previous_is_whole: bool = True,
) -> list[SourceChange]:
    """Return the ``current`` rows with their changes, then the rows that only ``previous`` has.

    A list that a limit cut short is not complete: a row missing there is unknown, not zero.
    """
    before = {(row.source, row.medium): row for row in previous}
    now = {(row.source, row.medium) for row in current}
    rows = [
        _compare(row, before.get((row.source, row.medium)), is_known=previous_is_whole)
        for row in current
    ]
    gone = [row for key, row in before.items() if key not in now] if current_is_whole else []
    nothing = {"events": 0, "uniques": 0, "paid_share": 0.0}
    return rows + [_compare(row.model_copy(update=nothing), row, is_known=True) for row in gone]


def _compare(row: SourceRow, before: SourceRow | None, *, is_known: bool) -> SourceChange:
    changes: dict[str, float | None] = {"paid_share_before": before.paid_share if before else None}
    for name in ("events", "uniques"):
        now, then = getattr(row, name), getattr(before, name, 0)
        known = before is not None or is_known
        changes |= {
            f"{name}_before": then if known else None,
            f"{name}_change": now - then if known else None,
            f"{name}_change_pct": _change_pct(now, then) if known else None,
        }
    return SourceChange.model_validate(row.model_dump(exclude_unset=True) | changes)


def _change_pct(now: int, before: int) -> float | None:
    """Return a percentage with one decimal, or with two digits if that rounds to zero."""
    if not before:
        return None
    change_pct = (now - before) / before * 100
    return round(change_pct, 1) or float(f"{change_pct:.2g}")


def describe_change(now: int, before: int | None) -> str:
    """Return ``+120 (+12.5%)``, ``+120 (new)``, ``-50 (gone)``, ``0``, or ``?`` if unknown."""
    if before is None:
        return "?"
    if now == before:
        return "0"
    if not before:
        return f"{now - before:+d} (new)"
    return f"{now - before:+d} ({f'{_change_pct(now, before):+.12g}%' if now else 'gone'})"


def render_sources(rows: Sequence[SourceRow], *, breakdown: Breakdown) -> Table:
    """Return sources as a table; rows of `SourceShare` and `SourceChange` with what these add."""
    hidden = {"medium"} if breakdown is Breakdown.SOURCE else {"paid_share", "paid_share_before"}
    if not any(isinstance(row, SourceChange) for row in rows):
        hidden |= {"events_change", "uniques_change", "paid_share_before"}
    if not any(isinstance(row, SourceShare) and row.share is not None for row in rows):
        hidden.add("share")
    columns = {name: find for name, find in _COLUMNS.items() if name not in hidden}
    return Table(
        [*columns],
        [join_cells(find(row) for find in columns.values()) for row in rows],
        advice="narrow the window, name a source, or use breakdown=source",
    )


_COLUMNS: Mapping[str, Callable[[Any], Cell]] = {
    "source": lambda row: row.source,
    "medium": lambda row: row.medium,
    "events": lambda row: row.events,
    "events_change": lambda row: describe_change(row.events, row.events_before),
    "uniques": lambda row: row.uniques,
    "uniques_change": lambda row: describe_change(row.uniques, row.uniques_before),
    "paid_share": lambda row: percent(row.paid_share),
    "paid_share_before": lambda row: percent(row.paid_share_before),
    "share": lambda row: percent(row.share),
}


def describe_split(source: str, rows: Iterable[SourceRow]) -> str:
    """Return how a source's events split into media, from rows by source and medium.

    Such as ``facebook: 67 % paid (6 of 9 events), 33 % social``. Shares add up to 100, and
    none is rounded to 0 or 100. Media beyond the largest are one share together.
    """
    events: Counter[str] = Counter()
    for row in rows:
        if row.source == source:
            events[row.medium or "unknown"] += row.events
    name, total = quote_words(print_cell(source)), events.total()
    if not total:
        return f"{name}: no events"
    media = [PAID, *(medium for medium, _ in events.most_common() if medium != PAID)]
    shown, others = media[: MAX_NAMED_MEDIA + 1], media[MAX_NAMED_MEDIA + 1 :]
    counts = [events[medium] for medium in shown]
    labels = [quote_words(print_cell(medium)) for medium in shown]
    labels[0] += f" ({counts[0]} of {total} events)"
    if others:
        counts.append(sum(events[medium] for medium in others))
        labels.append(f"{len(others)} other media")
    shares = zip(_shares(counts), labels, strict=True)
    return f"{name}: {', '.join(f'{share} % {label}' for share, label in shares)}"


def describe_proof(events_by_proof: Mapping[str, int]) -> str:
    """Return what Facebook's paid events rest on, from their numbers by `PaidProof`."""
    proven, alone = (
        events_by_proof.get(proof, 0) for proof in (PaidProof.UTM_MEDIUM, PaidProof.CLICK_ID)
    )
    return (
        f"Of these paid events a paid utm_medium proves {proven}, and {alone} rest on fbclid "
        "alone, which Facebook adds to unpaid posts too."
    )


def _shares(counts: Sequence[int]) -> list[str]:
    """Return percentages that add up to 100, rounded by largest remainders."""
    total = sum(counts)
    for decimals in range(7):
        whole = 100 * 10**decimals
        units = [count * whole // total for count in counts]
        by_remainder = sorted(
            range(len(counts)), key=lambda at: (-(counts[at] * whole % total), at)
        )
        for at in by_remainder[: whole - sum(units)]:
            units[at] += 1
        if all(unit or not count for unit, count in zip(units, counts, strict=True)):
            break
    return [decimal(unit / 10**decimals, decimals) for unit in units]
