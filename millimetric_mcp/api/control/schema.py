"""The control database's tables, and bringing a database up to them.

Times are whole microseconds since 1970 UTC: one form for every dialect.
"""

from collections.abc import Callable

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    func,
    insert,
    inspect,
    select,
    text,
)

from millimetric_mcp.errors import SettingsError

__all__ = ["deployment", "forgets", "keys", "projects", "upgrade_schema"]

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
    Column("created_at", BigInteger, nullable=False),
)

keys = Table(
    "millimetric_keys",
    _metadata,
    Column("prefix", String(8), primary_key=True),
    Column("kind", String(2), nullable=False),
    Column("env", String(4), nullable=False),
    Column("project_id", BigInteger, ForeignKey(projects.c.id), nullable=False),
    Column("origins", JSON, nullable=False),
    Column("secret_hash", LargeBinary(32), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)

forgets = Table(
    "millimetric_forgets",
    _metadata,
    Column("id", String(32), primary_key=True),
    Column("project_id", BigInteger, ForeignKey(projects.c.id), nullable=False),
    Column("user_hash", LargeBinary(32), nullable=False),
    Column("cutoff", BigInteger, nullable=False),
    Column("requested_at", BigInteger, nullable=False),
    Column("claimed_until", BigInteger),
    Column("completed_at", BigInteger),
    Column("store", String(36)),
)
_is_pending = forgets.c.completed_at.is_(None)
Index(
    "millimetric_forgets_pending",
    forgets.c.requested_at,
    sqlite_where=_is_pending,
    postgresql_where=_is_pending,
)


def _create_tables(connection: Connection) -> None:
    _metadata.create_all(connection)


def _add_store_to_forgets(connection: Connection) -> None:
    """Tables that were made before had none; what lies in them is any store's."""
    columns = {column["name"] for column in inspect(connection).get_columns(forgets.name)}
    if forgets.c.store.name not in columns:
        connection.execute(text(f"ALTER TABLE {forgets.name} ADD COLUMN store VARCHAR(36)"))


_MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_create_tables, _add_store_to_forgets)


def upgrade_schema(connection: Connection) -> None:
    """Run the migrations the database lacks; the caller holds the only write transaction.

    Raises:
        SettingsError: the database was made by a newer version of this package.
    """
    version = _read_version(connection)
    if version > len(_MIGRATIONS):
        sentence = (
            "--control / MILLIMETRIC_CONTROL: the database was made by a newer "
            "millimetric-mcp; upgrade this one: pip install --upgrade 'millimetric-mcp[api]'"
        )
        raise SettingsError([sentence])
    for number, migrate in enumerate(_MIGRATIONS[version:], start=version + 1):
        migrate(connection)
        connection.execute(insert(_schema_version).values(version=number))


def _read_version(connection: Connection) -> int:
    if not inspect(connection).has_table(_schema_version.name):
        return 0
    return connection.scalar(select(func.max(_schema_version.c.version))) or 0
