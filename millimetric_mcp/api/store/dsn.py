"""Where the event store is: an embedded engine's directory, or a ClickHouse server or cluster."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from millimetric_mcp.errors import SettingsError

EMBEDDED_DATABASE = "millimetric"
EVENTS = "events"

_WHERE = "--store / MILLIMETRIC_STORE"
_EXAMPLE = "clickhouse://user:password@host:8123/database"
_EMBEDDED_SCHEME = "chdb"
_SERVER_SCHEMES = {"clickhouse": False, "clickhouses": True, "http": False, "https": True}
_TLS_OPTIONS = frozenset({"verify", "ca_cert", "client_cert", "client_cert_key"})
_DATABASE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class StoreTarget:
    """Where an event store is, and how it is used.

    ``dsn`` is for clickhouse-connect. It may hold a password, so it is not in ``repr``;
    ``address`` is what people see. ``tls_options`` are arguments of clickhouse-connect.
    ``cluster`` names the ClickHouse cluster whose shards hold the events. ``database`` is an
    identifier that needs no quotes. ``threads`` of 0 leaves their number to the engine.
    ``journal`` is for an embedded store only.
    """

    dsn: str = field(repr=False)
    database: str
    embedded: bool
    address: str = ""
    secure: bool = False
    tls_options: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    cluster: str | None = None
    fsync: bool = True
    journal: bool = True
    memory_mb: int = 1024
    threads: int = 0

    @property
    def local_table(self) -> str:
        """The table that holds the rows; on a cluster, each shard's own."""
        return f"{EVENTS}_local" if self.cluster else EVENTS


def embedded_target(directory: Path) -> StoreTarget:
    """Return the target for an engine in this process, with its data in ``directory``."""
    return StoreTarget(
        dsn=f"{_EMBEDDED_SCHEME}://{directory.resolve()}",
        database=EMBEDDED_DATABASE,
        embedded=True,
        address=str(directory),
    )


def parse_store_dsn(dsn: str) -> StoreTarget:
    """Return the target that a ``MILLIMETRIC_STORE`` value names.

    Raises:
        SettingsError: the value is invalid. The DSN is never quoted: it may hold a password.
    """
    parts = _split(dsn)
    if parts.scheme == _EMBEDDED_SCHEME:
        return embedded_target(_read_directory(parts))
    secure = _SERVER_SCHEMES[parts.scheme]
    return StoreTarget(
        dsn=f"{'https' if secure else 'http'}://{parts.netloc}",
        database=_read_database(parts),
        embedded=False,
        address=parts.netloc.rpartition("@")[2],
        secure=secure,
        tls_options=_read_tls_options(parts, secure=secure),
    )


def _split(dsn: str) -> SplitResult:
    try:
        parts = urlsplit(dsn)
        is_server = parts.scheme in _SERVER_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_server = False
    if not is_server and not dsn.startswith(f"{_EMBEDDED_SCHEME}:"):
        raise SettingsError([f"{_WHERE}: must be {_EXAMPLE}"])
    return parts


def _read_directory(parts: SplitResult) -> Path:
    directory = Path(unquote(parts.path))
    is_plain = not (parts.netloc or parts.query or parts.fragment)
    if not is_plain or not directory.is_absolute() or directory == Path(directory.anchor):
        raise SettingsError([f"{_WHERE}: an embedded store is chdb:///absolute/directory"])
    return directory


def _read_database(parts: SplitResult) -> str:
    database = unquote(parts.path).strip("/") or EMBEDDED_DATABASE
    if not _DATABASE.fullmatch(database):
        raise SettingsError(
            [f"{_WHERE}: the database's name takes letters, digits and _, at most 64 of them"]
        )
    return database


def _read_tls_options(parts: SplitResult, *, secure: bool) -> tuple[tuple[str, str], ...]:
    options = tuple(parse_qsl(parts.query, keep_blank_values=True))
    known = _TLS_OPTIONS if secure else frozenset[str]()
    if not {name for name, _ in options} <= known:
        names = ", ".join(sorted(_TLS_OPTIONS))
        raise SettingsError([f"{_WHERE}: its only parameters are {names}, of clickhouses://"])
    return options
