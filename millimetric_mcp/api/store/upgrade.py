"""Brings a store's schema up to date; an embedded store is kept as it was until that is done."""

import os
import shutil
from importlib.resources.abc import Traversable
from pathlib import Path

from millimetric_mcp.api.store.clients import ClientPool
from millimetric_mcp.api.store.dsn import StoreTarget
from millimetric_mcp.api.store.migrations import list_pending, migrate
from millimetric_mcp.errors import StoreError, StoreRefused

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
