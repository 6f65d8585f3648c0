"""How events go from the journal to the engine, which may have some of them by now."""

import logging
from collections.abc import Iterable, Iterator, Sequence

from millimetric_mcp.api.store.clients import ClientPool
from millimetric_mcp.api.store.commit import MAX_GROUP_EVENTS
from millimetric_mcp.api.store.inserts import Rows, insert_rows
from millimetric_mcp.api.store.journal import DAMAGED, Journal, Segment
from millimetric_mcp.api.store.statements import compose_for
from millimetric_mcp.errors import StoreRefused

MIN_GROUP_EVENTS = 500

_log = logging.getLogger(__name__)


def hand_over(pool: ClientPool, segments: Sequence[Segment], attempts: int = 0) -> int:
    """Store the segments' events that the engine does not have.

    Returns how many events were stored. A crash or an error may have come after an earlier
    insert; so the second attempt asks which requests are stored. Later ones insert smaller
    groups, for which the memory may be enough.

    Raises:
        StoreError: an insert failed; requests may be stored by now.
    """
    stored = 0
    for segment in segments:
        requests: Sequence[Rows] = segment.requests
        if attempts and requests:
            found = _find_stored(pool, requests)
            requests = [rows for rows in requests if rows.received_us not in found]
        max_events = max(MIN_GROUP_EVENTS, MAX_GROUP_EVENTS >> 2 * attempts)
        for group in _divide(requests, max_events=max_events):
            insert_rows(pool, group, columns=segment.columns)
            stored += sum(map(len, group))
    return stored


def take_over(pool: ClientPool, journal: Journal) -> None:
    """Hand over what an earlier process has left in the journal.

    Raises:
        StoreError: the engine does not take it.
    """
    for segment in journal.read_left():
        try:
            stored = hand_over(pool, [segment], attempts=1)
        except StoreRefused as error:
            raise StoreRefused(
                f"the events in {segment.path} can't be stored ({error}). To start without them, "
                "move the file elsewhere"
            ) from None
        journal.remove([segment])
        if stored:
            _log.info("store: %d events were taken over from the journal", stored)
        if segment.damaged_lines:
            _log.error(
                "store: %d damaged lines of %s were left out. The file is kept as *%s until the "
                "next deletion of a user",
                segment.damaged_lines,
                segment.path,
                DAMAGED,
            )


def _find_stored(pool: ClientPool, requests: Sequence[Rows]) -> set[int]:
    """Return the arrivals whose events are stored: a request's are all stored or none."""
    arrivals = [rows.received_us for rows in requests]
    values = {"first_us": min(arrivals), "last_us": max(arrivals)}
    return {row[0] for row in pool.query(compose_for("stored_requests", pool.target), values)}


def _divide(requests: Iterable[Rows], *, max_events: int) -> Iterator[list[Rows]]:
    """Yield the requests in groups of at most ``max_events``, or of one request."""
    group: list[Rows] = []
    size = 0
    for rows in requests:
        if group and size + len(rows) > max_events:
            yield group
            group, size = [], 0
        group.append(rows)
        size += len(rows)
    if group:
        yield group
