"""Brings a store's schema up to date; an embedded store is kept as it was until all is done."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
_UNFINISHED = ".unfinished"
_REWRITTEN = frozenset({".sql", ".txt"})
"""Files that the engine may write again; it writes its data files once."""


def open_upgraded(
    target: StoreTarget, *, sql: Traversable | None = None
) -> tuple[ClientPool, tuple[str, ...]]:
    """Return connections to a store whose schema is up to date, and the versions applied now.

    An embedded store is copied before; call this inside `keeping_copy`. ``sql`` is that of
    `migrate`.

    Raises:
        StoreRefused: see `migrate`.
        StoreError: the store can't be reached, or fails a step.
    """
    pool = ClientPool(target)
    copy = Path(target.address, COPY_DIR)
    try:
        pending, is_new = list_pending(pool, sql=sql)
        if target.embedded and pending and not (is_new or _has_files(copy)):
            pool.close()  # with it the engine stops, so that no file changes
            _copy(Path(target.address), copy)
            pool = ClientPool(target)
        applied = migrate(pool, sql=sql)
    except StoreError:
        pool.close()
        raise
    return pool, applied


@contextmanager
def keeping_copy(target: StoreTarget) -> Iterator[None]:
    """Delete the copy of an embedded store once the block has upgraded everything.

    The block upgrades the control database last, in one transaction, so that it is as it was
    when the block fails.

    Raises:
        StoreRefused: the block failed and there is a copy; the text says how to go back.
    """
    copy = Path(target.address, COPY_DIR)
    try:
        yield
    except StoreError as error:
        if not (target.embedded and _has_files(copy)):
            raise
        raise StoreRefused(
            f"the upgrade failed: {error}. The event store as it was is in {copy}; the database "
            "of projects and keys was not changed. Start again to try again. To go back, install "
            f"the version that ran before, delete everything else in {copy.parent}, and move the "
            f"content of {copy} there"
        ) from error
    if target.embedded and copy.exists():
        _delete(copy)


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
    draft = copy.with_suffix(_UNFINISHED)
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(
        store,
        draft,
        symlinks=True,
        ignore=shutil.ignore_patterns(copy.name, draft.name, "lock", "tmp"),
        copy_function=_link_or_copy,
    )
    draft.rename(copy)


def _has_files(copy: Path) -> bool:
    """Return whether there is a copy; whoever has gone back to it may have left its directory."""
    return copy.is_dir() and any(copy.iterdir())


def _delete(copy: Path) -> None:
    """Delete a copy; if that is interrupted, what is left does not look like one."""
    left = copy.with_suffix(_UNFINISHED)
    shutil.rmtree(left, ignore_errors=True)
    copy.rename(left)
    shutil.rmtree(left, ignore_errors=True)


def _link_or_copy(source: str, target: str) -> None:
    is_written_once = Path(source).suffix not in _REWRITTEN and "_logs" not in source
    (os.link if is_written_once else shutil.copy2)(source, target)
