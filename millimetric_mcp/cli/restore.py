"""``millimetric-mcp restore``: a backup into an empty data directory."""

import argparse
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import URL

from millimetric_mcp.api import backups
from millimetric_mcp.api.backups import Manifest
from millimetric_mcp.api.control import Secrets, check_control, datadir
from millimetric_mcp.api.control.datadir import CONTROL_FILE, SECRET_FILES, STORE_DIR
from millimetric_mcp.api.store import ClientPool, embedded_target, newest_version, read_backup
from millimetric_mcp.cli.buckets import SCHEME, S3Bucket
from millimetric_mcp.cli.output import print_json
from millimetric_mcp.errors import BackupUnusable, SettingsError
from millimetric_mcp.settings import DeploymentSettings, read_settings


def run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Restore a backup, print what is there now, and return 0.

    Raises:
        BackupUnusable: it is incomplete or damaged, or the data directory is not empty. Nothing
            was changed.
        SettingsError: the pepper or IP salt is missing, or another one. Nothing was changed.
    """
    settings = read_settings(DeploymentSettings, environ=environ, options=vars(options))
    datadir.keep_private()
    if options.directory.startswith(SCHEME):
        bucket = S3Bucket(options.directory)
        with TemporaryDirectory(prefix="millimetric-restore-") as downloaded:
            backup = bucket.download(Path(downloaded))
            data_dir, manifest = _restore(settings, backup)
        place = f"{bucket.url}/{backup.name}"
    else:
        backup = backups.find_backup(Path(options.directory).absolute())
        data_dir, manifest = _restore(settings, backup)
        place = str(backup)
    if options.json:
        print_json({"data_dir": str(data_dir), "backup": place, "events": manifest.events})
    else:
        print(f"{data_dir}: {manifest.events} events of {place}")
    return 0


def _restore(settings: DeploymentSettings, backup: Path) -> tuple[Path, Manifest]:
    """Fill the empty data directory from a backup; return its place and what it holds."""
    manifest = backups.read_manifest(backup)
    _check_version(manifest)
    backups.check_files(backup, manifest)
    data_dir = datadir.data_dir_of(settings)
    datadir.check_no_restore(data_dir)
    _check_empty(data_dir)
    secrets = _find_secrets(settings, backup, data_dir)
    with _make_draft(data_dir) as draft:
        _fill(draft, backup, manifest, secrets)
        _publish(draft, data_dir)
    return data_dir, manifest


@contextmanager
def _make_draft(data_dir: Path) -> Iterator[Path]:
    """Yield a new directory in the data directory, and remove it after the block.

    If the block raises, the directories that had to be created for it are removed too.
    """
    missing = [path for path in (data_dir, *data_dir.parents) if not path.exists()]
    datadir.make_private_directory(data_dir)
    draft = data_dir / datadir.RESTORE_DIR
    draft.mkdir()
    try:
        yield draft
    except BaseException:
        shutil.rmtree(draft)
        with suppress(OSError):  # something is in it
            for path in missing:
                path.rmdir()
        raise
    shutil.rmtree(draft)


def _check_version(manifest: Manifest) -> None:
    if manifest.schema_version > newest_version():
        raise BackupUnusable(
            f"This backup was made by millimetric-mcp {manifest.millimetric_mcp}, whose store is "
            "newer than this version can read. Install that version, and restore with it."
        )


def _check_empty(data_dir: Path) -> None:
    """Raise if the directory has anything but the two secrets, which a backup may lack."""
    if not data_dir.is_dir():
        return
    found = sorted({path.name for path in data_dir.iterdir()} - SECRET_FILES.keys())
    if found:
        raise BackupUnusable(
            f"{data_dir} is not empty: {', '.join(found[:5])}. A backup is restored into an empty "
            "directory only. Choose another --data-dir."
        )


def _find_secrets(settings: DeploymentSettings, backup: Path, data_dir: Path) -> Secrets:
    """Return the secrets of the backup, else of the settings, else of the data directory."""
    given = {datadir.PEPPER_FILE: settings.pepper, datadir.IP_SALT_FILE: settings.ip_salt}
    found: dict[str, bytes] = {}
    for name, setting in given.items():
        place = next((d / name for d in (backup, data_dir) if (d / name).is_file()), None)
        if setting is not None and not (backup / name).is_file():
            found[name] = setting.get_secret_value().encode()
        elif place is not None:
            found[name] = datadir.read_or_make_secret(place)
    missing = [name for name in given if name not in found]
    if missing:
        raise SettingsError(
            [
                f"The backup has no {name}. Copy this file of the old data directory to "
                f"{data_dir / name}, or set {SECRET_FILES[name]}. Nothing was changed."
                for name in missing
            ]
        )
    return Secrets(found[datadir.PEPPER_FILE], found[datadir.IP_SALT_FILE])


def _fill(draft: Path, backup: Path, manifest: Manifest, secrets: Secrets) -> None:
    """Build a complete data directory from the backup, and compare it with the manifest."""
    shutil.copyfile(backup / CONTROL_FILE, draft / CONTROL_FILE)
    dsn = URL.create("sqlite", database=str(draft / CONTROL_FILE))
    # The API upgrades it, after the store.
    check_control(dsn, pepper=secrets.pepper, ip_salt=secrets.ip_salt)
    datadir.write_secrets(draft, secrets)
    with closing(ClientPool(embedded_target(draft / STORE_DIR))) as pool:
        tables = read_backup(pool, backup / STORE_DIR)
    if tables != manifest.tables:
        raise BackupUnusable(
            f"After the restore the tables have {tables} rows, and the backup's manifest says "
            f"{dict(manifest.tables)}. Nothing was changed."
        )


def _publish(draft: Path, data_dir: Path) -> None:
    """Move what was built to its place; the API does not start while ``draft`` is there."""
    for path in draft.iterdir():
        path.replace(data_dir / path.name)
    backups.flush(data_dir)
