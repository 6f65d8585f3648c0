"""The data directory and the secrets kept in it."""

import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from platformdirs import user_data_path
from pydantic import SecretStr
from sqlalchemy import URL

from millimetric_mcp.api.control.engine import parse_dsn
from millimetric_mcp.errors import SettingsError
from millimetric_mcp.settings import MIN_SECRET_LENGTH, ApiSettings, ControlSettings

__all__ = [
    "Secrets",
    "control_dsn",
    "keep_private",
    "make_private_directory",
    "prepare_data_dir",
    "read_or_make_secret",
    "resolve_secrets",
    "write_private_file",
]

_CONTROL_FILE = "control.sqlite3"
_PEPPER_FILE = "pepper"
_IP_SALT_FILE = "ip-salt"
_SECRET_BYTES = 32
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Secrets:
    """What is hashed with keys, and what with addresses (None where it is not needed)."""

    pepper: bytes = field(repr=False)
    ip_salt: bytes | None = field(repr=False)


def keep_private() -> None:
    """What this process writes from here on is for its owner alone."""
    os.umask(_OTHERS)


def prepare_data_dir(settings: ControlSettings) -> Path:
    """The data directory, made for its owner only where there is none.

    Raises:
        SettingsError: it can't be made.
    """
    path = settings.data_dir or user_data_path("millimetric", appauthor=False)
    make_private_directory(path)
    return path


def make_private_directory(path: Path) -> None:
    """Makes a data directory, or one in it, for its owner only where there is none.

    Raises:
        SettingsError: it can't be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            [f"--data-dir / MILLIMETRIC_DATA_DIR: {path} can't be made: {error.strerror}"]
        ) from None


def control_dsn(settings: ControlSettings, data_dir: Path) -> URL:
    """The DSN of projects and keys: the one set, else SQLite in the data directory.

    Raises:
        SettingsError: the one set is no DSN that can be used.
    """
    if settings.control is not None:
        return parse_dsn(settings.control.get_secret_value())
    return URL.create("sqlite", database=str(data_dir.absolute() / _CONTROL_FILE))


def resolve_secrets(settings: ControlSettings, data_dir: Path) -> Secrets:
    """The secrets that are set; those that are not are made once in the data directory.

    Raises:
        SettingsError: a secret's file can't be used.
    """
    return Secrets(
        pepper=_secret(settings.pepper, data_dir / _PEPPER_FILE),
        ip_salt=_secret(settings.ip_salt, data_dir / _IP_SALT_FILE)
        if isinstance(settings, ApiSettings)
        else None,
    )


def _secret(value: SecretStr | None, path: Path) -> bytes:
    return value.get_secret_value().encode() if value else read_or_make_secret(path)


def read_or_make_secret(path: Path) -> bytes:
    """The secret in the file, made on first use: URL-safe text, fit to be set as a variable.

    Of several processes that make it at once, all get the same one.

    Raises:
        SettingsError: others than its owner can read the file, or it holds no secret.
    """
    try:
        if not path.exists():
            _make_secret(path)
        with path.open("rb") as file:
            if os.name != "nt" and os.fstat(file.fileno()).st_mode & _OTHERS:
                raise SettingsError([f"{path} is open to other users: run chmod 600 {path}"])
            secret = file.read().strip()
    except OSError as error:
        raise SettingsError([f"{path} can't be used: {error.strerror}"]) from None
    if len(secret) < MIN_SECRET_LENGTH:
        raise SettingsError([f"{path} holds no secret; restore it from a backup"])
    return secret


def _make_secret(path: Path) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    write_private_file(draft, secrets.token_urlsafe(_SECRET_BYTES) + "\n")
    try:
        os.link(draft, path)  # unlike a rename, this leaves the file of a faster process alone
    except FileExistsError:
        return
    finally:
        draft.unlink()
    _flush_directory(path.parent)


def write_private_file(path: Path, text: str) -> None:
    """Write a new file that only its owner can read, durably.

    Raises:
        FileExistsError: there is a file of that name.
    """
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _flush_directory(path: Path) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
