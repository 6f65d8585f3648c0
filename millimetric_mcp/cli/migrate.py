"""``millimetric-mcp migrate``: the event store's schema, brought up to date."""

import argparse
import json
from collections.abc import Mapping
from contextlib import ExitStack, closing

from millimetric_mcp.api.control import keep_private, prepare_data_dir
from millimetric_mcp.api.store import ClientPool, hold_directories, migrate
from millimetric_mcp.cli.api import resolve_store
from millimetric_mcp.settings import StoreSettings, read_settings


def run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Applies what is missing and prints it; nothing to do is a success too.

    Raises:
        StoreError: the store can't be reached, refuses, or another process holds it.
    """
    settings = read_settings(StoreSettings, environ=environ, options=vars(options))
    keep_private()
    data_dir = prepare_data_dir(settings)
    target = resolve_store(settings, data_dir)
    with ExitStack() as stack:
        stack.enter_context(hold_directories(data_dir, target))
        applied = migrate(stack.enter_context(closing(ClientPool(target))))
    if options.json:
        print(json.dumps({"applied": applied}))
    else:
        print("\n".join(f"applied {version}" for version in applied) or "up to date")
    return 0
