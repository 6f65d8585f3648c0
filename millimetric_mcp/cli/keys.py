"""``millimetric-mcp keys``: make, list and revoke API keys, while the API runs or not."""

import json
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from millimetric_mcp.api.control import (
    FIRST_PROJECT,
    Control,
    KeySummary,
    NewKey,
    control_dsn,
    keep_private,
    open_control,
    prepare_data_dir,
    resolve_secrets,
    write_private_file,
)
from millimetric_mcp.contract.keys import (
    KeyEnv,
    KeyKind,
    normalise_origin,
    parse_api_key,
)
from millimetric_mcp.contract.validation import format_timestamp
from millimetric_mcp.errors import SettingsError
from millimetric_mcp.settings import MAX_RETENTION_DAYS, ControlSettings, read_settings

__all__ = ["announce_first_keys", "run"]

_MAX_PROJECT_CHARS = 64
_PIPE_WIDTH_CHARS = 200
_VARIABLES = {
    KeyKind.SK: "MILLIMETRIC_KEY",
    KeyKind.RK: "MILLIMETRIC_RK",
    KeyKind.PK: "MILLIMETRIC_PK",
}


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    """Do ``keys create``, ``list`` or ``revoke``; the exit code, 1 for an unknown prefix.

    Raises:
        SettingsError: an option or setting is wrong; every faulty option is named.
        StoreUnavailable: the control database failed.
    """
    settings = read_settings(ControlSettings, environ=environ, options=vars(options))
    commands = {"create": _create, "list": _list, "revoke": _revoke}
    if options.keys_command == "create":
        _check_create_options(options)
    keep_private()
    data_dir = prepare_data_dir(settings)
    pepper = resolve_secrets(settings, data_dir).pepper
    with closing(open_control(control_dsn(settings, data_dir), pepper=pepper)) as control:
        return commands[options.keys_command](control, options, data_dir)


def announce_first_keys(control: Control, *, data_dir: Path, stdout: TextIO) -> None:
    """Make a deployment's first keys, where it never had any, and give them out once.

    They are printed where ``stdout`` is a terminal; elsewhere they go to a file that only
    its owner can read, and its path is printed.
    """
    control.create_first_keys(partial(_hand_out, data_dir=data_dir, stdout=stdout))


def _create(control: Control, options: Namespace, data_dir: Path) -> int:
    new = control.create_key(
        kind=KeyKind(options.kind),
        env=KeyEnv(options.env or KeyEnv.LIVE),
        project=_project_name(options),
        origins=_list_origins(options),
        retention_days=options.retention_days,
    )
    try:
        if options.json:
            _write_json(_describe_new(new))
        else:
            _hand_out([new], data_dir=data_dir, stdout=sys.stdout)
    except BaseException:
        control.revoke_key(new.key.prefix)  # nobody has seen it, nobody ever will
        raise
    return 0


def _hand_out(made: Sequence[NewKey], *, data_dir: Path, stdout: TextIO) -> None:
    text = _explain_new(made)
    if stdout.isatty():
        stdout.write(text)
        stdout.flush()
    else:
        path = data_dir / f"keys-{made[0].key.prefix}.env"
        try:
            write_private_file(path, text)
        except OSError as error:
            raise SettingsError([f"{path} can't be written: {error.strerror}"]) from None
        try:
            stdout.write(f"New keys, shown this once, are in {path}\n")
            stdout.flush()
        except OSError:
            path.unlink()  # nobody is told of it
            raise


def _explain_new(made: Sequence[NewKey]) -> str:
    """Lines that a shell can read, the key's variable on each."""
    project = made[0].record.project
    lines = [f"# Keys of project {project}: shown this once, only their hashes are stored."]
    for new in made:
        if new.record.origins:
            lines.append(f"# for browsers, from {', '.join(sorted(new.record.origins))}")
        lines.append(f"{_VARIABLES[new.key.kind]}={new.key.reveal()}")
    return "\n".join(lines) + "\n"


def _describe_new(new: NewKey) -> dict[str, str]:
    return {
        "key": new.key.reveal(),
        "kind": new.key.kind.value,
        "env": new.key.env.value,
        "prefix": new.key.prefix,
        "project": new.record.project,
    }


def _list(control: Control, options: Namespace, _: Path) -> int:
    listed = control.list_keys()
    if options.json:
        _write_json([_describe(key) for key in listed])
    elif listed:
        width = None if sys.stdout.isatty() else _PIPE_WIDTH_CHARS
        Console(file=sys.stdout, width=width).print(_tabulate(listed))
    else:
        sys.stdout.write("No keys yet. Make one: millimetric-mcp keys create --kind sk\n")
    return 0


def _describe(key: KeySummary) -> dict[str, object]:
    return {
        "prefix": key.prefix,
        "kind": key.kind.value,
        "env": key.env.value,
        "project": key.project,
        "origins": list(key.origins),
        "retention_days": key.retention_days,
        "created_at": format_timestamp(key.created_at),
        "revoked_at": format_timestamp(key.revoked_at) if key.revoked_at else None,
    }


def _tabulate(listed: Sequence[KeySummary]) -> Table:
    fixed, folded = partial(Column, no_wrap=True), partial(Column, overflow="fold")
    table = Table(
        *(fixed(name) for name in ("Prefix", "Kind", "Env")),
        *(folded(name) for name in ("Project", "Origins")),
        *(fixed(name) for name in ("Kept", "Created", "State")),
        box=SIMPLE_HEAD,
    )
    for key in listed:
        cells = (
            key.prefix,
            key.kind.value,
            key.env.value,
            key.project,
            "\n".join(key.origins),
            f"{key.retention_days} days" if key.retention_days else "",
            f"{key.created_at:%Y-%m-%d}",
            f"revoked {key.revoked_at:%Y-%m-%d}" if key.revoked_at else "works",
        )
        table.add_row(*map(Text, cells), style="dim" if key.revoked_at else None)
    return table


def _revoke(control: Control, options: Namespace, _: Path) -> int:
    whole = parse_api_key(options.prefix)
    if whole is not None:
        raise SettingsError([f"revoke takes the key's prefix only, never the key: {whole.prefix}"])
    found = control.revoke_key(options.prefix)
    if options.json:
        _write_json({"prefix": options.prefix, "revoked": found})
    elif found:
        sys.stdout.write(f"{options.prefix} is revoked; the API refuses it within 5 seconds.\n")
    if not found:
        sys.stderr.write(
            "There is no key of that prefix; millimetric-mcp keys list shows them all.\n"
        )
    return 0 if found else 1


def _write_json(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _project_name(options: Namespace) -> str:
    return str(FIRST_PROJECT if options.project is None else options.project).strip()


def _list_origins(options: Namespace) -> list[str]:
    origins = (normalise_origin(text.removesuffix("/")) for text in options.origin or ())
    return [origin for origin in origins if origin is not None]


def _check_create_options(options: Namespace) -> None:
    project, days = _project_name(options), options.retention_days
    faults = _check_origins(options)
    if not (project.isprintable() and 0 < len(project) <= _MAX_PROJECT_CHARS):
        faults.append(f"--project: must have 1 to {_MAX_PROJECT_CHARS} printable characters")
    if days is not None and not 0 <= days <= MAX_RETENTION_DAYS:
        faults.append(
            f"--retention-days: must be 1 to {MAX_RETENTION_DAYS}, or 0 for the API's default"
        )
    if faults:
        raise SettingsError(faults)


def _check_origins(options: Namespace) -> list[str]:
    origins = options.origin or ()
    if options.kind == KeyKind.PK and not origins:
        return ["--origin: a pk key needs at least one, such as --origin https://shop.example"]
    if options.kind != KeyKind.PK and origins:
        return [f"--origin: is for pk keys; {options.kind} keys work from anywhere: leave it out"]
    return [
        f"--origin: {origin!r} is no origin; write it as browsers send it, such as "
        "https://shop.example or http://localhost:5173: no path, no wildcard, "
        "www. listed separately, an international name as xn--…"
        for origin in origins
        if normalise_origin(origin.removesuffix("/")) is None
    ]
