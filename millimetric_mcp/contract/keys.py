"""API keys: their written form, their stored form, and what each kind may do."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256

from millimetric_mcp.contract.attribution import FbclidMeaning


class KeyKind(StrEnum):
    """Who uses a key: browsers (pk), servers (sk), readers and agents (rk)."""

    PK = "pk"
    SK = "sk"
    RK = "rk"


class KeyEnv(StrEnum):
    """Whether a key is for production or for tests."""

    LIVE = "live"
    TEST = "test"


class Scope(StrEnum):
    """What a key must allow for an endpoint."""

    INGEST = "ingest"
    FORGET = "forget"
    IMPORT = "import"
    READ = "read"


SCOPES: Mapping[KeyKind, frozenset[Scope]] = {
    KeyKind.PK: frozenset({Scope.INGEST}),
    KeyKind.SK: frozenset({Scope.INGEST, Scope.FORGET, Scope.IMPORT}),
    KeyKind.RK: frozenset({Scope.READ}),
}

PREFIX_LENGTH = 8
MIN_SECRET_LENGTH = 32
MAX_SECRET_LENGTH = 128

_API_KEY = re.compile(
    rf"(pk|sk|rk)_(live|test)_([A-Za-z0-9]{{{PREFIX_LENGTH}}})"
    rf"_([A-Za-z0-9_-]{{{MIN_SECRET_LENGTH},{MAX_SECRET_LENGTH}}})"
)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as its user writes it; ``secret`` is not in ``repr``."""

    kind: KeyKind
    env: KeyEnv
    prefix: str
    secret: str = field(repr=False)

    def reveal(self) -> str:
        """Return the whole key, secret included."""
        return f"{self.kind}_{self.env}_{self.prefix}_{self.secret}"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key as it is stored: its look-up prefix, a hash of its secret, and its project.

    ``origins`` are exact ``scheme://host[:port]`` values and matter for pk only. ``fbclid``
    and ``timezone`` are None if the project has no setting.
    ``secret_hash`` is sha256(secret || pepper), 32 bytes.
    """

    prefix: str
    kind: KeyKind
    env: KeyEnv
    project_id: int
    project: str
    origins: frozenset[str]
    secret_hash: bytes = field(repr=False)
    fbclid: FbclidMeaning | None = None
    timezone: str | None = None


@lru_cache(maxsize=1024)
def parse_api_key(text: str) -> ApiKey | None:
    """Return the parts of a key, or None if it is malformed."""
    match = _API_KEY.fullmatch(text)
    if match is None:
        return None
    kind, env, prefix, secret = match.groups()
    return ApiKey(KeyKind(kind), KeyEnv(env), prefix, secret)


def hash_secret(secret: str, *, pepper: bytes) -> bytes:
    """Return what is stored of a key's secret: sha256(secret || pepper), 32 bytes."""
    return sha256(secret.encode() + pepper).digest()


_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://"
    r"(?P<host>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def normalise_origin(text: str) -> str | None:
    """Return ``text`` as browsers write an Origin: lower case, no default port; None if invalid."""
    match = _ORIGIN.fullmatch(text.lower()) if text.isascii() else None
    if match is None:
        return None
    scheme, host, port = match["scheme"], match["host"], int(match["port"] or 0)
    if port > 65535:
        return None
    named = port and port != _DEFAULT_PORTS.get(scheme)
    return f"{scheme}://{host}:{port}" if named else f"{scheme}://{host}"
