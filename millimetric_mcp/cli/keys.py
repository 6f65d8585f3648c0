"""``millimetric-mcp keys``: create, list, rotate and revoke API keys, while the API runs or not."""

import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from pathlib import Path

from millimetric_mcp.api.control import (
    FIRST_PROJECT,
    Control,
    KeySummary,
    NewKey,
    Revocation,
    datadir,
)
from millimetric_mcp.cli.first_start import find_local_url, write_script_tag
from millimetric_mcp.cli.key_files import (
    find_files,
    hand_out,
    keys_dir_of,
    write_env_lines,
    write_keys_command,
)
from millimetric_mcp.cli.names import check_name, check_origins, confirm_new_name, read_origins
from millimetric_mcp.cli.output import print_json
from millimetric_mcp.cli.running import find_running_api
from millimetric_mcp.contract.keys import KeyEnv, KeyKind, parse_api_key
from millimetric_mcp.contract.validation import format_timestamp
from millimetric_mcp.errors import SettingsError
from millimetric_mcp.settings import (
    LOCAL_HOST,
    MAX_RETENTION_DAYS,
    ControlSettings,
    NewKeySettings,
    read_settings,
)

__all__ = ["create_local_keys", "run"]

_MAX_LABEL_CHARS = 64
_MAX_OVERLAP_HOURS = 24 * 366


@dataclass(frozen=True, slots=True)
class _KeysContext:
    """A ``keys`` command: its options, its directories and the control database."""

    options: Namespace
    data_dir: Path
    keys_dir: Path
    control: Control
    public_url: str | None

    def command(self, rest: str) -> str:
        """Return a ``keys`` command for the data directory and database in use."""
        options, control = self.options, self.options.control and "DSN"
        return write_keys_command(
            rest, keys_dir=self.keys_dir, data_dir=options.data_dir, control=control
        )

    def unknown_prefix(self) -> int:
        """Say that there is no such key; return the exit code."""
        sys.stderr.write(
            f"There is no active key with that prefix. To see all keys: {self.command('list')}\n"
        )
        return 1


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    """Run the ``keys`` command; return 1 if the prefix is unknown or the person declined.

    Raises:
        SettingsError: options or settings are wrong; every wrong option is named.
        StoreUnavailable: the control database failed.
    """
    settings = read_settings(NewKeySettings, environ=environ, options=vars(options))
    datadir.keep_private()
    is_new = options.keys_command == "create"
    _check_options(options)
    data_dir = (datadir.prepare_data_dir if is_new else datadir.find_data_dir)(settings)
    with closing(datadir.open_control_of(settings, data_dir)) as control:
        context = _KeysContext(
            options, data_dir, keys_dir_of(settings), control, settings.public_url
        )
        return _ACTIONS[options.keys_command](context)


def create_local_keys(path: Path, *, data_dir: Path, environ: Mapping[str, str]) -> None:
    """Save a server key and a read key of the first project in ``path``, for its owner only.

    They are the deployment's first keys if it has none yet; then a browser key is added.
    """
    secrets = {name: environ.get(name, "") for name in ("MILLIMETRIC_PEPPER",)}
    settings = read_settings(ControlSettings, environ=secrets, options={"data_dir": data_dir})

    def save(created: Sequence[NewKey]) -> None:
        comment = f"# Keys of project {FIRST_PROJECT} of the local API, with its data in {data_dir}"
        datadir.write_private_file(path, "".join([comment, "\n", *write_env_lines(created)]))

    prepared = datadir.prepare_data_dir(settings)
    with closing(datadir.open_control_of(settings, prepared)) as control:
        if control.create_first_keys(save) is None:
            create = partial(control.create_key, env=KeyEnv.LIVE, project=FIRST_PROJECT)
            save([create(kind=kind) for kind in (KeyKind.SK, KeyKind.RK)])


def _create(context: _KeysContext) -> int:
    options = context.options
    project = options.project.strip()
    if not confirm_new_name(context.control, project, yes=options.yes):
        return 1
    days = options.expires_days
    context.control.create_key(
        kind=KeyKind(options.kind),
        env=KeyEnv(options.env),
        project=project,
        origins=read_origins(options.origin or ()),
        label=options.label,
        expires_at=datetime.now(UTC) + timedelta(days=days) if days else None,
        show=partial(_show, context),
    )
    return 0


def _rotate(context: _KeysContext) -> int:
    rotated = context.control.rotate_key(
        context.options.prefix,
        overlap=timedelta(hours=context.options.overlap_hours),
        show=partial(_show, context),
    )
    if rotated is None:
        return context.unknown_prefix()
    if not context.options.json:
        _, expires_at = rotated
        until = f"works until {expires_at:%Y-%m-%d %H:%M} UTC"
        if not context.options.overlap_hours:
            until = "is refused within 5 seconds"
        sys.stdout.write(f"# The old key {context.options.prefix} {until}.\n")
    return 0


def _show(context: _KeysContext, new: NewKey) -> None:
    if context.options.json:
        print_json(
            {
                "key": new.key.reveal(),
                "kind": new.key.kind.value,
                "env": new.key.env.value,
                "prefix": new.key.prefix,
                "project": new.record.project,
            }
        )
        return
    hand_out(
        [new],
        keys_dir=context.keys_dir,
        clean_command=context.command(f"clean {new.key.prefix}"),
        stdout=sys.stdout,
    )
    if new.key.kind is KeyKind.PK:
        _write_tag(new.key.reveal(), context)


def _write_tag(key: str, context: _KeysContext) -> None:
    """Print the element that loads the browser script, from the API's public URL if it is known."""
    running = find_running_api(context.data_dir)
    url = context.public_url or (running and running.public_url)
    hint = "# Paste this into your pages:"
    if not url:
        url = find_local_url(running.url) if running and running.url else LOCAL_HOST
        hint = f"# Paste this into your pages, with the public URL of your API in place of {url}:"
    sys.stdout.write(f"{hint}\n{write_script_tag(key, url)}\n")
    sys.stdout.flush()


def _list(context: _KeysContext) -> int:
    listed = context.control.list_keys()
    if context.options.json:
        print_json([_describe(key) for key in listed])
    elif listed:
        files = find_files((key.prefix for key in listed), context.keys_dir)
        sys.stdout.write("\n".join(_write_list(listed, files)) + "\n")
    else:
        command = context.command("create --kind sk")
        sys.stdout.write(f"There are no keys yet. Create one: {command}\n")
    return 0


def _describe(key: KeySummary) -> dict[str, object]:
    return {
        "prefix": key.prefix,
        "kind": key.kind.value,
        "env": key.env.value,
        "project": key.project,
        "label": key.label,
        "origins": list(key.origins),
        "retention_days": key.retention_days,
        "created_at": format_timestamp(key.created_at),
        "last_used_on": f"{key.last_used_on:%Y-%m-%d}" if key.last_used_on else None,
        "expires_at": format_timestamp(key.expires_at) if key.expires_at else None,
        "revoked_at": format_timestamp(key.revoked_at) if key.revoked_at else None,
    }


def _write_list(listed: Sequence[KeySummary], files: Mapping[str, Path]) -> Iterator[str]:
    for project, keys in groupby(listed, key=lambda key: (key.project, key.retention_days)):
        name, days = project
        yield f"Project {name}" + (f" (events are kept {days} days)" if days else "")
        for key in keys:
            used = f"{key.last_used_on:%Y-%m-%d}" if key.last_used_on else "never"
            yield (
                f"  {key.prefix}  {key.kind}  {key.env}  created {key.created_at:%Y-%m-%d}  "
                f"used {used:<10}  {_describe_state(key)}"
            )
            if key.label:
                yield f"            {key.label}"
            yield from (f"            {origin}" for origin in key.origins)
            if key.prefix in files:
                yield f"            saved in {files[key.prefix]}"


def _describe_state(key: KeySummary) -> str:
    if key.revoked_at:
        return f"revoked {key.revoked_at:%Y-%m-%d}"
    if key.expires_at is None:
        return "active"
    return f"expire{'d' if key.expires_at <= datetime.now(UTC) else 's'} {key.expires_at:%Y-%m-%d}"


def _revoke(context: _KeysContext) -> int:
    prefix = context.options.prefix
    result = context.control.revoke_key(prefix)
    if context.options.json:
        print_json({"prefix": prefix, "revoked": result is not Revocation.UNKNOWN})
    elif result is Revocation.REVOKED:
        sys.stdout.write(f"{prefix} is revoked. The API refuses it within 5 seconds.\n")
    elif result is Revocation.ALREADY_REVOKED:
        sys.stdout.write(f"{prefix} is already revoked.\n")
    if result is Revocation.UNKNOWN:
        return context.unknown_prefix()
    for path in find_files([prefix], context.keys_dir).values():
        path.unlink()
    return 0


def _clean(context: _KeysContext) -> int:
    """Delete the files of one key, or of every key of this deployment."""
    prefixes = [key.prefix for key in context.control.list_keys()]
    if context.options.prefix is not None:
        if context.options.prefix not in prefixes:
            return context.unknown_prefix()
        prefixes = [context.options.prefix]
    paths = sorted(find_files(prefixes, context.keys_dir).values())
    for path in paths:
        path.unlink()
    if context.options.json:
        print_json({"deleted": [str(path) for path in paths]})
    elif paths:
        sys.stdout.write("".join(f"Deleted {path}\n" for path in paths))
    else:
        sys.stdout.write(f"No key is saved in {context.keys_dir}.\n")
    return 0


_ACTIONS = {
    "create": _create,
    "list": _list,
    "rotate": _rotate,
    "revoke": _revoke,
    "clean": _clean,
}


def _check_options(options: Namespace) -> None:
    """Raise if an option is wrong, before anything is created."""
    wrong: list[str] = []
    whole = parse_api_key(getattr(options, "prefix", None) or "")
    if whole is not None:
        wrong.append(f"Give only the key's prefix, not the key: {whole.prefix}")
    if options.keys_command == "create":
        wrong += [*_check_kind(options), *check_name("--project", options.project.strip())]
        label = options.label or ""
        if len(label) > _MAX_LABEL_CHARS or not label.isprintable():
            wrong.append(f"--label: use at most {_MAX_LABEL_CHARS} printable characters.")
        if options.expires_days is not None and not 1 <= options.expires_days <= MAX_RETENTION_DAYS:
            wrong.append(f"--expires-days: use 1 to {MAX_RETENTION_DAYS}.")
    if options.keys_command == "rotate" and not 0 <= options.overlap_hours <= _MAX_OVERLAP_HOURS:
        wrong.append(f"--overlap-hours: use 0 to {_MAX_OVERLAP_HOURS}.")
    if wrong:
        raise SettingsError(wrong)


def _check_kind(options: Namespace) -> Iterator[str]:
    origins = options.origin or ()
    if options.kind == KeyKind.PK and not origins:
        yield "--origin: add one for a pk key, such as --origin https://shop.example."
    if options.kind != KeyKind.PK and origins:
        yield f"--origin: remove it. It is for pk keys; {options.kind} keys work from anywhere."
        return
    yield from check_origins(origins)
