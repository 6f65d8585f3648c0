"""Sources: the table, the paid and unpaid shares of one, and the change since a window before."""

from collections import Counter
from collections.abc import Iterable, Sequence

from millimetric_mcp.contract.reads import Breakdown, SourceRow
from millimetric_mcp.mcp.render.table import Rendered, fit, join_cells, print_word
from millimetric_mcp.mcp.render.untrusted import MAX_CELL_CHARS, Cell

PAID = "paid"
MAX_NAMED_MEDIA = 6

_SOURCES_ADVICE = "narrow the window, name a source, or ask for breakdown=source"


def render_sources(
    rows: Sequence[SourceRow],
    *,
    breakdown: Breakdown,
    receipt: Sequence[str],
    max_chars: int,
    max_rows: int | None = None,
    limit_note: str = "",
) -> Rendered:
    """Sources, most events first; by source and medium, the medium itself says what is paid."""
    if breakdown is Breakdown.SOURCE:
        head = "source,events,uniques,paid_share"
        lines = [join_cells((r.source, r.events, r.uniques, _percent(r.paid_share))) for r in rows]
    else:
        head = "source,medium,events,uniques"
        lines = [join_cells((r.source, r.medium, r.events, r.uniques)) for r in rows]
    return fit(
        (*receipt, head),
        lines[:max_rows],
        max_chars=max_chars,
        advice=lambda shown: _SOURCES_ADVICE if shown < len(rows) else limit_note,
        total=len(rows),
    )


def describe_split(source: str, rows: Iterable[SourceRow]) -> str:
    """How a source's events split into media, from rows by source and medium.

    Such as ``facebook: 67 % paid (6 of 9 events), 33 % social``. Shares add up to 100 and have
    as many decimals as it takes that none of them is rounded to nothing or to everything; media
    beyond the largest are one share together.
    """
    events: Counter[str] = Counter()
    for row in rows:
        if row.source == source:
            events[row.medium or "unknown"] += row.events
    name, total = print_word(source, max_chars=MAX_CELL_CHARS), events.total()
    if not total:
        return f"{name}: no events"
    shown = [PAID, *(medium for medium, _ in events.most_common() if medium != PAID)]
    others = shown[MAX_NAMED_MEDIA + 1 :]
    del shown[MAX_NAMED_MEDIA + 1 :]
    counts = [events[medium] for medium in shown]
    labels = [print_word(medium, max_chars=MAX_CELL_CHARS) for medium in shown]
    labels[0] += f" ({counts[0]} of {total} events)"
    if others:
        counts.append(sum(events[medium] for medium in others))
        labels.append(f"{len(others)} other media")
    shares = zip(_shares(counts), labels, strict=True)
    return f"{name}: {', '.join(f'{share} % {label}' for share, label in shares)}"


def _shares(counts: Sequence[int]) -> list[str]:
    """Percentages that add up to 100, by largest remainders."""
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
    return [_decimal(unit, decimals) for unit in units]


def _decimal(units: int, decimals: int) -> str:
    if not decimals:
        return str(units)
    return f"{units // 10**decimals}.{units % 10**decimals:0{decimals}d}".rstrip("0").rstrip(".")


def _percent(share: float) -> str:
    """A share with one decimal, or as many as keep it from looking like none or all."""
    for decimals in range(1, 7):
        text = f"{share * 100:.{decimals}f}"
        if float(text) not in {0.0, 100.0} or share in {0.0, 1.0}:
            break
    return f"{text.rstrip('0').rstrip('.')}%"


class SourceChange(SourceRow):
    """A row of sources beside its counterpart of the window before.

    ``*_before`` and ``*_change`` are None where the earlier row is not known, percentages also
    where there was nothing before.
    """

    events_before: int | None
    events_change: int | None
    events_change_pct: float | None
    uniques_before: int | None
    uniques_change: int | None
    uniques_change_pct: float | None
    paid_share_before: float | None


def compare_sources(
    current: Sequence[SourceRow],
    previous: Sequence[SourceRow],
    *,
    current_is_whole: bool = True,
    previous_is_whole: bool = True,
) -> list[SourceChange]:
    """``current`` rows with what changed, then the rows that are gone, most events first.

    A list that its limit cut short is not whole: a row missing there is unknown, not zero.
    """
    before = {(row.source, row.medium): row for row in previous}
    now = {(row.source, row.medium) for row in current}
    rows = [
        _change(row, before.get((row.source, row.medium)), known=previous_is_whole)
        for row in current
    ]
    gone = [row for key, row in before.items() if key not in now] if current_is_whole else []
    nothing = {"events": 0, "uniques": 0, "paid_share": 0.0}
    return rows + [_change(row.model_copy(update=nothing), row, known=True) for row in gone]


def _change(row: SourceRow, before: SourceRow | None, *, known: bool) -> SourceChange:
    is_known = before is not None or known
    events_before = before.events if before else 0
    uniques_before = before.uniques if before else 0
    return SourceChange(
        **row.model_dump(exclude_unset=True),
        events_before=events_before if is_known else None,
        events_change=row.events - events_before if is_known else None,
        events_change_pct=_change_pct(row.events, events_before) if is_known else None,
        uniques_before=uniques_before if is_known else None,
        uniques_change=row.uniques - uniques_before if is_known else None,
        uniques_change_pct=_change_pct(row.uniques, uniques_before) if is_known else None,
        paid_share_before=before.paid_share if before else None,
    )


def _change_pct(now: int, before: int) -> float | None:
    """To one decimal, or to two digits where that would look like no change."""
    if not before:
        return None
    change_pct = (now - before) / before * 100
    return round(change_pct, 1) or float(f"{change_pct:.2g}")


def describe_change(now: int, before: int | None) -> str:
    """Such as ``+120 (+12.5%)``, ``+120 (new)``, ``-50 (gone)``, ``0``; ``?`` is unknown."""
    if before is None:
        return "?"
    if now == before:
        return "0"
    if not before:
        return f"{now - before:+d} (new)"
    return f"{now - before:+d} ({f'{_change_pct(now, before):+.12g}%' if now else 'gone'})"


def render_comparison(
    rows: Sequence[SourceChange],
    *,
    breakdown: Breakdown,
    receipt: Sequence[str],
    max_chars: int,
    max_rows: int | None = None,
    limit_note: str = "",
) -> Rendered:
    """Sources with their change against the window before."""
    by_source = breakdown is Breakdown.SOURCE
    head = "events,events_change,uniques,uniques_change"
    head = f"source,{head},paid_share,paid_share_before" if by_source else f"source,medium,{head}"
    lines = [
        join_cells((row.source, *_changed(row), _percent(row.paid_share), _before(row)))
        if by_source
        else join_cells((row.source, row.medium, *_changed(row)))
        for row in rows
    ]
    return fit(
        (*receipt, head),
        lines[:max_rows],
        max_chars=max_chars,
        advice=lambda shown: _SOURCES_ADVICE if shown < len(rows) else limit_note,
        total=len(rows),
    )


def _changed(row: SourceChange) -> tuple[Cell, ...]:
    return (
        row.events,
        describe_change(row.events, row.events_before),
        row.uniques,
        describe_change(row.uniques, row.uniques_before),
    )


def _before(row: SourceChange) -> str | None:
    return None if row.paid_share_before is None else _percent(row.paid_share_before)
