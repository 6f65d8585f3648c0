"""API keys: their written form, and what each kind may do."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class KeyKind(StrEnum):
    """Who holds a key: browsers (pk), servers (sk), readers and agents (rk)."""

    PK = "pk"
    SK = "sk"
    RK = "rk"


class KeyEnv(StrEnum):
    """Whether a key stands for production or for trying things out."""

    LIVE = "live"
    TEST = "test"


class Scope(StrEnum):
    """What an endpoint asks of a key."""

    INGEST = "ingest"
    FORGET = "forget"
    READ = "read"


SCOPES: Mapping[KeyKind, frozenset[Scope]] = {
    KeyKind.PK: frozenset({Scope.INGEST}),
    KeyKind.SK: frozenset({Scope.INGEST, Scope.FORGET}),
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
    """A key as its holder writes it; ``secret`` stays out of ``repr``."""

    kind: KeyKind
    env: KeyEnv
    prefix: str
    secret: str = field(repr=False)

    def reveal(self) -> str:
        """The whole key, secret included: for its one showing."""
        return f"{self.kind}_{self.env}_{self.prefix}_{self.secret}"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key as it is kept: its look-up prefix, a hash of its secret, and whose it is.

    ``origins`` are exact ``scheme://host[:port]`` values and matter for pk only.
    ``secret_hash`` is sha256(secret || pepper), 32 bytes.
    """

    prefix: str
    kind: KeyKind
    env: KeyEnv
    project_id: int
    project: str
    origins: frozenset[str]
    secret_hash: bytes = field(repr=False)


def parse_api_key(text: str) -> ApiKey | None:
    """The parts of a well-formed key, or None."""
    match = _API_KEY.fullmatch(text)
    if match is None:
        return None
    kind, env, prefix, secret = match.groups()
    return ApiKey(KeyKind(kind), KeyEnv(env), prefix, secret)
