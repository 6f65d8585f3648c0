"""What `doctor` looks at on this machine: extras, disk, port, and the files of clients."""

import shutil
import socket
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from millimetric_mcp.cli import jsonc
from millimetric_mcp.cli.clients import CLIENTS, KEY_VARIABLES, SERVER_NAME, Client, Places
from millimetric_mcp.cli.doctor.finding import Finding, broken, note, ok
from millimetric_mcp.cli.installation import EXTRAS, has_extra, write_install_command
from millimetric_mcp.cli.resources import find_free_disk, find_free_memory, list_shortages
from millimetric_mcp.contract.keys import parse_api_key

_OTHERS_MAY_READ = stat.S_IRGRP | stat.S_IROTH
_LOSSES = {
    "api": "No API runs on this machine; neither do --local, keys, import, demo and report.",
    "geo": "Events that this machine's API stores have no country.",
}


def check_extras(*, needs_api: bool) -> Iterator[Finding]:
    """Yield which extras are installed."""
    for extra, loss in _LOSSES.items():
        what = f"The extra {extra} is"
        if has_extra(extra):
            yield ok("extras", f"{what} installed.")
            continue
        action = f"If you need it ({EXTRAS[extra][1]}): {write_install_command(extra)}"
        report = broken if needs_api and extra == "api" else note
        yield report("extras", f"{what} not installed.", loss, action)


def check_resources(data_dir: Path, *, store_memory_mb: int) -> Iterator[Finding]:
    """Yield whether a local API has enough memory and disk."""
    memory, disk = find_free_memory(), find_free_disk(data_dir)
    shortages = list(
        list_shortages(memory=memory, disk=disk, store_memory_mb=store_memory_mb, data_dir=data_dir)
    )
    for sentence in shortages:
        what, _, action = sentence.partition(". ")
        why = "The API answers more slowly, or refuses events and questions."
        yield note("resources", f"{what}.", why, action)
    if not shortages:
        known = f" and {memory / 1e9:.1f} GB of memory" if memory is not None else ""
        yield ok("resources", f"{disk / 1e9:.1f} GB of disk{known} are free for {data_dir}.")


def check_port(port: int, *, running_url: str | None) -> Finding:
    """Return whether a local API can listen on the usual port."""
    if running_url:
        return ok("port", f"An API runs on this machine at {running_url}.")
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return note(
            "port",
            f"Another program uses port {port}.",
            "An API of this machine can't listen there; --local takes another port.",
            "Stop that program, or choose a port with MILLIMETRIC_API_PORT.",
        )
    return ok("port", f"Port {port} is free for an API on this machine.")


def check_clients(places: Places) -> Iterator[Finding]:
    """Yield, of each client whose file exists, whether it names this server."""
    found = False
    for client in CLIENTS.values():
        file = client.find_file(places)
        if file.is_file():
            found = True
            yield _check_client(client, file)
    if not found:
        yield note(
            "clients",
            "No file of an MCP client was found, here or in your home directory.",
            "No agent on this machine knows this server.",
            "Write one with, for example: millimetric-mcp config claude-code --local --write",
        )


def _check_client(client: Client, file: Path) -> Finding:
    fix = f"millimetric-mcp config {client.name} --write"
    try:
        entry = _read_entry(client, file)
    except (ValueError, OSError) as error:
        why = f"{client.title} can't read its servers."
        return broken("clients", f"{file} is invalid: {error}", why, "Correct it, or restore it.")
    if entry is None:
        why = f"{client.title} does not start it."
        return note("clients", f"{file} does not name this server.", why, f"Add it with: {fix}")
    command = entry.get("command")
    if isinstance(command, str) and shutil.which(command) is None:
        what = f"{file} names a command that does not exist."
        return broken("clients", what, f"{client.title} can't start the server.", f"Run: {fix}")
    env = entry.get("env")
    values = [env.get(name) for name in KEY_VARIABLES] if isinstance(env, Mapping) else []
    has_keys = any(isinstance(value, str) and parse_api_key(value) for value in values)
    if has_keys and file.stat().st_mode & _OTHERS_MAY_READ:
        what = f"{file} holds keys, and other users can read it."
        return broken("clients", what, "They can use the keys.", f"Run: chmod 600 '{file}'")
    return ok("clients", f"{client.title} knows this server ({file}).")


def _read_entry(client: Client, file: Path) -> Mapping[str, Any] | None:
    text = file.read_text(encoding="utf-8-sig")
    found: Any = tomllib.loads(text) if client.is_toml else jsonc.parse(text or "{}")
    for name in (*client.container, SERVER_NAME):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else None
