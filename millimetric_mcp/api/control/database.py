"""Projects and API keys: made, listed, revoked, found by prefix. Synchronous, thread-safe."""

import secrets
import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from sqlalchemy import URL, Connection, RowMapping, insert, select, update

from millimetric_mcp.api.control.engine import Database, open_database, parse_dsn
from millimetric_mcp.api.control.forgets import ForgetLog
from millimetric_mcp.api.control.schema import deployment, keys, projects, upgrade_schema
from millimetric_mcp.api.control.times import from_us, to_us, utc_now
from millimetric_mcp.contract.keys import (
    PREFIX_LENGTH,
    ApiKey,
    KeyEnv,
    KeyKind,
    KeyRecord,
    hash_secret,
)
from millimetric_mcp.errors import SettingsError

__all__ = ["FIRST_ORIGINS", "FIRST_PROJECT", "Control", "KeySummary", "NewKey", "open_control"]

FIRST_PROJECT = "default"
FIRST_ORIGINS = ("http://localhost:5173", "http://localhost:8787")

_PREFIX_ALPHABET = string.ascii_letters + string.digits
_SECRET_BYTES = 32
_MAX_PROJECT_ID = 2**53 - 1  # exact as a double too


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made: the one time its secret is known."""

    key: ApiKey
    record: KeyRecord


@dataclass(frozen=True, slots=True)
class KeySummary:
    """A key as it is listed; times are UTC, ``revoked_at`` is None while it works."""

    prefix: str
    kind: KeyKind
    env: KeyEnv
    project: str
    origins: tuple[str, ...]
    retention_days: int | None
    created_at: datetime
    revoked_at: datetime | None


class Control:
    """The projects and keys of a deployment, and its forget log.

    Every method raises StoreUnavailable where the database fails.
    """

    def __init__(
        self, database: Database, *, pepper: bytes, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self.forgets = ForgetLog(database, pepper=pepper)
        self._database = database
        self._pepper = pepper
        self._clock = clock

    def create_key(
        self,
        *,
        kind: KeyKind,
        env: KeyEnv,
        project: str,
        origins: Iterable[str] = (),
        retention_days: int | None = None,
    ) -> NewKey:
        """A new key of the project, which is made where there is none of that name.

        ``retention_days`` sets the project's: None leaves it, 0 goes back to the API's
        default. ``origins`` are as `normalise_origin` gives them.
        """
        with self._database.writing(exclusive=True) as connection:
            project_id = self._find_or_make_project(connection, project)
            if retention_days is not None:
                connection.execute(
                    update(projects)
                    .where(projects.c.id == project_id)
                    .values(retention_days=retention_days or None)
                )
            return self._draw_key(connection, kind, env, project_id, project, frozenset(origins))

    def create_first_keys(
        self, show: Callable[[tuple[NewKey, ...]], None]
    ) -> tuple[NewKey, ...] | None:
        """A first start's project and its sk, rk and pk; None where a key was ever made.

        Of several processes that start together one makes them. ``show`` is called before
        they are stored: what it raises undoes them, so that no key exists unseen.
        """
        with self._database.writing(exclusive=True) as connection:
            if connection.execute(select(keys.c.prefix).limit(1)).first():
                return None
            project_id = self._find_or_make_project(connection, FIRST_PROJECT)
            made = tuple(
                self._draw_key(
                    connection,
                    kind,
                    KeyEnv.LIVE,
                    project_id,
                    FIRST_PROJECT,
                    frozenset(FIRST_ORIGINS if kind is KeyKind.PK else ()),
                )
                for kind in (KeyKind.SK, KeyKind.RK, KeyKind.PK)
            )
            show(made)
        return made

    def list_keys(self) -> tuple[KeySummary, ...]:
        """Every key, revoked ones too, by project and age."""
        query = (
            select(keys, projects.c.name, projects.c.retention_days)
            .join(projects)
            .order_by(projects.c.name, keys.c.created_at, keys.c.prefix)
        )
        with self._database.reading() as connection:
            return tuple(_to_summary(row) for row in connection.execute(query).mappings())

    def revoke_key(self, prefix: str) -> bool:
        """Whether there is such a key; it is revoked now if it was not."""
        with self._database.writing() as connection:
            connection.execute(
                update(keys)
                .where(keys.c.prefix == prefix, keys.c.revoked_at.is_(None))
                .values(revoked_at=to_us(self._clock()))
            )
            found = connection.execute(select(keys.c.prefix).where(keys.c.prefix == prefix))
            return found.first() is not None

    def find_key(self, prefix: str) -> KeyRecord | None:
        """The key of that prefix, unless it is unknown or revoked."""
        query = (
            select(keys, projects.c.name)
            .join(projects)
            .where(keys.c.prefix == prefix, keys.c.revoked_at.is_(None))
        )
        with self._database.reading() as connection:
            row = connection.execute(query).mappings().first()
        return _to_record(row) if row else None

    def list_retentions(self, *, default_days: int | None = None) -> Mapping[int, int]:
        """Days that events are kept, by project id.

        ``default_days`` counts where a project sets none; without it such projects are left out.
        """
        with self._database.reading() as connection:
            rows = connection.execute(select(projects.c.id, projects.c.retention_days)).all()
        kept_days = {row.id: row.retention_days or default_days for row in rows}
        return {project_id: days for project_id, days in kept_days.items() if days}

    def ping(self) -> None:
        """Nothing, where the database answers."""
        with self._database.reading() as connection:
            connection.execute(select(1))

    def close(self) -> None:
        """Close every connection; the object is of no use afterwards."""
        self._database.close()

    def _find_or_make_project(self, connection: Connection, name: str) -> int:
        found: int | None = connection.scalar(select(projects.c.id).where(projects.c.name == name))
        if found is not None:
            return found
        project_id = 1 + secrets.randbelow(_MAX_PROJECT_ID)
        connection.execute(
            insert(projects).values(id=project_id, name=name, created_at=to_us(self._clock()))
        )
        return project_id

    def _draw_key(
        self,
        connection: Connection,
        kind: KeyKind,
        env: KeyEnv,
        project_id: int,
        project: str,
        origins: frozenset[str],
    ) -> NewKey:
        key = ApiKey(kind, env, _draw_free_prefix(connection), secrets.token_urlsafe(_SECRET_BYTES))
        record = KeyRecord(
            prefix=key.prefix,
            kind=kind,
            env=env,
            project_id=project_id,
            project=project,
            origins=origins,
            secret_hash=hash_secret(key.secret, pepper=self._pepper),
        )
        connection.execute(
            insert(keys).values(
                prefix=key.prefix,
                kind=kind.value,
                env=env.value,
                project_id=project_id,
                origins=sorted(origins),
                secret_hash=record.secret_hash,
                created_at=to_us(self._clock()),
            )
        )
        return NewKey(key, record)


def open_control(
    dsn: str | URL,
    *,
    pepper: bytes,
    ip_salt: bytes | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> Control:
    """The control database of a DSN, its schema brought up to date.

    The first process settles the deployment's pepper and IP salt; every other one must
    come with the same.

    Raises:
        SettingsError: the DSN can't be used, or another pepper or salt is settled.
        StoreUnavailable: the database failed.
    """
    database = open_database(parse_dsn(dsn))
    try:
        with database.writing(exclusive=True) as connection:
            upgrade_schema(connection)
            _settle(connection, "MILLIMETRIC_PEPPER", pepper)
            if ip_salt is not None:
                _settle(connection, "MILLIMETRIC_IP_SALT", ip_salt)
    except BaseException:
        database.close()
        raise
    return Control(database, pepper=pepper, clock=clock)


def _settle(connection: Connection, variable: str, secret: bytes) -> None:
    fingerprint = sha256(b"millimetric fingerprint of " + variable.encode() + secret).hexdigest()
    settled = connection.scalar(
        select(deployment.c.fingerprint).where(deployment.c.name == variable)
    )
    if settled is None:
        connection.execute(insert(deployment).values(name=variable, fingerprint=fingerprint))
    elif settled != fingerprint:
        sentence = (
            f"{variable}: is not the one this control database was first used with; "
            f"set {variable} to the same value on every machine"
        )
        raise SettingsError([sentence])


def _draw_free_prefix(connection: Connection) -> str:
    while True:
        prefix = "".join(secrets.choice(_PREFIX_ALPHABET) for _ in range(PREFIX_LENGTH))
        if not connection.scalar(select(keys.c.prefix).where(keys.c.prefix == prefix)):
            return prefix


def _to_record(columns: RowMapping) -> KeyRecord:
    return KeyRecord(
        prefix=columns["prefix"],
        kind=KeyKind(columns["kind"]),
        env=KeyEnv(columns["env"]),
        project_id=columns["project_id"],
        project=columns["name"],
        origins=frozenset(columns["origins"]),
        secret_hash=columns["secret_hash"],
    )


def _to_summary(columns: RowMapping) -> KeySummary:
    revoked_at = columns["revoked_at"]
    return KeySummary(
        prefix=columns["prefix"],
        kind=KeyKind(columns["kind"]),
        env=KeyEnv(columns["env"]),
        project=columns["name"],
        origins=tuple(columns["origins"]),
        retention_days=columns["retention_days"],
        created_at=from_us(columns["created_at"]),
        revoked_at=None if revoked_at is None else from_us(revoked_at),
    )
