"""The control database's tables, and the migrations that create them."""

from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Connection,
    Dialect,
    Enum,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    TypeDecorator,
    func,
    insert,
    inspect,
    select,
    text,
)

from millimetric_mcp.contract.keys import KeyEnv, KeyKind
from millimetric_mcp.contract.validation import EPOCH
from millimetric_mcp.errors import SettingsError

_MICROSECOND = timedelta(microseconds=1)


class Time(TypeDecorator[datetime]):
    """A UTC time, stored as whole microseconds since 1970: the same in every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        return None if value is None else (value - EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else EPOCH + value * _MICROSECOND


def _text_of(values: type[StrEnum]) -> Enum:
    """Return the type of a column that holds the enum's values as plain text."""
    texts = [member.value for member in values]
    return Enum(
        values, native_enum=False, length=max(map(len, texts)), values_callable=lambda _: texts
    )


_metadata = MetaData()

_schema_version = Table(
    "millimetric_schema",
    _metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
)

deployment = Table(
    "millimetric_deployment",
    _metadata,
    Column("name", String(32), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
)

projects = Table(
    "millimetric_projects",
    _metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("name", String(64), nullable=False, unique=True),
    Column("retention_days", Integer),
    Column("created_at", Time, nullable=False),
)

keys = Table(
    "millimetric_keys",
    _metadata,
    Column("prefix", String(8), primary_key=True),
    Column("kind", _text_of(KeyKind), nullable=False),
    Column("env", _text_of(KeyEnv), nullable=False),
    Column("project_id", BigInteger, ForeignKey(projects.c.id), nullable=False),
    Column("origins", JSON, nullable=False),
    Column("secret_hash", LargeBinary(32), nullable=False),
    Column("created_at", Time, nullable=False),
    Column("revoked_at", Time),
)

deletions = Table(
    "millimetric_forgets",
    _metadata,
    Column("id", String(32), primary_key=True),
    Column("project_id", BigInteger, ForeignKey(projects.c.id), nullable=False),
    Column("user_hash", LargeBinary(32), nullable=False),
    Column("cutoff", Time, nullable=False),
    Column("requested_at", Time, nullable=False),
    Column("claimed_until", Time),
    Column("completed_at", Time),
    Column("store", String(36)),
)
_is_pending = deletions.c.completed_at.is_(None)
Index(
    "millimetric_forgets_pending",
    deletions.c.requested_at,
    sqlite_where=_is_pending,
    postgresql_where=_is_pending,
)


def _add_store_to_deletions(connection: Connection) -> None:
    # A deletion of a database without the column belongs to any store.
    columns = {column["name"] for column in inspect(connection).get_columns(deletions.name)}
    if deletions.c.store.name not in columns:
        connection.execute(text(f"ALTER TABLE {deletions.name} ADD COLUMN store VARCHAR(36)"))


_MIGRATIONS: tuple[Callable[[Connection], None], ...] = (
    _metadata.create_all,
    _add_store_to_deletions,
)


def upgrade_schema(connection: Connection) -> None:
    """Run the migrations that the database lacks; the caller holds the write lock.

    Raises:
        SettingsError: a newer version of this package created the database.
    """
    version = 0
    if inspect(connection).has_table(_schema_version.name):
        version = connection.scalar(select(func.max(_schema_version.c.version))) or 0
    if version > len(_MIGRATIONS):
        sentence = (
            "--control / MILLIMETRIC_CONTROL: a newer millimetric-mcp created this database. "
            "Upgrade with: pip install --upgrade 'millimetric-mcp[api]'"
        )
        raise SettingsError([sentence])
    for number, migrate in enumerate(_MIGRATIONS[version:], start=version + 1):
        migrate(connection)
        connection.execute(insert(_schema_version).values(version=number))
