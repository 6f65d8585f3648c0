"""``millimetric-mcp backup``: a copy of events, projects, keys and secrets, while the API runs."""

import argparse
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory

from millimetric_mcp.api import backups
from millimetric_mcp.api.administration import BACKUP
from millimetric_mcp.api.control import datadir
from millimetric_mcp.cli.administer import Deployment, find_deployment
from millimetric_mcp.cli.buckets import SCHEME, S3Bucket
from millimetric_mcp.cli.output import print_json
from millimetric_mcp.errors import BackupUnusable, SettingsError, StoreUnavailable
from millimetric_mcp.settings import DeploymentSettings, read_settings


def run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Write a backup into a new folder of a directory or bucket, print where it is, and return 0.

    Raises:
        BackupUnusable: the store failed, or the directory can't be written.
        StoreError: the control database failed, or another process uses the data directory.
    """
    deployment = find_deployment(
        read_settings(DeploymentSettings, environ=environ, options=vars(options))
    )
    _check_databases(deployment)
    has_secrets = not options.without_secrets
    if options.directory.startswith(SCHEME):
        bucket = S3Bucket(options.directory)
        # Not in the system's temporary directory: the API, which writes it, may have another one.
        with TemporaryDirectory(prefix="backup-", dir=deployment.data_dir) as staging:
            backup, manifest = _make(deployment, Path(staging), has_secrets=has_secrets)
            place = bucket.upload(backup, manifest)
    else:
        backup, manifest = _make(
            deployment, Path(options.directory).absolute(), has_secrets=has_secrets
        )
        place = str(backup)
    size = sum(file.bytes for file in manifest.files.values())
    if options.json:
        print_json({"backup": place, "events": manifest.events, "bytes": size})
    else:
        print(f"{place}: {manifest.events} events, {size / 1e6:.1f} MB")
    return 0


def _make(
    deployment: Deployment, directory: Path, *, has_secrets: bool
) -> tuple[Path, backups.Manifest]:
    """Write a backup into a new folder of ``directory``; return its place and what it holds."""
    datadir.make_private_directory(directory, name="DIR")
    backup = directory / backups.name_backup(datetime.now(UTC))
    unfinished = backup.with_suffix(backups.UNFINISHED)
    unfinished.mkdir()
    try:
        manifest = _write(deployment, unfinished, has_secrets=has_secrets)
        unfinished.rename(backup)
    except BaseException:
        rmtree(unfinished, ignore_errors=True)
        raise
    backups.flush(directory)
    return backup, manifest


def _check_databases(deployment: Deployment) -> None:
    wrong = []
    if not deployment.target.embedded:
        wrong.append(
            "--store: the events are on a ClickHouse server. Copy them with its own BACKUP "
            "statement, and projects and keys as docs/operate.md says."
        )
    if not datadir.control_dsn(deployment.settings, deployment.data_dir).drivername.startswith(
        "sqlite"
    ):
        wrong.append(
            "--control: projects and keys are in PostgreSQL. Copy them with pg_dump. 'backup' is "
            "for the embedded store with SQLite."
        )
    if wrong:
        raise SettingsError(wrong)


def _write(deployment: Deployment, backup: Path, *, has_secrets: bool) -> backups.Manifest:
    """Fill an empty directory: the API's part, then the secrets, then the manifest."""
    created_at = datetime.now(UTC)
    base = backups.find_newest(backup.parent)
    request = {"do": BACKUP, "directory": str(backup), "base": str(base) if base else None}
    try:
        made = deployment.administer(request)
    except StoreUnavailable as error:
        raise BackupUnusable(
            f"The backup failed: {error}. Nothing of it was kept. Check that the API's user may "
            f"write {backup.parent} and that it has room. If the last backup there is damaged, "
            "choose another directory."
        ) from error
    if has_secrets:
        datadir.write_secrets(backup, deployment.secrets)
    files = backups.list_files(backup, base=base)
    manifest = backups.Manifest(created_at=created_at, files=files, **made)
    datadir.write_private_file(backup / backups.MANIFEST, manifest.model_dump_json(indent=1) + "\n")
    return manifest
