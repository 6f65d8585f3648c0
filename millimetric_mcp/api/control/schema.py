"""The control database's tables, and the migrations that create them."""

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from millimetric_mcp.contract.attribution import FbclidMeaning
from millimetric_mcp.contract.keys import KeyEnv, KeyKind
from millimetric_mcp.contract.validation import EPOCH
from millimetric_mcp.errors import SettingsError

_MICROSECOND = timedelta(microseconds=1)


class Time(sa.TypeDecorator[datetime]):
    """A UTC time, stored as whole microseconds since 1970: the same in every database."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:  # noqa: ARG002
        return None if value is None else (value - EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else EPOCH + value * _MICROSECOND


def _text_of(values: type[StrEnum]) -> sa.Enum:
    """Return the type of a column that holds the enum's values as plain text."""
    texts = [member.value for member in values]
    return sa.Enum(
        values, native_enum=False, length=max(map(len, texts)), values_callable=lambda _: texts
    )


class DeletionKind(StrEnum):
    """What is deleted: a user's events, a visitor's, or both of a user and its own visitors."""

    USER = "user"
    VISITOR = "visitor"
    LINKED = "linked"


_metadata = sa.MetaData()

_schema_version = sa.Table(
    "millimetric_schema",
    _metadata,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
)

deployment = sa.Table(
    "millimetric_deployment",
    _metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("fingerprint", sa.String(64), nullable=False),
)

projects = sa.Table(
    "millimetric_projects",
    _metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(64), nullable=False, unique=True),
    sa.Column("retention_days", sa.Integer),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("fbclid", _text_of(FbclidMeaning)),
    sa.Column("timezone", sa.String(64)),
)

keys = sa.Table(
    "millimetric_keys",
    _metadata,
    sa.Column("prefix", sa.String(8), primary_key=True),
    sa.Column("kind", _text_of(KeyKind), nullable=False),
    sa.Column("env", _text_of(KeyEnv), nullable=False),
    sa.Column("project_id", sa.BigInteger, sa.ForeignKey(projects.c.id), nullable=False),
    sa.Column("origins", sa.JSON, nullable=False),
    sa.Column("secret_hash", sa.LargeBinary(32), nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("revoked_at", Time),
    sa.Column("label", sa.String(64)),
    sa.Column("expires_at", Time),
    sa.Column("last_used_on", Time),
)

deletions = sa.Table(
    "millimetric_forgets",
    _metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("project_id", sa.BigInteger, sa.ForeignKey(projects.c.id), nullable=False),
    sa.Column("user_hash", sa.LargeBinary(32), nullable=False),
    sa.Column("cutoff", Time, nullable=False),
    sa.Column("requested_at", Time, nullable=False),
    sa.Column("claimed_until", Time),
    sa.Column("completed_at", Time),
    sa.Column("store", sa.String(36)),
    sa.Column(
        "kind", _text_of(DeletionKind), nullable=False, server_default=DeletionKind.USER.value
    ),
)
imports = sa.Table(
    "millimetric_imports",
    _metadata,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column(
        "project_id",
        sa.BigInteger,
        sa.ForeignKey(projects.c.id, ondelete="CASCADE"),
        nullable=False,
    ),
    sa.Column("import_id", sa.String(64), nullable=False),
    sa.Column("store", sa.String(36), nullable=False),
    sa.Column("started_at", Time, nullable=False),
    sa.Column("is_undoing", sa.Boolean, nullable=False),
    sa.UniqueConstraint("project_id", "import_id", "store"),
)

import_parts = sa.Table(
    "millimetric_import_parts",
    _metadata,
    sa.Column(
        "number",
        sa.BigInteger,
        sa.ForeignKey(imports.c.number, ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("chunk", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("events", sa.Integer, nullable=False),
    sa.Column("claimed_by", sa.String(32)),
    sa.Column("claimed_until", Time),
)
links = sa.Table(
    "millimetric_links",
    _metadata,
    sa.Column("code_hash", sa.LargeBinary(32), primary_key=True),
    sa.Column("sealed_key", sa.LargeBinary, nullable=False),
    sa.Column("expires_at", Time, nullable=False),
)
_is_pending = deletions.c.completed_at.is_(None)
sa.Index(
    "millimetric_forgets_pending",
    deletions.c.requested_at,
    sqlite_where=_is_pending,
    postgresql_where=_is_pending,
)


def _add_columns(connection: sa.Connection, *columns: sa.Column[Any]) -> None:
    """Add the columns that their tables lack; a database that is new has all of them."""
    for column in columns:
        table = column.table.name
        present = {found["name"] for found in sa.inspect(connection).get_columns(table)}
        if column.name not in present:
            declared = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
            connection.execute(sa.text(f"ALTER TABLE {table} ADD COLUMN {declared}"))


def _add_store_to_deletions(connection: sa.Connection) -> None:
    # A deletion of a database without the column belongs to any store.
    _add_columns(connection, deletions.c.store)


TEST_SUFFIX = " [test]"
"""The data of a project's test keys is stored as a project whose name ends so."""


def _separate_test_keys(connection: sa.Connection) -> None:
    # Test keys of a database without this step read and wrote the live project's events.
    shared = sa.select(keys.c.project_id).where(keys.c.env == KeyEnv.TEST).distinct()
    columns = (projects.c.id, projects.c.name, projects.c.created_at, projects.c.retention_days)
    for row in connection.execute(sa.select(*columns).where(projects.c.id.in_(shared))).all():
        test_id = new_project_id()
        values = {"name": row.name + TEST_SUFFIX, "created_at": row.created_at}
        connection.execute(
            sa.insert(projects).values(id=test_id, retention_days=row.retention_days, **values)
        )
        connection.execute(
            sa.update(keys)
            .where(keys.c.project_id == row.id, keys.c.env == KeyEnv.TEST)
            .values(project_id=test_id)
        )


def _add_settings_of_projects_and_keys(connection: sa.Connection) -> None:
    _add_columns(connection, projects.c.fbclid)
    _add_columns(connection, keys.c.label, keys.c.expires_at, keys.c.last_used_on)


def _add_kind_to_deletions(connection: sa.Connection) -> None:
    # Every deletion of a database without the column is a user's.
    _add_columns(connection, deletions.c.kind)


def _add_imports(connection: sa.Connection) -> None:
    for table in (imports, import_parts):
        table.create(connection, checkfirst=True)


def _add_links(connection: sa.Connection) -> None:
    links.create(connection, checkfirst=True)


def _add_timezone_to_projects(connection: sa.Connection) -> None:
    _add_columns(connection, projects.c.timezone)


def is_active(now: datetime) -> sa.ColumnElement[bool]:
    """Return the condition that a key is neither revoked nor expired."""
    is_valid = keys.c.expires_at.is_(None) | (keys.c.expires_at > now)
    return keys.c.revoked_at.is_(None) & is_valid


def new_project_id() -> int:
    """Return a random id: a project of another deployment has another one."""
    return 1 + secrets.randbelow(2**53 - 1)  # exact as a double too


_MIGRATIONS: tuple[Callable[[sa.Connection], None], ...] = (
    _metadata.create_all,
    _add_store_to_deletions,
    _separate_test_keys,
    _add_settings_of_projects_and_keys,
    _add_kind_to_deletions,
    _add_imports,
    _add_links,
    _add_timezone_to_projects,
)


def read_version(connection: sa.Connection) -> int:
    """Return how many migrations the database has; a new one has none.

    Raises:
        SettingsError: a newer version of this package created the database.
    """
    version = 0
    if sa.inspect(connection).has_table(_schema_version.name):
        version = connection.scalar(sa.select(sa.func.max(_schema_version.c.version))) or 0
    if version > len(_MIGRATIONS):
        sentence = (
            "--control / MILLIMETRIC_CONTROL: a newer millimetric-mcp created this database. "
            "Upgrade with: pip install --upgrade 'millimetric-mcp[api]'"
        )
        raise SettingsError([sentence])
    return version


def update_schema(connection: sa.Connection, *, upgrade: bool) -> None:
    """Create a new database's tables. With ``upgrade``, run the migrations that an older one lacks.

    The caller holds the write lock.

    Raises:
        SettingsError: a newer version of this package created the database, or an older one did
            and ``upgrade`` is not set.
    """
    version = read_version(connection)
    if 0 < version < len(_MIGRATIONS) and not upgrade:
        sentence = (
            "--control / MILLIMETRIC_CONTROL: an older millimetric-mcp created this database. "
            "Start the API with this version, which upgrades it, then try again."
        )
        raise SettingsError([sentence])
    for number, migrate in enumerate(_MIGRATIONS[version:], start=version + 1):
        migrate(connection)
        connection.execute(sa.insert(_schema_version).values(version=number))
