"""Where the event store is: an embedded engine's directory, or a ClickHouse server or cluster."""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from millimetric_mcp.errors import SettingsError

EMBEDDED_DATABASE = "millimetric"
EVENTS = "events"
_SERVER_SCHEMES = {"clickhouse": False, "clickhouses": True, "http": False, "https": True}


@dataclass(frozen=True, slots=True)
class StoreTarget:
    """An event store's address and manner of use.

    ``dsn`` is what clickhouse-connect opens and may hold a password, so it stays out of
    ``repr``. ``cluster`` names the ClickHouse cluster whose shards hold the events.
    """

    dsn: str = field(repr=False)
    database: str
    embedded: bool
    cluster: str | None = None
    fsync: bool = True
    memory_mb: int = 1024
    threads: int = 0

    @property
    def local_table(self) -> str:
        """The table that holds the rows, on each shard."""
        return f"{EVENTS}_local" if self.cluster else EVENTS


def embedded_target(
    directory: Path, *, fsync: bool = True, memory_mb: int = 1024, threads: int = 0
) -> StoreTarget:
    """The engine that runs in this process on ``directory``."""
    return StoreTarget(
        dsn=f"chdb://{directory.resolve()}",
        database=EMBEDDED_DATABASE,
        embedded=True,
        fsync=fsync,
        memory_mb=memory_mb,
        threads=threads,
    )


def parse_store_dsn(
    dsn: str, *, cluster: str | None, fsync: bool, memory_mb: int, threads: int
) -> StoreTarget:
    """The target that a ``MILLIMETRIC_STORE`` value names.

    Raises:
        SettingsError: without ever quoting the DSN, which may hold a password.
    """
    parts = urlsplit(dsn)
    if parts.scheme == "chdb":
        if cluster:
            raise SettingsError(["--cluster: needs a ClickHouse server, not the embedded store"])
        directory = Path(unquote(parts.path))
        return embedded_target(directory, fsync=fsync, memory_mb=memory_mb, threads=threads)
    if parts.scheme not in _SERVER_SCHEMES or not parts.hostname:
        raise SettingsError(
            ["--store / MILLIMETRIC_STORE: must be clickhouse://user:password@host:8123/database"]
        )
    secure = _SERVER_SCHEMES[parts.scheme]
    return StoreTarget(
        dsn=f"{'https' if secure else 'http'}://{parts.netloc}",
        database=parts.path.strip("/") or EMBEDDED_DATABASE,
        embedded=False,
        cluster=cluster,
        fsync=fsync,
        memory_mb=memory_mb,
        threads=threads,
    )
