"""Where new keys go: to the terminal, or to files that only their owner can read.

Each key has a file, named after its project, kind and prefix. The files are not in the data
directory, so that copies of the data hold no keys.
"""

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from platformdirs import user_config_path

from millimetric_mcp.api.control import NewKey, datadir
from millimetric_mcp.contract.keys import KeyKind
from millimetric_mcp.errors import SettingsError
from millimetric_mcp.settings import ControlSettings

VARIABLES = {
    KeyKind.SK: "MILLIMETRIC_KEY",
    KeyKind.RK: "MILLIMETRIC_RK",
    KeyKind.PK: "MILLIMETRIC_PK",
}
KIND_NAMES = {KeyKind.SK: "server key", KeyKind.RK: "read key", KeyKind.PK: "browser key"}

_MAX_NAME_CHARS = 32
_WHERE = "--keys-dir / MILLIMETRIC_KEYS_DIR"


def keys_dir_of(settings: ControlSettings) -> Path:
    """Return the directory of the settings for files of new keys; it may not exist."""
    return (settings.keys_dir or _default_keys_dir()).absolute()


def _default_keys_dir() -> Path:
    return user_config_path("millimetric", appauthor=False) / "keys"


def hand_out(
    created: Sequence[NewKey], *, keys_dir: Path, clean_command: str, stdout: TextIO
) -> tuple[Path, ...]:
    """Print new keys if ``stdout`` is a terminal; else save them, and print where.

    Returns the files. If the output fails, there are none. ``clean_command`` deletes them later.
    """
    project = created[0].record.project
    kinds = ", ".join(KIND_NAMES[new.key.kind] for new in created)
    pronoun, verb = ("it", "It is") if len(created) == 1 else ("them", "They are")
    if stdout.isatty():
        stdout.write(
            f"# New for project {project}: {kinds}.\n"
            f"# Copy {pronoun} now: the API can't show {pronoun} again.\n"
            + "".join(write_env_lines(created))
        )
        stdout.flush()
        return ()
    paths = _save(created, keys_dir)
    try:
        stdout.write(f"New for project {project}: {kinds}.\n{verb} saved in\n")
        stdout.write("".join(f"  {path}\n" for path in paths))
        files = "this file" if len(created) == 1 else "these files"
        stdout.write(
            f"Only you can read {files}. Once you have copied {pronoun}, run:\n  {clean_command}\n"
        )
        stdout.flush()
    except OSError:
        for path in paths:
            path.unlink()  # their place was not printed
        raise
    return paths


def write_env_lines(created: Iterable[NewKey]) -> Iterator[str]:
    """Yield lines that a shell can read: each key's variable, after a comment."""
    for new in created:
        if new.record.origins:
            yield f"# for browsers, from {', '.join(sorted(new.record.origins))}\n"
        yield f"{VARIABLES[new.key.kind]}={new.key.reveal()}\n"


def find_files(prefixes: Iterable[str], keys_dir: Path) -> dict[str, Path]:
    """Return the files of keys, by prefix."""
    found = {path.stem.rpartition("-")[2]: path for path in keys_dir.glob("*-*-*.env")}
    return {prefix: found[prefix] for prefix in prefixes if prefix in found}


def quote_options(**options: object) -> str:
    """Return options for a command that a person can copy; those without a value are left out."""
    return "".join(
        f" --{name.replace('_', '-')} {shlex.quote(str(value))}"
        for name, value in options.items()
        if value
    )


def write_keys_command(rest: str, *, keys_dir: Path, **options: object) -> str:
    """Return a ``keys`` command that a person can copy, for the directory of the key files."""
    named = None if keys_dir == _default_keys_dir() else keys_dir
    return f"millimetric-mcp keys {rest}" + quote_options(**options, keys_dir=named)


def _save(created: Sequence[NewKey], keys_dir: Path) -> tuple[Path, ...]:
    paths: list[Path] = []
    try:
        keys_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        for new in created:
            comment = f"# {KIND_NAMES[new.key.kind]} of project {new.record.project}\n"
            path = keys_dir / _name_file(new)
            datadir.write_private_file(path, comment + "".join(write_env_lines([new])))
            paths.append(path)
    except OSError as error:
        for path in paths:
            path.unlink()
        sentence = (
            f"{_WHERE}: can't write to {keys_dir}: {error.strerror}. Choose another directory."
        )
        raise SettingsError([sentence]) from None
    return tuple(paths)


def _name_file(new: NewKey) -> str:
    project = re.sub(r"[^A-Za-z0-9_.]+", "-", new.record.project)[:_MAX_NAME_CHARS]
    env = "-test" if new.key.env == "test" else ""
    return f"{project}-{new.key.kind}{env}-{new.key.prefix}.env"
