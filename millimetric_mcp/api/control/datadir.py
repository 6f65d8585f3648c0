"""The data directory and the secrets in it."""

import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from platformdirs import user_data_path
from pydantic import SecretStr
from sqlalchemy import URL

from millimetric_mcp.api.control.database import Control, check_control, open_control
from millimetric_mcp.api.control.engine import parse_dsn
from millimetric_mcp.errors import SettingsError
from millimetric_mcp.settings import MIN_SECRET_LENGTH, ControlSettings, DeploymentSettings

_WHERE = "--data-dir / MILLIMETRIC_DATA_DIR"
STORE_DIR = "store"
CONTROL_FILE = "control.sqlite3"
PEPPER_FILE = "pepper"
IP_SALT_FILE = "ip-salt"
SECRET_FILES = {PEPPER_FILE: "MILLIMETRIC_PEPPER", IP_SALT_FILE: "MILLIMETRIC_IP_SALT"}
RESTORE_DIR = ".restoring"
"""Where ``restore`` builds a data directory before it takes its place."""
_SECRET_BYTES = 32
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secrets of the hashes of keys, and of IP addresses (None if not needed)."""

    pepper: bytes = field(repr=False)
    ip_salt: bytes | None = field(repr=False)


def keep_private() -> None:
    """Let only their owner use the files that this process creates from now on."""
    os.umask(_OTHERS)


def prepare_data_dir(settings: ControlSettings) -> Path:
    """Return the data directory; create it, for its owner only, if it is missing.

    Raises:
        SettingsError: it can't be created, or a restore into it was interrupted.
    """
    path = data_dir_of(settings)
    check_no_restore(path)
    make_private_directory(path)
    return path


def check_no_restore(path: Path) -> None:
    """Return if no restore into a data directory was interrupted.

    Raises:
        SettingsError: one was.
    """
    if (path / RESTORE_DIR).exists():
        sentence = (
            f"{_WHERE}: a restore into {path} was interrupted. Delete what is in {path}, and "
            "run 'millimetric-mcp restore' again."
        )
        raise SettingsError([sentence])


def find_data_dir(settings: ControlSettings) -> Path:
    """Return the data directory of a deployment that exists already; create nothing.

    Raises:
        SettingsError: there are no keys in that directory.
    """
    path = data_dir_of(settings)
    missing = list_missing_files(settings, path)
    if missing:
        sentence = (
            f"{_WHERE}: {path} holds no API keys ({' and '.join(missing)} missing). "
            "Check the path. 'millimetric-mcp api' and 'keys create' create a data directory."
        )
        raise SettingsError([sentence])
    return path


def list_missing_files(settings: ControlSettings, data_dir: Path) -> list[str]:
    """Return the files that a deployment with these settings has, and the directory has not."""
    files = [
        *([CONTROL_FILE] if settings.control is None else []),
        *([PEPPER_FILE] if settings.pepper is None else []),
    ]
    return [name for name in files if not (data_dir / name).exists()]


def data_dir_of(settings: ControlSettings) -> Path:
    """Return the data directory of the settings, whether it exists or not."""
    # Absolute, since a person reads it in another directory than the one it was started in.
    return (settings.data_dir or user_data_path("millimetric", appauthor=False)).absolute()


def make_private_directory(path: Path, *, name: str = _WHERE) -> None:
    """Create a directory for its owner only, unless it exists.

    Raises:
        SettingsError: it can't be created; the error calls it ``name``.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise SettingsError([f"{name}: {path} is a file. Choose a directory."]) from None
    except OSError as error:
        sentence = f"{name}: can't create {path}: {error.strerror}. Choose another directory."
        raise SettingsError([sentence]) from None


def control_dsn(settings: ControlSettings, data_dir: Path) -> URL:
    """Return the DSN of projects and keys; by default SQLite in the data directory.

    Raises:
        SettingsError: the DSN of the settings is invalid.
    """
    if settings.control is not None:
        return parse_dsn(settings.control.get_secret_value())
    return URL.create("sqlite", database=str(data_dir.absolute() / CONTROL_FILE))


def resolve_secrets(settings: ControlSettings, data_dir: Path) -> Secrets:
    """Return the secrets of the settings, or else those in the data directory's files.

    Raises:
        SettingsError: a secret's file can't be used, or the pepper of the keys is lost.
    """
    pepper_file, control_file = data_dir / PEPPER_FILE, data_dir / CONTROL_FILE
    is_own = settings.pepper is None and settings.control is None
    if is_own and control_file.exists() and not pepper_file.exists():
        sentence = (
            f"{pepper_file} is missing, and no API key of {control_file} works without it. "
            "Restore it from a backup. To start again without the old keys, delete "
            f"{control_file} too."
        )
        raise SettingsError([sentence])
    return Secrets(
        pepper=_secret(settings.pepper, data_dir / PEPPER_FILE),
        ip_salt=_secret(settings.ip_salt, data_dir / IP_SALT_FILE)
        if isinstance(settings, DeploymentSettings)
        else None,
    )


def open_control_of(
    settings: ControlSettings,
    data_dir: Path,
    secrets: Secrets | None = None,
    *,
    upgrade: bool = False,
) -> Control:
    """Return the control database of the settings, opened with their secrets, or with those given.

    Raises:
        SettingsError: a secret or the DSN can't be used, or see `open_control`.
        StoreUnavailable: the database failed.
    """
    found = secrets or resolve_secrets(settings, data_dir)
    return open_control(
        control_dsn(settings, data_dir),
        pepper=found.pepper,
        ip_salt=found.ip_salt,
        upgrade=upgrade,
    )


def check_control_of(settings: ControlSettings, data_dir: Path, secrets: Secrets) -> None:
    """Return as `check_control` does for the database of the settings."""
    dsn = control_dsn(settings, data_dir)
    check_control(dsn, pepper=secrets.pepper, ip_salt=secrets.ip_salt)


def _secret(value: SecretStr | None, path: Path) -> bytes:
    return value.get_secret_value().encode() if value else read_or_make_secret(path)


def read_or_make_secret(path: Path) -> bytes:
    """Return the secret in a file; create it on first use, as URL-safe text.

    If several processes create it at once, all get the same one.

    Raises:
        SettingsError: other users can read the file, or it holds no secret.
    """
    try:
        if not path.exists():
            _make_secret(path)
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & _OTHERS:
                sentence = f"Other users can read {path}. Run: chmod 600 {path}"
                raise SettingsError([sentence])
            secret = file.read().strip()
    except OSError as error:
        raise SettingsError([f"can't read or create {path}: {error.strerror}"]) from None
    if len(secret) < MIN_SECRET_LENGTH:
        raise SettingsError([f"{path} holds no secret. Restore it from a backup."])
    return secret


def _make_secret(path: Path) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    write_private_file(draft, secrets.token_urlsafe(_SECRET_BYTES) + "\n")
    try:
        os.link(draft, path)  # unlike a rename, it does not replace another process's file
    except FileExistsError:
        return
    finally:
        draft.unlink()
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_secrets(directory: Path, secrets: Secrets) -> None:
    """Write the secrets to new files, as `resolve_secrets` reads them."""
    for name, secret in ((PEPPER_FILE, secrets.pepper), (IP_SALT_FILE, secrets.ip_salt or b"")):
        write_private_file(directory / name, secret.decode() + "\n")


def write_private_file(path: Path, text: str) -> None:
    """Write a new file that only its owner can read, durably.

    Raises:
        FileExistsError: there is a file of that name.
    """
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
