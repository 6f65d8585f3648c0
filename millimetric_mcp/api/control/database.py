"""Creates, lists, revokes and finds projects and API keys. Synchronous and thread-safe."""

import secrets
import string
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, RowMapping, func, insert, select, update

from millimetric_mcp.api.control.deletions import DeletionLog
from millimetric_mcp.api.control.engine import Database, open_database, parse_dsn
from millimetric_mcp.api.control.imports import ImportLog
from millimetric_mcp.api.control.links import Links
from millimetric_mcp.api.control.projects import Projects, find_or_create_project
from millimetric_mcp.api.control.schema import (
    TEST_SUFFIX,
    deletions,
    deployment,
    is_active,
    keys,
    projects,
    read_version,
    update_schema,
)
from millimetric_mcp.contract.keys import (
    PREFIX_LENGTH,
    ApiKey,
    KeyEnv,
    KeyKind,
    KeyRecord,
    hash_secret,
)
from millimetric_mcp.errors import SettingsError

FIRST_PROJECT = "default"
FIRST_ORIGINS = ("http://localhost:5173", "http://localhost:8787")

_PREFIX_ALPHABET = string.ascii_letters + string.digits
_SECRET_BYTES = 32
_SECRET_FILES = {"MILLIMETRIC_PEPPER": "pepper", "MILLIMETRIC_IP_SALT": "ip-salt"}


_IDENTITY = (keys.c.prefix, keys.c.kind, keys.c.env, keys.c.origins)
_LISTED = (
    *_IDENTITY,
    keys.c.label,
    keys.c.created_at,
    keys.c.last_used_on,
    keys.c.expires_at,
    keys.c.revoked_at,
)
_RECORD = (*_IDENTITY, keys.c.project_id, keys.c.secret_hash)
_PROJECT = projects.c.name.label("project")


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just created: the only time that its secret is known."""

    key: ApiKey
    record: KeyRecord


@dataclass(frozen=True, slots=True)
class KeySummary:
    """A key without its secret; times are UTC.

    ``last_used_on`` is a day. ``revoked_at`` is None while the key is active.
    """

    prefix: str
    kind: KeyKind
    env: KeyEnv
    project: str
    origins: tuple[str, ...]
    retention_days: int | None
    label: str | None
    created_at: datetime
    last_used_on: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Retention:
    """How many days a project's events are kept; ``is_own`` if the project's setting says so."""

    project_id: int
    project: str
    days: int
    is_own: bool


@dataclass(frozen=True, slots=True)
class WaitingDeletions:
    """Deletions of one store that are not done; None is a store of an older version."""

    store: str | None
    count: int
    oldest: datetime


@dataclass(frozen=True, slots=True)
class ControlFacts:
    """What `Control.inspect` found. ``is_sound`` says whether the file's pages are in order."""

    is_sound: bool
    project_ids: frozenset[int]
    waiting: tuple[WaitingDeletions, ...]


class Revocation(Enum):
    """What `Control.revoke_key` found."""

    REVOKED = "revoked"
    ALREADY_REVOKED = "already revoked"
    UNKNOWN = "unknown"


class Control:
    """The projects and keys of a deployment, its logs of deletions and imports, and one-time links.

    Every method raises StoreUnavailable if the database fails.
    """

    def __init__(self, database: Database, *, pepper: bytes, clock: Callable[[], datetime]) -> None:
        self.deletions = DeletionLog(database, pepper=pepper)
        self.projects = Projects(database, clock=clock)
        self.imports = ImportLog(database)
        self.links = Links(database)
        self._database = database
        self._pepper = pepper
        self._clock = clock

    def create_key(
        self,
        *,
        kind: KeyKind,
        env: KeyEnv,
        project: str,
        origins: Collection[str] = (),
        label: str | None = None,
        expires_at: datetime | None = None,
        show: Callable[[NewKey], object] = lambda _: None,
    ) -> NewKey:
        """Create a key, and its project if there is none of that name.

        A project's test data is as separate as another project's. ``origins`` are in the form
        of `normalise_origin`. ``show`` runs before the key is stored: if it raises, it is not.
        """
        with self._database.writing(exclusive=True) as connection:
            new = self._insert_key(
                connection, kind, env, project, origins, label=label, expires_at=expires_at
            )
            show(new)
        return new

    def rotate_key(
        self,
        prefix: str,
        *,
        overlap: timedelta,
        show: Callable[[NewKey], object] = lambda _: None,
    ) -> tuple[NewKey, datetime] | None:
        """Create a key like an active one, which expires after ``overlap``.

        Returns the new key and the time when the old one expires; None if no active key has
        that prefix. ``show`` runs before both are stored.
        """
        now = self._clock()
        query = select(keys, _PROJECT).join(projects).where(keys.c.prefix == prefix, is_active(now))
        with self._database.writing(exclusive=True) as connection:
            old = connection.execute(query).mappings().first()
            if old is None:
                return None
            new = self._insert_key(
                connection,
                old["kind"],
                old["env"],
                old["project"].removesuffix(TEST_SUFFIX),
                old["origins"],
                label=old["label"],
                # As long from now as the old one was to work.
                expires_at=now + (old["expires_at"] - old["created_at"])
                if old["expires_at"]
                else None,
            )
            expires_at = min(old["expires_at"] or now + overlap, now + overlap)
            connection.execute(
                update(keys).where(keys.c.prefix == prefix).values(expires_at=expires_at)
            )
            show(new)
        return new, expires_at

    def note_use(self, days: Mapping[str, datetime]) -> None:
        """Store the day of each key's last use; a day before the stored one changes nothing."""
        with self._database.writing() as connection:
            for prefix, day in days.items():
                is_older = keys.c.last_used_on.is_(None) | (keys.c.last_used_on < day)
                connection.execute(
                    update(keys).where(keys.c.prefix == prefix, is_older).values(last_used_on=day)
                )

    def create_first_keys(
        self, show: Callable[[tuple[NewKey, ...]], None]
    ) -> tuple[NewKey, ...] | None:
        """Create a first project with an sk, an rk and a pk; None if a key was ever created.

        If several processes start together, one creates them. ``show`` runs before they are
        stored: if it raises, none is stored, so no key exists that was never shown.
        """
        with self._database.writing(exclusive=True) as connection:
            if connection.execute(select(keys.c.prefix).limit(1)).first():
                return None
            origins = {KeyKind.SK: (), KeyKind.RK: (), KeyKind.PK: FIRST_ORIGINS}
            created = tuple(
                self._insert_key(connection, kind, KeyEnv.LIVE, FIRST_PROJECT, origins[kind])
                for kind in origins
            )
            show(created)
        return created

    def list_keys(self) -> tuple[KeySummary, ...]:
        """Return every key, revoked ones too, by project and age."""
        query = (
            select(*_LISTED, _PROJECT, projects.c.retention_days)
            .join(projects)
            .order_by(projects.c.name, keys.c.created_at, keys.c.prefix)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).mappings().all()
        return tuple(
            KeySummary(**_name_project(row), origins=tuple(row["origins"])) for row in rows
        )

    def revoke_key(self, prefix: str) -> Revocation:
        """Revoke the key of that prefix, if it is active."""
        with self._database.writing() as connection:
            revoked = connection.execute(
                update(keys)
                .where(keys.c.prefix == prefix, keys.c.revoked_at.is_(None))
                .values(revoked_at=self._clock())
            )
            if revoked.rowcount:
                return Revocation.REVOKED
            found = connection.execute(select(keys.c.prefix).where(keys.c.prefix == prefix))
            return Revocation.ALREADY_REVOKED if found.first() else Revocation.UNKNOWN

    def find_keys(self, prefixes: Collection[str]) -> dict[str, KeyRecord]:
        """Return the active keys among ``prefixes``, by prefix."""
        query = (
            select(*_RECORD, _PROJECT, projects.c.fbclid, projects.c.timezone)
            .join(projects)
            .where(keys.c.prefix.in_(prefixes), is_active(self._clock()))
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).mappings().all()
        return {
            row["prefix"]: KeyRecord(**_name_project(row), origins=frozenset(row["origins"]))
            for row in rows
        }

    def list_retentions(self, *, default_days: int | None = None) -> tuple[Retention, ...]:
        """Return how long each project's events are kept.

        ``default_days`` applies to projects without a setting; if it is None, they are left out.
        """
        query = select(projects.c.id, projects.c.name, projects.c.retention_days)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return tuple(
            Retention(project_id, name, days, is_own=own_days is not None)
            for project_id, name, own_days in rows
            if (days := own_days or default_days)
        )

    def name_projects(self) -> dict[int, str]:
        """Return each project's name, by its id."""
        with self._database.reading() as connection:
            rows = connection.execute(select(projects.c.id, projects.c.name)).all()
        return dict(map(tuple, rows))

    def copy_to(self, path: Path) -> None:
        """Write the database, as it is at one moment, to a new SQLite file.

        Raises:
            StoreUnavailable: it is PostgreSQL, or the database failed.
        """
        self._database.copy_to(path)

    def inspect(self) -> ControlFacts:
        """Return what `ControlFacts` has; the whole database is read."""
        with self._database.reading() as connection:
            is_sqlite = connection.dialect.name == "sqlite"
            broken = (
                connection.exec_driver_sql("PRAGMA quick_check").scalar() if is_sqlite else "ok"
            )
            ids = connection.scalars(select(projects.c.id)).all()
            waiting = connection.execute(
                select(deletions.c.store, func.count(), func.min(deletions.c.requested_at))
                .where(deletions.c.completed_at.is_(None))
                .group_by(deletions.c.store)
            ).all()
        return ControlFacts(
            is_sound=broken == "ok",
            project_ids=frozenset(ids),
            waiting=tuple(WaitingDeletions(*row) for row in waiting),
        )

    def check(self) -> None:
        """Return if the database can be written."""
        with self._database.writing() as connection:
            connection.execute(select(1))

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    def _insert_key(
        self,
        connection: Connection,
        kind: KeyKind,
        env: KeyEnv,
        project: str,
        origins: Collection[str],
        *,
        label: str | None = None,
        expires_at: datetime | None = None,
    ) -> NewKey:
        stored_name = project + TEST_SUFFIX if env is KeyEnv.TEST else project
        now = self._clock()
        project_id = find_or_create_project(connection, stored_name, now=now)
        prefix = _choose_prefix(connection)
        key = ApiKey(kind, env, prefix, secrets.token_urlsafe(_SECRET_BYTES))
        values: dict[str, Any] = {
            "prefix": prefix,
            "kind": kind,
            "env": env,
            "project_id": project_id,
            "secret_hash": hash_secret(key.secret, pepper=self._pepper),
        }
        others = {"label": label, "created_at": now, "expires_at": expires_at}
        connection.execute(insert(keys).values(origins=sorted(origins), **values, **others))
        settings = select(projects.c.fbclid, projects.c.timezone).where(projects.c.id == project_id)
        values |= connection.execute(settings).mappings().one()
        record = KeyRecord(project=project, origins=frozenset(origins), **values)
        return NewKey(key, record)


def open_control(
    dsn: str | URL,
    *,
    pepper: bytes,
    ip_salt: bytes | None = None,
    upgrade: bool = False,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Control:
    """Return the control database of a DSN; a new one is created.

    The first process sets the deployment's pepper and IP salt; every other process must have
    the same. With ``upgrade`` an older schema is brought up to date, in one transaction.

    Raises:
        SettingsError: the DSN is invalid, the deployment has another pepper or salt, or its
            schema is newer, or older without ``upgrade``.
        StoreUnavailable: the database failed, and its schema was not changed.
    """
    database = open_database(parse_dsn(dsn))
    try:
        with database.writing(exclusive=True) as connection:
            update_schema(connection, upgrade=upgrade)
            missing = _list_missing_secrets(connection, pepper=pepper, ip_salt=ip_salt)
            if missing:
                connection.execute(insert(deployment), missing)
    except BaseException:
        database.close()
        raise
    return Control(database, pepper=pepper, clock=clock)


def check_control(dsn: str | URL, *, pepper: bytes, ip_salt: bytes | None = None) -> None:
    """Return if `open_control` can open the database, with an upgrade if it is older.

    Its tables are not changed.

    Raises:
        SettingsError: the DSN is invalid, the deployment has another pepper or salt, or its
            schema is newer.
        StoreUnavailable: the database failed.
    """
    with closing(open_database(parse_dsn(dsn))) as database, database.reading() as connection:
        if read_version(connection):
            _list_missing_secrets(connection, pepper=pepper, ip_salt=ip_salt)


def _list_missing_secrets(
    connection: Connection, *, pepper: bytes, ip_salt: bytes | None
) -> list[dict[str, str]]:
    """Return the rows of secrets that the deployment does not have yet.

    Raises:
        SettingsError: it has another one.
    """
    given = {"MILLIMETRIC_PEPPER": pepper, "MILLIMETRIC_IP_SALT": ip_salt}
    return [
        {"name": variable, "fingerprint": fingerprint}
        for variable, secret in given.items()
        if secret is not None
        and not _has_secret(connection, variable, fingerprint := _fingerprint(variable, secret))
    ]


def _fingerprint(variable: str, secret: bytes) -> str:
    return sha256(b"millimetric fingerprint of " + variable.encode() + secret).hexdigest()


def _has_secret(connection: Connection, variable: str, fingerprint: str) -> bool:
    first = connection.scalar(select(deployment.c.fingerprint).where(deployment.c.name == variable))
    if first not in {None, fingerprint}:
        sentence = (
            f"{variable}: this control database was created with another value. Set {variable} "
            f"to the same value on every machine, or restore the file {_SECRET_FILES[variable]} "
            "in the data directory from a backup."
        )
        raise SettingsError([sentence])
    return first is not None


def _name_project(row: RowMapping) -> dict[str, Any]:
    """Return a key's values, without its origins, and with the name that users give a project."""
    named = {name: value for name, value in row.items() if name != "origins"}
    return named | {"project": row["project"].removesuffix(TEST_SUFFIX)}


def _choose_prefix(connection: Connection) -> str:
    while True:
        prefix = "".join(secrets.choice(_PREFIX_ALPHABET) for _ in range(PREFIX_LENGTH))
        if not connection.execute(select(keys.c.prefix).where(keys.c.prefix == prefix)).first():
            return prefix
