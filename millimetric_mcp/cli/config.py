"""``millimetric-mcp config``: this server's entry in the file of an MCP client."""

import argparse
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeGuard

from millimetric_mcp.cli import jsonc
from millimetric_mcp.cli.clients import (
    CLIENTS,
    KEY_VARIABLES,
    SERVER_NAME,
    Client,
    Places,
    build_input,
)
from millimetric_mcp.cli.installation import own_command
from millimetric_mcp.cli.output import print_json
from millimetric_mcp.errors import SettingsError
from millimetric_mcp.settings import DEFAULT_HOST, LOCAL, ServeSettings, read_settings

_PRIVATE = 0o600


@dataclass(frozen=True, slots=True)
class Plan:
    """The entry to write, the keys that it refers to, and whether it holds keys itself."""

    entry: dict[str, Any]
    references: tuple[str, ...]
    has_keys: bool


@dataclass(frozen=True, slots=True)
class Written:
    """What `write_entry` did: nothing if ``changed`` is False."""

    changed: bool
    backup: Path | None


def run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the entry, or merge it into the client's file, and return 0.

    Raises:
        SettingsError: settings are wrong, keys can't be referred to, or the file is invalid.
    """
    client = CLIENTS[options.client]
    places = Places(Path.home(), Path.cwd(), environ)
    file = (Path(options.file) if options.file else client.find_file(places)).absolute()
    plan = _make_plan(client, options, environ)
    written = None
    if options.write:
        if plan.references and client.reference is None:
            raise SettingsError([_explain_no_reference(client, file)])
        written = write_entry(client, file, plan.entry, is_private=plan.has_keys, now=datetime.now)
    if options.json:
        facts = {
            "client": client.name,
            "file": str(file),
            "entry": plan.entry,
            "changed": bool(written and written.changed),
            "backup": str(written.backup) if written and written.backup else None,
        }
        print_json(facts)
    elif written is None:
        sys.stdout.write(render(client, plan.entry))
        print(f"# For {file}. Add --write to merge it there.", file=sys.stderr)
    else:
        sys.stdout.write(_describe(client, file, plan, written))
    return 0


def _make_plan(client: Client, options: argparse.Namespace, environ: Mapping[str, str]) -> Plan:
    given = {"api_url": LOCAL} if options.local else {}
    settings = read_settings(ServeSettings, environ=environ, options=given)
    if settings.api_url == LOCAL:
        entry = client.build_entry((*own_command(), "--local"), env={}, references=())
        return Plan(entry, (), has_keys=False)
    names = [name for name in KEY_VARIABLES if environ.get(name)]
    env = {} if settings.api_url == DEFAULT_HOST else {"MILLIMETRIC_HOST": settings.api_url}
    if not options.inline_keys:
        references = tuple(names or ["MILLIMETRIC_RK"])
        entry = client.build_entry(own_command(), env=env, references=references)
        return Plan(entry, references, has_keys=False)
    if not names:
        either = " or ".join(KEY_VARIABLES)
        raise SettingsError([f"--inline-keys: no key is set. Set {either}, or use --local."])
    env |= {name: environ[name] for name in names}
    return Plan(client.build_entry(own_command(), env=env, references=()), (), has_keys=True)


def _explain_no_reference(client: Client, file: Path) -> str:
    return (
        f"{client.title} can't read keys from the environment. Use --local, which needs no keys, "
        f"or --inline-keys, which writes the keys into {file} (readable only by you)."
    )


def render(client: Client, entry: Mapping[str, Any]) -> str:
    """Return a file that holds the entry alone, in the client's format."""
    return _merge(client, "" if client.is_toml else "{}\n", entry)


def write_entry(
    client: Client,
    file: Path,
    entry: Mapping[str, Any],
    *,
    is_private: bool,
    now: Callable[..., datetime],
) -> Written:
    """Merge the entry into the file. Everything else in it stays, and a backup is kept.

    Raises:
        SettingsError: the file is invalid; it is not changed then.
    """
    file = file.resolve()
    before = _read(file)
    text = before if before and before.strip() else ("" if client.is_toml else "{}\n")
    try:
        after = _merge(client, text, entry)
    except ValueError as error:
        sentence = f"{file}: {error}. Correct it, or choose another file with --file."
        raise SettingsError([sentence]) from None
    if after == before:
        if is_private:
            file.chmod(_PRIVATE)
        return Written(changed=False, backup=None)
    backup = None
    if before is not None:
        stamp = now(UTC).strftime("%Y%m%d-%H%M%S")
        backup = file.with_name(f"{file.name}.{stamp}-{secrets.token_hex(2)}.bak")
        shutil.copy2(file, backup)
    is_own = is_private or (before is None and not client.is_shared)
    _replace(file, after, mode=_PRIVATE if is_own else None)
    return Written(changed=True, backup=backup)


def _read(file: Path) -> str | None:
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            return stream.read()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise SettingsError([f"{file} is not UTF-8 text. Choose another with --file."]) from None


def _replace(file: Path, text: str, *, mode: int | None) -> None:
    """Write the file whole, so that no reader sees half of it. None keeps its mode."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if mode is None:
        mode = file.stat().st_mode & 0o777 if file.exists() else 0o644
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        draft.chmod(mode)
        draft.replace(file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _merge(client: Client, text: str, entry: Mapping[str, Any]) -> str:
    if client.is_toml:
        return _merge_toml(client, text, entry)
    root = jsonc.parse(text)
    path = (*client.container, SERVER_NAME)
    old = _find(root, path)
    if not _is_kept(old):
        text = jsonc.set_member(text, path, _without_empty(entry))
    else:
        for name, value in _merge_variables(old, entry).items():
            text = jsonc.set_member(text, (*path, name), value)
    if client.name == "vscode":
        inputs = root.get("inputs", [])
        if not isinstance(inputs, list):
            raise ValueError("inputs is not a list")
        known = [item.get("id") for item in inputs if isinstance(item, dict)]
        for variable in KEY_VARIABLES:
            question = build_input(variable)
            reference = f"${{input:{question['id']}}}"
            if entry["env"].get(variable) == reference and question["id"] not in known:
                text = jsonc.append_item(text, "inputs", question)
    return text


def _find(root: object, path: tuple[str, ...]) -> object:
    for name in path:
        root = root.get(name) if isinstance(root, dict) else None
    return root


def _is_kept(old: object) -> TypeGuard[Mapping[str, Any]]:
    """Return whether an older entry can be changed: not if it is over HTTP, or invalid."""
    return (
        isinstance(old, Mapping)
        and "url" not in old
        and isinstance(old.get("env") or {}, Mapping)
        and isinstance(old.get("env_vars") or [], list)
    )


def _merge_variables(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the new entry with the old one's variables that are not this package's."""
    ours = {*KEY_VARIABLES, "MILLIMETRIC_HOST"}
    kept = {name: value for name, value in (old.get("env") or {}).items() if name not in ours}
    merged = {**new, "env": {**kept, **new["env"]}}
    if "env_vars" in new:
        others = [name for name in old.get("env_vars") or () if name not in ours]
        merged["env_vars"] = [*others, *new["env_vars"]]
    return _without_empty(merged, unless_in=old)


def _without_empty(entry: Mapping[str, Any], unless_in: Collection[str] = ()) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if value or name in unless_in}


def _merge_toml(client: Client, text: str, entry: Mapping[str, Any]) -> str:
    import tomlkit  # noqa: PLC0415 - for one client only
    from tomlkit.container import OutOfOrderTableProxy  # noqa: PLC0415
    from tomlkit.exceptions import TOMLKitError  # noqa: PLC0415
    from tomlkit.items import Table  # noqa: PLC0415

    start = "\ufeff" if text.startswith("\ufeff") else ""
    try:
        document = tomlkit.parse(text.removeprefix(start))
    except TOMLKitError as error:
        raise ValueError(f"not valid TOML: {error}") from None
    table: Any = document
    for name in client.container:
        if name not in table:
            table[name] = tomlkit.table(is_super_table=True)
        table = table[name]
        if not isinstance(table, Table | OutOfOrderTableProxy):
            raise ValueError(f"{name} is not written as [{name}.NAME]")  # noqa: TRY004
    if not _is_kept(table.get(SERVER_NAME)):
        table[SERVER_NAME] = tomlkit.table()
    server = table[SERVER_NAME]
    after = _take_end(server) if isinstance(server, Table) else []
    for name, value in _merge_variables(server, entry).items():
        if server.get(name) == value:
            continue
        # A new table with its own header would take the blank line before the next one.
        is_new_table = isinstance(value, dict) and not isinstance(server.get(name), Table)
        server[name] = tomlkit.inline_table() | value if is_new_table else value
    for item in after:
        server.add(item)
    return start + tomlkit.dumps(document).rstrip("\n") + "\n"


def _take_end(table: Any) -> list[Any]:  # noqa: ANN401 - tomlkit is imported where it is used
    """Remove and return the blank lines and comments after a table's last value, if it has any.

    They stand before the next table and are often about that one.
    """
    body = table.value.body
    taken: list[Any] = []
    while body and body[-1][0] is None:
        taken.insert(0, body.pop()[1])
    return taken


def _describe(client: Client, file: Path, plan: Plan, written: Written) -> str:
    if not written.changed:
        return f"{file} has this entry already. Nothing was changed.\n"
    lines = [f"Wrote the server {SERVER_NAME} into {file}."]
    if written.backup:
        lines.append(f"The former file is {written.backup}.")
    if plan.references and client.name != "vscode":
        names = " and ".join(plan.references)
        lines.append(f"{client.title} takes {names} from the environment that it starts in.")
    lines.append(f"Restart {client.title}, and ask: Where did today's visitors come from?")
    return "\n".join(lines) + "\n"
