"""Brings a store's schema up to date; an embedded store is kept as it was until that is done."""

import os
import shutil
import threading
import time
from collections.abc import Callable
from importlib.resources.abc import Traversable
from pathlib import Path

from millimetric_mcp.api.store.clients import ClientPool
from millimetric_mcp.api.store.dsn import StoreTarget
from millimetric_mcp.api.store.migrations import list_pending, migrate
from millimetric_mcp.api.store.statements import compose_for
from millimetric_mcp.errors import StoreError, StoreRefused

REPORT_EVERY_S = 10
_LOOK_EVERY_S = 0.5
COPY_DIR = "before-upgrade"
_REWRITTEN = frozenset({".sql", ".txt"})
"""Files that the engine may write again; it writes its data files once."""


def open_upgraded(
    target: StoreTarget, *, sql: Traversable | None = None
) -> tuple[ClientPool, tuple[str, ...]]:
    """Return connections to a store whose schema is up to date, and the versions applied now.

    A server's store is not copied. ``sql`` is that of `migrate`.

    Raises:
        StoreRefused: a step failed, and the copy is kept; or see `migrate`.
        StoreError: the store can't be reached.
    """
    pool = ClientPool(target)
    copy = Path(target.address, COPY_DIR)
    try:
        pending, is_new = list_pending(pool, sql=sql)
        if target.embedded and pending and not (is_new or copy.exists()):
            pool.close()  # with it the engine stops, so that no file changes
            _copy(Path(target.address), copy)
            pool = ClientPool(target)
        applied = migrate(pool, sql=sql)
    except StoreError as error:
        pool.close()
        if not (target.embedded and copy.exists()):
            raise
        raise StoreRefused(
            f"the upgrade of the event store failed: {error}. The store as it was is in {copy}. "
            "Start again to try again. To go back, install the version that ran before, delete "
            f"everything else in {copy.parent}, and move the content of {copy} there"
        ) from error
    if target.embedded:
        shutil.rmtree(copy, ignore_errors=True)
    return pool, applied


def report_building(
    pool: ClientPool, say: Callable[[str], None], *, closing: threading.Event
) -> None:
    """Say every 10 seconds how far the engine is with an upgrade's work, until it is done.

    It builds projections of the older events in the background; until then questions about them
    are slower, and right. Returns at once if there is no such work or the store is no embedded
    one, and soon when ``closing`` is set: the engine goes on after the next start.
    """
    if not pool.target.embedded:
        return
    statement, said_at_s = compose_for("unbuilt_parts", pool.target), float("-inf")
    while (found := pool.query(statement)[0])[0]:
        _, unread, rows = found
        if time.monotonic() - said_at_s >= REPORT_EVERY_S:
            said_at_s = time.monotonic()
            say(
                f"upgrade of the event store: {1 - unread / rows:.0%} of {rows:,} events are "
                "prepared. Questions are answered meanwhile, but more slowly"
            )
        if closing.wait(_LOOK_EVERY_S):
            return
    if said_at_s > 0:
        say("upgrade of the event store: done")


def _copy(store: Path, copy: Path) -> None:
    """Copy a store that no engine uses, by hard links where the engine does not write again."""
    draft = copy.with_suffix(".unfinished")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(
        store,
        draft,
        symlinks=True,
        ignore=shutil.ignore_patterns(draft.name, "lock", "tmp"),
        copy_function=_link_or_copy,
    )
    draft.rename(copy)


def _link_or_copy(source: str, target: str) -> None:
    is_written_once = Path(source).suffix not in _REWRITTEN and "_logs" not in source
    (os.link if is_written_once else shutil.copy2)(source, target)
