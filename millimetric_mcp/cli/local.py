"""``millimetric-mcp local``: the API that all agents of this machine share."""

import argparse
from collections.abc import Mapping

from millimetric_mcp.cli.localapi import LocalApi, is_healthy, stop
from millimetric_mcp.cli.output import print_json


def run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Run ``local status``, ``stop`` or ``path``; ``status`` returns 1 if the API does not run.

    Raises:
        LocalApiFailed: the API did not end in time.
    """
    local = LocalApi.find(environ)
    match options.local_command:
        case "status":
            return _show_status(local, as_json=options.json)
        case "stop":
            was_running = stop(local)
            text = "Stopped the local API." if was_running else "The local API does not run."
            _write({"stopped": was_running}, text, as_json=options.json)
        case _:
            places = {
                "data_dir": str(local.data_dir),
                "keys_file": str(local.keys_file),
                "log_file": str(local.log_file),
            }
            text = "\n".join(f"{name.replace('_', ' '):10} {at}" for name, at in places.items())
            _write(places, text, as_json=options.json)
    return 0


def _show_status(local: LocalApi, *, as_json: bool) -> int:
    api = local.find_running()
    healthy = api is not None and bool(api.url) and is_healthy(api.url)
    if api is None:
        text = "The local API does not run. millimetric-mcp --local starts it."
    else:
        state = "runs" if healthy else "does not answer"
        text = f"The local API {state}: {api.url} (process {api.pid}), data in {local.data_dir}"
    facts = {
        "running": api is not None,
        "healthy": healthy,
        "url": api.url if api else None,
        "pid": api.pid if api else None,
        "data_dir": str(local.data_dir),
    }
    _write(facts, text, as_json=as_json)
    return 0 if healthy else 1


def _write(facts: Mapping[str, object], text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(facts)
    else:
        print(text)
