"""Backups in a bucket of an S3-compatible service.

A bucket has what a directory of backups has: a folder for each, and in it `MANIFEST`, written last.
Credentials, region and endpoint come from where the tools of AWS look for them: ``AWS_*``
variables, ``~/.aws``, or the machine's role.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from millimetric_mcp.api.backups import MANIFEST, Manifest, read_manifest
from millimetric_mcp.cli.installation import describe_missing_extra
from millimetric_mcp.errors import BackupUnusable, SettingsError

SCHEME = "s3://"
_NOT_THERE = {"404", "NoSuchKey"}


class S3Bucket:
    """The backups below ``s3://BUCKET/PREFIX``. All methods raise BackupUnusable."""

    def __init__(self, url: str) -> None:
        """Connect to nothing yet.

        Raises:
            SettingsError: the URL is wrong, or the s3 extra is not installed.
        """
        parts = urlsplit(url)
        if not parts.netloc or "@" in parts.netloc or parts.query or parts.fragment:
            sentence = (
                "The place of a backup in a bucket has the form s3://BUCKET/PREFIX. Put "
                "credentials into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws."
            )
            raise SettingsError([sentence])
        try:
            import boto3  # noqa: PLC0415 - only where it is used
        except ModuleNotFoundError:
            sentence = describe_missing_extra("a bucket", "s3", missing="boto3 is not installed")
            raise SettingsError([sentence]) from None
        self.url = url.rstrip("/")
        self._bucket = parts.netloc
        self._prefix = "/".join(filter(None, parts.path.split("/")))
        with self._explained():
            self._client: Any = boto3.client("s3")

    def find_newest(self) -> str | None:
        """Return the name of the newest complete backup, or None."""
        if self._prefix and self._has(f"{self._prefix}/{MANIFEST}"):
            prefix, _, name = self._prefix.rpartition("/")
            self._prefix, self.url = prefix, self.url.removesuffix(f"/{name}")
            return name
        start = f"{self._prefix}/" if self._prefix else ""
        with self._explained():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=start, Delimiter="/"
            )
            found = [one["Prefix"] for page in pages for one in page.get("CommonPrefixes", ())]
        names = sorted((key[len(start) : -1] for key in found), reverse=True)
        return next((name for name in names if self._has(self._key(name, MANIFEST))), None)

    def upload(self, backup: Path, manifest: Manifest) -> str:
        """Copy a complete backup into the bucket; return its URL.

        The service itself copies the files that the newest backup there has too.
        """
        base = self.find_newest()
        known = {}
        if base:
            path = backup.parent / "base.json"
            with self._explained():
                self._client.download_file(self._bucket, self._key(base, MANIFEST), str(path))
            there = Manifest.model_validate_json(path.read_bytes())
            known = {file: name for name, file in there.files.items()}
        with self._explained():
            for name, file in manifest.files.items():
                key = self._key(backup.name, name)
                if base and file in known:
                    source = {"Bucket": self._bucket, "Key": self._key(base, known[file])}
                    self._client.copy(source, self._bucket, key)
                else:
                    self._client.upload_file(str(backup / name), self._bucket, key)
            self._client.upload_file(
                str(backup / MANIFEST), self._bucket, self._key(backup.name, MANIFEST)
            )
        return f"{self.url}/{backup.name}"

    def download(self, directory: Path) -> Path:
        """Copy the newest backup into a directory; a missing file is left out. Return its place."""
        name = self.find_newest()
        if name is None:
            raise BackupUnusable(f"{self.url} holds no complete backup: no folder has {MANIFEST}")
        backup = directory / name
        self._download(name, MANIFEST, backup)
        for file in read_manifest(backup).files:
            if self._has(self._key(name, file)):
                self._download(name, file, backup)
        return backup

    def _download(self, name: str, file: str, backup: Path) -> None:
        place = backup / file
        if not place.resolve().is_relative_to(backup.resolve()):
            raise BackupUnusable(f"{self.url}/{name}/{MANIFEST} names a file outside of its folder")
        place.parent.mkdir(parents=True, exist_ok=True)
        with self._explained():
            self._client.download_file(self._bucket, self._key(name, file), str(place))

    def _has(self, key: str) -> bool:
        from botocore.exceptions import ClientError  # noqa: PLC0415 - comes with boto3

        with self._explained():
            try:
                self._client.head_object(Bucket=self._bucket, Key=key)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in _NOT_THERE:
                    return False
                raise
        return True

    def _key(self, name: str, file: str) -> str:
        return "/".join(filter(None, (self._prefix, name, file)))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise a failure as an error that has its kind, and no text of the service."""
        from boto3.exceptions import Boto3Error  # noqa: PLC0415 - only where it is used
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - the same

        try:
            yield
        except (Boto3Error, BotoCoreError, ClientError) as error:
            response = getattr(error, "response", {})
            code = response.get("Error", {}).get("Code") or type(error).__name__
            raise BackupUnusable(
                f"{self.url} can't be used: {code}. Check the name of the bucket, AWS_ENDPOINT_URL "
                "for a service other than AWS, and the credentials in AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or ~/.aws."
            ) from None
