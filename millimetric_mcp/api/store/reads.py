"""What is read from the store: answers for the endpoints, its clock, its id. Calls block."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from millimetric_mcp.api.store.clients import ClientPool
from millimetric_mcp.api.store.statements import (
    PLACE_COLUMNS,
    SAMPLED_EVENTS,
    Statement,
    compose_for,
)
from millimetric_mcp.contract import reads
from millimetric_mcp.contract.columns import NULLABLE_COLUMNS
from millimetric_mcp.contract.reads import WindowParams
from millimetric_mcp.contract.validation import EPOCH, format_timestamp, start_of_day
from millimetric_mcp.errors import StoreError, StoreUnavailable


def read_answer(
    pool: ClientPool,
    statement: Statement,
    params: WindowParams,
    *,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a statement's rows, and what they say as a whole, as an endpoint's response.

    ``settings`` are the engine's, for this statement; `stop_query` knows it by its log_comment.
    """
    found = pool.query(statement.text, statement.values, settings=settings)
    rows = [dict(zip(statement.columns, row, strict=True)) for row in found[: statement.max_rows]]
    whole = {name: rows[0][name] for name in statement.columns if rows and name in statement.whole}
    # Of no events there is no share.
    whole = {name: value for name, value in whole.items() if _show_number(value) is not None}
    is_cut = len(found) > len(rows)
    if isinstance(params, reads.FunnelParams):
        shown = [step for row in rows for step in _show_steps(row, params)]
    elif isinstance(params, reads.RetentionParams):
        shown = [_show_cohort(row, params) for row in rows]
    elif isinstance(params, reads.SchemaParams):
        shown = [_show_name(row) for row in rows]
        whole = {"columns": [], "sampled_events": SAMPLED_EVENTS, **whole}
    else:
        shown = [_show_row(row, statement) for row in rows]
    answer: dict[str, Any] = {**whole, "rows": shown}
    if statement.cursor is None:
        return answer | ({"truncated": True} if is_cut else {})
    return answer | ({"next": _make_cursor(rows, statement.cursor)} if is_cut else {})


def _show_row(row: Mapping[str, Any], statement: Statement) -> dict[str, Any]:
    hidden = {*statement.whole, *PLACE_COLUMNS}
    shown = {name: _show(name, value) for name, value in row.items() if name not in hidden}
    if "bucket" in shown:
        shown["bucket"] = _show_bucket(row["bucket"], statement.timezone)
    if "value" in shown:
        shown["value"] = _show_value(row["value"])
    return shown


def _show(name: str, value: object) -> object:
    if isinstance(value, datetime):
        return format_timestamp(value)
    return None if value == "" and name in NULLABLE_COLUMNS else value


def _show_number(value: object) -> object:
    """Return a computed number with the 15 digits that are certain; null if there is none."""
    if isinstance(value, float):
        return float(f"{value:.15g}") if math.isfinite(value) else None
    return value


def _show_value(value: object) -> object:
    """Return a number of stats; a whole one without a decimal point."""
    shown = _show_number(value)
    if isinstance(shown, float) and shown.is_integer() and abs(shown) < 1e15:
        return int(shown)
    return shown


def _show_bucket(value: date | datetime, timezone: str | None) -> str:
    """Return the start of a bucket: in UTC, or as the zone's clocks show it, with the offset."""
    if isinstance(value, datetime):
        start = value.replace(tzinfo=value.tzinfo or UTC)
    else:
        start = start_of_day(value, ZoneInfo(timezone or "UTC"))
    if timezone is None:
        return format_timestamp(start.astimezone(UTC))
    return start.astimezone(ZoneInfo(timezone)).isoformat(timespec="milliseconds")


def _make_cursor(rows: Sequence[Mapping[str, Any]], given: str) -> str:
    """Return the place after the last row: its own, and how many rows there were shown."""
    places = [".".join(str(row[name]) for name in PLACE_COLUMNS) for row in rows]
    alike = sum(place == places[-1] for place in places)
    place, _, skipped = given.rpartition(".")
    if place == places[-1]:
        alike += int(skipped)
    return f"{places[-1]}.{alike}"


def _show_steps(row: Mapping[str, Any], params: reads.FunnelParams) -> Iterator[dict[str, Any]]:
    people = row["people"]
    before = [None, *people]
    medians = [None, *row["medians"]]
    for number, step in enumerate(params.steps):
        yield {
            **({"group": row["group"] or None} if params.group_by else {}),
            "step": number + 1,
            "event": step.event,
            "people": people[number],
            "from_first": people[number] / people[0] if people[0] else None,
            "from_previous": people[number] / before[number] if before[number] else None,
            "median_s": _show_number(medians[number]) if people[number] else None,
        }


def _show_cohort(row: Mapping[str, Any], params: reads.RetentionParams) -> dict[str, Any]:
    zone = ZoneInfo(params.timezone or "UTC")
    end = min(params.to, EPOCH + timedelta(milliseconds=row["now_ms"]))
    last = _number_interval((end - timedelta(milliseconds=1)).astimezone(zone), params.interval)
    count = max(1, min(last - row["cohort"] + 1, reads.RETENTION_INTERVALS))
    over = start_of_day(_day_of_interval(row["cohort"] + count, params.interval), zone)
    return {
        "cohort": _show_bucket(_day_of_interval(row["cohort"], params.interval), params.timezone),
        "people": row["people"],
        "returned": list(row["returned"][:count]),
        "is_running": over > end,
    }


def _number_interval(local: datetime, interval: reads.Interval) -> int:
    """Return the number of the interval of a local time, as the statement counts them."""
    days = local.date().toordinal() - EPOCH.toordinal()
    if interval is reads.Interval.DAY:
        return days
    if interval is reads.Interval.WEEK:
        return (days + 3) // 7
    return local.year * 12 + local.month - 1


def _day_of_interval(number: int, interval: reads.Interval) -> date:
    if interval is reads.Interval.MONTH:
        return date(number // 12, number % 12 + 1, 1)
    days = number if interval is reads.Interval.DAY else number * 7 - 3
    return EPOCH.date() + timedelta(days=days)


def _show_name(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "event_name": row["event_name"],
        "events": row["events"],
        "first_seen": format_timestamp(row["first_seen"]),
        "last_seen": format_timestamp(row["last_seen"]),
        "properties": [
            {
                "key": key,
                "types": sorted({_JSON_TYPES.get(kind, kind.lower()) for kind in kinds}),
                "share": share,
                "top_values": list(values),
            }
            for key, kinds, share, values in row["properties"]
        ],
        **({"properties_left_out": row["left_out"]} if row["left_out"] else {}),
    }


_JSON_TYPES = {
    "Int64": "number",
    "UInt64": "number",
    "Double": "number",
    "Bool": "boolean",
}


def stop_query(pool: ClientPool, mark: str) -> None:
    """Stop the query of a mark, if it runs."""
    with suppress(StoreError):  # it ends after its time
        pool.query(compose_for("stop_query", pool.target), {"mark": mark})


def list_damaged_parts(pool: ClientPool) -> tuple[str, ...]:
    """Return the names of the data parts whose events are missing or can't be read.

    A cluster's replicas repair theirs.
    """
    if pool.target.cluster:
        return ()
    statement = compose_for("damaged_parts", pool.target)
    rows = pool.query(statement, {"unreadable": sorted(pool.unreadable_parts)})
    return tuple(sorted(row[0] for row in rows))


def read_clock(pool: ClientPool) -> datetime:
    """Return the store's own time in UTC, exact to the microsecond."""
    return EPOCH + timedelta(microseconds=read_value(pool, "now"))


def read_identity(pool: ClientPool) -> str:
    """Return the store's own id. A server or cluster has the same one by every address.

    Raises:
        StoreUnavailable: this server of the cluster has no copy of it yet.
    """
    identity = str(read_value(pool, "identity"))
    if not identity:
        raise StoreUnavailable(
            "this server of the event store does not hold the store's id yet, which it "
            "fetches from the others by itself: try again in a moment"
        )
    return identity


def count_shards(pool: ClientPool) -> int:
    """Return how many shards the cluster has; 1 without a cluster."""
    cluster = pool.target.cluster
    return int(read_value(pool, "shards", {"cluster": cluster})) or 1 if cluster else 1


def read_value(pool: ClientPool, name: str, values: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401
    """Return the first value that a statement of ``sql/`` gives."""
    return pool.query(compose_for(name, pool.target), values)[0][0]


def has_events(pool: ClientPool) -> bool:
    """Return whether any project has events."""
    return bool(read_value(pool, "newest_arrival"))
