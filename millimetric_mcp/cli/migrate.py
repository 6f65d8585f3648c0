"""``millimetric-mcp migrate``: bring the schema of the databases up to date."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import Event

from millimetric_mcp.api.control import datadir
from millimetric_mcp.api.store import (
    ClientPool,
    StoreTarget,
    hold_directories,
    keeping_copy,
    open_upgraded,
    report_building,
)
from millimetric_mcp.cli.api import resolve_store
from millimetric_mcp.cli.output import print_json
from millimetric_mcp.errors import SettingsError
from millimetric_mcp.settings import StoreSettings, read_settings


def run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Apply missing migrations and print them; return 0, also if none is missing.

    With an embedded store the control database is upgraded too, if there is one. Older events are
    prepared then; what is done is printed to stderr.

    Raises:
        SettingsError: the embedded store's directory does not exist, or the control database
            can't be used.
        StoreError: the store can't be reached, it failed, or another process uses it.
    """
    settings = read_settings(StoreSettings, environ=environ, options=vars(options))
    datadir.keep_private()
    data_dir = datadir.data_dir_of(settings)
    target = resolve_store(settings, data_dir)
    if target.embedded and not Path(target.address).parent.is_dir():
        sentence = f"There is no store in {target.address}. Check --data-dir and --store."
        raise SettingsError([sentence])
    with hold_directories(data_dir, target):
        pool, applied = _upgrade(settings, data_dir, target)
        try:
            report_building(pool, lambda text: print(text, file=sys.stderr), closing=Event())
        finally:
            pool.close()
    if options.json:
        print_json({"applied": applied})
    else:
        print("\n".join(f"applied {version}" for version in applied) or "up to date")
    return 0


def _upgrade(
    settings: StoreSettings, data_dir: Path, target: StoreTarget
) -> tuple[ClientPool, tuple[str, ...]]:
    """Upgrade the store, then the control database; return as `open_upgraded`."""
    has_control = target.embedded and not datadir.list_missing_files(settings, data_dir)
    secrets = datadir.resolve_secrets(settings, data_dir) if has_control else None
    if secrets:
        datadir.check_control_of(settings, data_dir, secrets)
    with keeping_copy(target):
        pool, applied = open_upgraded(target)
        if secrets:
            datadir.open_control_of(settings, data_dir, secrets, upgrade=True).close()
    return pool, applied
