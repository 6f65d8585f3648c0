"""``millimetric-mcp keys``: create, list and revoke API keys, while the API runs or not."""

import json
import re
import shlex
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TextIO

from millimetric_mcp.api.control import (
    FIRST_PROJECT,
    TEST_SUFFIX,
    Control,
    KeySummary,
    NewKey,
    Revocation,
    datadir,
    open_control,
)
from millimetric_mcp.contract.keys import KeyEnv, KeyKind, normalise_origin, parse_api_key
from millimetric_mcp.contract.validation import format_timestamp
from millimetric_mcp.errors import SettingsError
from millimetric_mcp.settings import MAX_RETENTION_DAYS, ControlSettings, read_settings

__all__ = ["announce_first_keys", "create_local_keys", "run"]

_MAX_PROJECT_CHARS = 64 - len(TEST_SUFFIX)
_MAX_FILE_PART_CHARS = 32
_VARIABLES = {
    KeyKind.SK: "MILLIMETRIC_KEY",
    KeyKind.RK: "MILLIMETRIC_RK",
    KeyKind.PK: "MILLIMETRIC_PK",
}
_KIND_NAMES = {KeyKind.SK: "server key", KeyKind.RK: "read key", KeyKind.PK: "browser key"}


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    """Run ``keys create``, ``list`` or ``revoke``; return 1 if the prefix is unknown.

    Raises:
        SettingsError: options or settings are wrong; every wrong option is named.
        StoreUnavailable: the control database failed.
    """
    settings = read_settings(ControlSettings, environ=environ, options=vars(options))
    datadir.keep_private()
    if options.keys_command == "create":
        _check_create_options(options)
        data_dir = datadir.prepare_data_dir(settings)
    else:
        data_dir = datadir.find_data_dir(settings)
    pepper = datadir.resolve_secrets(settings, data_dir).pepper
    with closing(open_control(datadir.control_dsn(settings, data_dir), pepper=pepper)) as control:
        match options.keys_command:
            case "create":
                return _create(control, options, data_dir)
            case "list":
                return _list(control, options)
            case _:
                return _revoke(control, options)


def announce_first_keys(control: Control, *, data_dir: Path, stdout: TextIO) -> None:
    """Create a deployment's first keys, if it never had any.

    They are printed if ``stdout`` is a terminal. Otherwise they are saved to a file that only
    its owner can read, and the path is printed.
    """
    control.create_first_keys(partial(_hand_out, data_dir=data_dir, stdout=stdout))


def create_local_keys(path: Path, *, data_dir: Path, environ: Mapping[str, str]) -> None:
    """Save a server key and a read key of the first project in ``path``, for its owner only.

    They are the deployment's first keys if it has none yet; then a browser key is added.
    """
    secrets = {name: environ.get(name, "") for name in ("MILLIMETRIC_PEPPER",)}
    settings = read_settings(ControlSettings, environ=secrets, options={"data_dir": data_dir})
    pepper = datadir.resolve_secrets(settings, datadir.prepare_data_dir(settings)).pepper

    def save(created: Sequence[NewKey]) -> None:
        comment = f"# Keys of project {FIRST_PROJECT} of the local API, with its data in {data_dir}"
        datadir.write_private_file(path, "".join([comment, "\n", *_write_env_lines(created)]))

    with closing(open_control(datadir.control_dsn(settings, data_dir), pepper=pepper)) as control:
        if control.create_first_keys(save) is None:
            create = partial(control.create_key, env=KeyEnv.LIVE, project=FIRST_PROJECT)
            save([create(kind=kind) for kind in (KeyKind.SK, KeyKind.RK)])


def _create(control: Control, options: Namespace, data_dir: Path) -> int:
    new = control.create_key(
        kind=KeyKind(options.kind),
        env=KeyEnv(options.env or KeyEnv.LIVE),
        project=_project_name(options),
        origins=[origin for origin in map(_read_origin, options.origin or ()) if origin],
        retention_days=options.retention_days,
    )
    try:
        if options.json:
            _write_json(
                {
                    "key": new.key.reveal(),
                    "kind": new.key.kind.value,
                    "env": new.key.env.value,
                    "prefix": new.key.prefix,
                    "project": new.record.project,
                }
            )
        else:
            _hand_out([new], data_dir=data_dir, stdout=sys.stdout)
    except BaseException:
        control.revoke_key(new.key.prefix)  # it was not shown, so it can't be used
        raise
    return 0


def _hand_out(created: Sequence[NewKey], *, data_dir: Path, stdout: TextIO) -> None:
    project = created[0].record.project
    kinds = ", ".join(_KIND_NAMES[new.key.kind] for new in created)
    lines = "".join(_write_env_lines(created))
    is_one = len(created) == 1
    if stdout.isatty():
        pronoun = "it" if is_one else "them"
        stdout.write(
            f"# New for project {project}: {kinds}.\n"
            f"# Copy {pronoun} now: the API can't show {pronoun} again.\n{lines}"
        )
        stdout.flush()
        return
    path = data_dir / _name_file(created)
    try:
        datadir.write_private_file(path, f"# Keys of project {project}\n{lines}")
    except OSError as error:
        raise SettingsError([f"can't write {path}: {error.strerror}"]) from None
    try:
        stdout.write(
            f"New for project {project}: {kinds}.\n"
            f"{'It is' if is_one else 'They are'} saved in {path} (readable only by you).\n"
        )
        stdout.flush()
    except OSError:
        path.unlink()  # its path was not printed
        raise


def _name_file(created: Sequence[NewKey]) -> str:
    project = re.sub(r"[^A-Za-z0-9_.]+", "-", created[0].record.project)[:_MAX_FILE_PART_CHARS]
    kinds = "-".join(new.key.kind for new in created)
    return f"keys-{project}-{kinds}-{created[0].key.prefix}.env"


def _write_env_lines(created: Sequence[NewKey]) -> Iterator[str]:
    """Yield lines that a shell can read: each key's variable, after a comment."""
    for new in created:
        if new.record.origins:
            yield f"# for browsers, from {', '.join(sorted(new.record.origins))}\n"
        yield f"{_VARIABLES[new.key.kind]}={new.key.reveal()}\n"


def _list(control: Control, options: Namespace) -> int:
    listed = control.list_keys()
    if options.json:
        _write_json([_describe(key) for key in listed])
    elif listed:
        sys.stdout.write("\n".join(_write_list(listed)) + "\n")
    else:
        command = _command(options, "create --kind sk")
        sys.stdout.write(f"There are no keys yet. Create one: {command}\n")
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


def _write_list(listed: Sequence[KeySummary]) -> Iterator[str]:
    for project, keys in groupby(listed, key=lambda key: (key.project, key.retention_days)):
        name, days = project
        yield f"Project {name}" + (f" (events are kept {days} days)" if days else "")
        for key in keys:
            state = f"revoked {key.revoked_at:%Y-%m-%d}" if key.revoked_at else "active"
            yield (
                f"  {key.prefix}  {key.kind}  {key.env}  created {key.created_at:%Y-%m-%d}  {state}"
            )
            yield from (f"            {origin}" for origin in key.origins)


def _revoke(control: Control, options: Namespace) -> int:
    whole = parse_api_key(options.prefix)
    if whole is not None:
        raise SettingsError([f"Give only the key's prefix, not the key: {whole.prefix}"])
    result = control.revoke_key(options.prefix)
    if options.json:
        _write_json({"prefix": options.prefix, "revoked": result is not Revocation.UNKNOWN})
    elif result is Revocation.REVOKED:
        sys.stdout.write(f"{options.prefix} is revoked. The API refuses it within 5 seconds.\n")
    elif result is Revocation.ALREADY_REVOKED:
        sys.stdout.write(f"{options.prefix} is already revoked.\n")
    if result is Revocation.UNKNOWN:
        command = _command(options, "list")
        sys.stderr.write(f"There is no key with that prefix. To see all keys: {command}\n")
        return 1
    return 0


def _command(options: Namespace, rest: str) -> str:
    """Return a ``keys`` command for the data directory and database in use."""
    given = {"--data-dir": options.data_dir, "--control": options.control and "DSN"}
    used = [f"{option} {shlex.quote(str(value))}" for option, value in given.items() if value]
    return " ".join(["millimetric-mcp keys", rest, *used])


def _write_json(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _project_name(options: Namespace) -> str:
    return str(FIRST_PROJECT if options.project is None else options.project).strip()


def _read_origin(text: str) -> str | None:
    return normalise_origin(text.removesuffix("/"))


def _check_create_options(options: Namespace) -> None:
    project, days = _project_name(options), options.retention_days
    wrong = list(_check_origins(options))
    if not (project.isprintable() and 0 < len(project) <= _MAX_PROJECT_CHARS):
        wrong.append(f"--project: use 1 to {_MAX_PROJECT_CHARS} printable characters.")
    if project.endswith(TEST_SUFFIX):
        wrong.append(f"--project: don't end the name with{TEST_SUFFIX}; use --env test instead.")
    if days is not None and not 0 <= days <= MAX_RETENTION_DAYS:
        wrong.append(
            f"--retention-days: use 1 to {MAX_RETENTION_DAYS}, or 0 for the API's default."
        )
    if wrong:
        raise SettingsError(wrong)


def _check_origins(options: Namespace) -> Iterator[str]:
    origins = options.origin or ()
    if options.kind == KeyKind.PK and not origins:
        yield "--origin: add one for a pk key, such as --origin https://shop.example."
    if options.kind != KeyKind.PK and origins:
        yield f"--origin: remove it. It is for pk keys; {options.kind} keys work from anywhere."
        return
    for origin in origins:
        if _read_origin(origin) is None:
            with_scheme = _read_origin(f"https://{origin}")
            yield f"--origin: {origin!r} is not an origin. " + (
                f"Did you mean {with_scheme}? Add https://www.… as another --origin if you use it."
                if with_scheme
                else "Write https://shop.example or http://localhost:5173: no path, no wildcard, "
                "an international name as xn--…"
            )
