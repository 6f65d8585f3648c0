"""Every setting in one table: its variable, option, default, unit and meaning.

A setting is a field of `ServeSettings` or `ApiSettings`; the command line's options, the
environment's variables and the documentation are read from the fields. An option wins over
its variable, a variable over the default. Nothing here reads the environment by itself.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo

from millimetric_mcp.contract.keys import KeyKind
from millimetric_mcp.contract.validation import is_zone_name, list_field_errors
from millimetric_mcp.errors import SettingsError

MAX_RETENTION_DAYS = 36_500
DEFAULT_HOST = "https://api.millimetric.ai"
LOCAL_HOST = "http://localhost:8787"
MIN_SECRET_LENGTH = 16


class Transport(StrEnum):
    """How an MCP client reaches the server."""

    STDIO = "stdio"
    SSE = "sse"
    HTTP = "http"


class Auth(StrEnum):
    """Who may use the HTTP transports: holders of one token, or of their own API keys."""

    TOKEN = "token"
    PASSTHROUGH = "passthrough"


@dataclass(frozen=True, slots=True)
class Setting:
    """How a field is set: ``option`` is None for secrets, which argv would show to others.

    ``unit`` is the value's unit or form, for the documentation and ``--help``.
    """

    variable: str
    option: str | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class SettingField:
    """A setting with its field: everything the command line and the docs say of it."""

    name: str
    setting: Setting
    info: FieldInfo

    @property
    def help(self) -> str:
        return self.info.description or ""

    @property
    def is_switch(self) -> bool:
        """Whether its option stands alone, without a value."""
        return self.info.annotation is bool and not self.setting.unit

    @property
    def is_list(self) -> bool:
        """Whether its option may be repeated and its variable holds a comma list."""
        return isinstance(self.info.default, tuple)

    @property
    def default_text(self) -> str:
        """The default as it would be set; empty where its description tells it."""
        default = self.info.default
        if isinstance(default, bool):
            return "on" if default else "off"
        return str(default) if isinstance(default, str | int | float) else ""


def _check_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http:// or https:// URL")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must hold no credentials, query or fragment")
    return value.rstrip("/")


def _check_timezone(value: str) -> str:
    with suppress(ValueError, OSError, KeyError):
        ZoneInfo(value)
        if is_zone_name(value):
            return value
    raise ValueError("must be an IANA time zone, such as Europe/Berlin")


def _split(value: object) -> object:
    return (
        tuple(part.strip() for part in value.split(",") if part.strip())
        if isinstance(value, str)
        else value
    )


def _check_kind(kind: KeyKind) -> AfterValidator:
    """Names a key of another kind without showing it; its shape is the API's to judge."""

    def check(secret: SecretStr | None) -> SecretStr | None:
        _check_header_value(secret)
        found = secret.get_secret_value().partition("_")[0] if secret else kind.value
        if found == kind.value:
            return secret
        if found in list(KeyKind):
            raise ValueError(f"holds a key of kind {found}; it takes one of kind {kind}")
        raise ValueError(f"is not an API key: it does not start with {kind}_")

    return AfterValidator(check)


def _check_header_value(secret: SecretStr | None) -> SecretStr | None:
    """Names what no request can carry after ``Bearer``."""
    text = secret.get_secret_value() if secret else ""
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("holds white space or characters that can't be sent")
    return secret


def _check_secret_length(secret: SecretStr | None) -> SecretStr | None:
    if secret is not None and len(secret.get_secret_value()) < MIN_SECRET_LENGTH:
        raise ValueError(f"must have at least {MIN_SECRET_LENGTH} characters")
    return secret


LongSecret = Annotated[SecretStr | None, AfterValidator(_check_secret_length)]
BaseUrl = Annotated[str, AfterValidator(_check_url)]
TimeZoneName = Annotated[str, AfterValidator(_check_timezone)]
Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseModel):
    """A command's settings, checked."""

    # A model is built when a command first uses it: the start of the MCP server is measured.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class AnswerSettings(Settings):
    """How the MCP server answers: shared by ``serve`` and the ``/mcp`` of ``api``."""

    read_only: Annotated[
        bool,
        Setting("MILLIMETRIC_READ_ONLY", "--read-only"),
        Field(description="list the three read tools only, whatever the keys allow"),
    ] = False
    timezone: Annotated[
        TimeZoneName,
        Setting("MILLIMETRIC_TIMEZONE", "--timezone", "IANA name"),
        Field(description="zone in which today, last_week and bare dates are meant"),
    ] = "UTC"
    max_result_chars: Annotated[
        int,
        Setting("MILLIMETRIC_MAX_RESULT_CHARS", "--max-result-chars", "characters"),
        Field(
            ge=1000,
            le=1_000_000,
            description="longest text of a tool's answer, and longest structured content",
        ),
    ] = 48_000
    confirm_destructive: Annotated[
        bool,
        Setting("MILLIMETRIC_CONFIRM_DESTRUCTIVE", "--confirm-destructive"),
        Field(description="refuse to forget where the client can't ask its user"),
    ] = False
    allowed_hosts: Annotated[
        tuple[str, ...],
        BeforeValidator(_split),
        Setting(
            "MILLIMETRIC_MCP_ALLOWED_HOSTS",
            "--allowed-hosts",
            "host, host:port, host:* or *; comma list",
        ),
        Field(description="Host headers of MCP requests accepted besides the listening address"),
    ] = ()
    allowed_origins: Annotated[
        tuple[str, ...],
        BeforeValidator(_split),
        Setting(
            "MILLIMETRIC_MCP_ALLOWED_ORIGINS",
            "--allowed-origins",
            "origin, origin:* or *; comma list",
        ),
        Field(description="Origin headers of MCP requests accepted from browsers"),
    ] = ()


class ServeSettings(AnswerSettings):
    """Settings of ``millimetric-mcp serve``: the MCP server."""

    transport: Annotated[
        Transport,
        Setting("MILLIMETRIC_MCP_TRANSPORT", "--transport"),
        Field(description="stdio, sse (legacy HTTP+SSE), or http (Streamable HTTP and SSE)"),
    ] = Transport.STDIO
    bind: Annotated[
        str,
        Setting("MILLIMETRIC_MCP_BIND", "--host", "address"),
        Field(description="address the HTTP transports listen on"),
    ] = "127.0.0.1"
    port: Annotated[
        Port,
        Setting("MILLIMETRIC_MCP_PORT", "--port", "TCP port, 0 = any free one"),
        Field(description="port the HTTP transports listen on"),
    ] = 8000
    api_url: Annotated[
        BaseUrl,
        Setting("MILLIMETRIC_HOST", None, "URL"),
        Field(description="base URL of the Millimetric API that is called"),
    ] = DEFAULT_HOST
    write_key: Annotated[
        SecretStr | None,
        _check_kind(KeyKind.SK),
        Setting("MILLIMETRIC_KEY", None, "sk_…"),
        Field(description="server key, used for writes only"),
    ] = None
    read_key: Annotated[
        SecretStr | None,
        _check_kind(KeyKind.RK),
        Setting("MILLIMETRIC_RK", None, "rk_…"),
        Field(description="read key, used for reads only"),
    ] = None
    auth: Annotated[
        Auth | None,
        Setting("MILLIMETRIC_MCP_AUTH", "--auth"),
        Field(
            description="guard of the HTTP transports: token (MILLIMETRIC_MCP_TOKEN) or "
            "passthrough (the caller's own key); needed when listening beyond loopback"
        ),
    ] = None
    token: Annotated[
        LongSecret,
        AfterValidator(_check_header_value),
        Setting("MILLIMETRIC_MCP_TOKEN", None, "at least 16 characters"),
        Field(description="the bearer token that --auth token asks for"),
    ] = None
    timeout_s: Annotated[
        float,
        Setting("MILLIMETRIC_TIMEOUT_S", "--timeout-s", "seconds"),
        Field(gt=0, le=600, description="longest time a call of the API takes, retries included"),
    ] = 30.0
    connect_timeout_s: Annotated[
        float,
        Setting("MILLIMETRIC_CONNECT_TIMEOUT_S", "--connect-timeout-s", "seconds"),
        Field(gt=0, le=600, description="longest time connecting to the API takes"),
    ] = 5.0

    @model_validator(mode="after")
    def _check_token(self) -> Self:
        if self.auth is Auth.TOKEN and self.token is None:
            raise ValueError("--auth token needs MILLIMETRIC_MCP_TOKEN to be set")
        return self


class RateLimits(BaseModel):
    """Token buckets per project and route: refill per second and burst."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    track_per_s: float = 50
    track_burst: int = 200
    batch_per_s: float = 5
    batch_burst: int = 20


def _parse_rate_limits(value: object) -> object:
    if value == "on":
        return RateLimits()
    if value == "off":
        return None
    if not isinstance(value, str):
        return value
    limits: dict[str, float] = {}
    for part in value.split(","):
        route, _, rate = part.strip().partition("=")
        per_s, _, burst = rate.partition(":")
        try:
            in_range = 0 < float(per_s) <= 1e6 and 1 <= int(burst) <= 1e9
            if route not in {"track", "batch"} or not in_range:
                raise ValueError
        except ValueError:
            raise ValueError(
                "must be on, off, or track=PER_SECOND:BURST,batch=PER_SECOND:BURST"
            ) from None
        limits |= {f"{route}_per_s": float(per_s), f"{route}_burst": int(burst)}
    return RateLimits.model_validate(limits)


def _parse_switch(value: object) -> object:
    return {"on": True, "off": False}.get(value, value) if isinstance(value, str) else value


Switch = Annotated[bool, BeforeValidator(_parse_switch)]


class ControlSettings(Settings):
    """Where projects and keys are kept: shared by ``api`` and ``keys``."""

    data_dir: Annotated[
        Path | None,
        Setting("MILLIMETRIC_DATA_DIR", "--data-dir", "directory"),
        Field(description="data directory (default: the platform's user data directory)"),
    ] = None
    control: Annotated[
        SecretStr | None,
        Setting("MILLIMETRIC_CONTROL", "--control", "DSN"),
        Field(description="DSN of projects and keys (default: SQLite in the data directory)"),
    ] = None
    pepper: Annotated[
        LongSecret,
        Setting("MILLIMETRIC_PEPPER", None, "at least 16 characters"),
        Field(
            description="secret hashed with every key (default: made once, in the data directory)"
        ),
    ] = None


class StoreSettings(ControlSettings):
    """Where events are kept: shared by ``api`` and ``migrate``."""

    store: Annotated[
        SecretStr | None,
        Setting("MILLIMETRIC_STORE", "--store", "DSN"),
        Field(description="DSN of the event store (default: embedded in the data directory)"),
    ] = None
    cluster: Annotated[
        str | None,
        Setting("MILLIMETRIC_CLUSTER", "--cluster", "name"),
        Field(
            pattern=r"^[A-Za-z0-9_.-]{1,128}$",
            description="ClickHouse cluster to create replicated, distributed tables on",
        ),
    ] = None
    fsync: Annotated[
        Switch,
        Setting("MILLIMETRIC_FSYNC", "--fsync", "on or off"),
        Field(description="flush every write to disk before it is acknowledged"),
    ] = True
    store_memory_mb: Annotated[
        int,
        Setting("MILLIMETRIC_STORE_MEMORY_MB", "--store-memory-mb", "MiB"),
        Field(
            ge=256,
            description="most memory of the embedded engine for questions and writes together; "
            "one question takes three quarters of it at most",
        ),
    ] = 1024
    store_threads: Annotated[
        int,
        Setting("MILLIMETRIC_STORE_THREADS", "--store-threads", "threads, 0 = one a core"),
        Field(ge=0, le=1024, description="most threads a query takes"),
    ] = 0


class ApiSettings(StoreSettings, AnswerSettings):
    """Settings of ``millimetric-mcp api``: the embedded HTTP API."""

    bind: Annotated[
        str,
        Setting("MILLIMETRIC_API_BIND", "--host", "address"),
        Field(description="address the API listens on"),
    ] = "127.0.0.1"
    port: Annotated[
        Port,
        Setting("MILLIMETRIC_API_PORT", "--port", "TCP port, 0 = any free one"),
        Field(description="port the API listens on"),
    ] = 8787
    ip_salt: Annotated[
        LongSecret,
        Setting("MILLIMETRIC_IP_SALT", None, "at least 16 characters"),
        Field(description="salt of the IP hashes (default: made once, in the data directory)"),
    ] = None
    rate_limits: Annotated[
        RateLimits | None,
        BeforeValidator(_parse_rate_limits),
        Setting(
            "MILLIMETRIC_RATE_LIMITS",
            "--rate-limits",
            "on, off, or track=PER_SECOND:BURST,batch=PER_SECOND:BURST",
        ),
        Field(
            description="rate limits per project and route; default: on, track=50:200,batch=5:20"
        ),
    ] = RateLimits()
    trusted_proxies: Annotated[
        tuple[IPv4Network | IPv6Network, ...],
        BeforeValidator(_split),
        Setting("MILLIMETRIC_TRUSTED_PROXIES", "--trusted-proxy", "CIDRs, comma list"),
        Field(description="proxies whose X-Forwarded-For is believed"),
    ] = ()
    workers: Annotated[
        int,
        Setting("MILLIMETRIC_WORKERS", "--workers", "processes"),
        Field(
            ge=1,
            le=256,
            description="API processes (more than one: ClickHouse server only, and no /mcp)",
        ),
    ] = 1
    retention_days: Annotated[
        int | None,
        Setting("MILLIMETRIC_RETENTION_DAYS", "--retention-days", "days"),
        Field(
            ge=1,
            le=MAX_RETENTION_DAYS,
            description="days events are kept where a project sets none (default: for ever)",
        ),
    ] = None
    max_queued_events: Annotated[
        int,
        Setting("MILLIMETRIC_MAX_QUEUED_EVENTS", "--max-queued-events", "events"),
        Field(ge=1000, description="events waiting for the store before writes get a 503"),
    ] = 50_000


SettingsT = TypeVar("SettingsT", bound=Settings)


def list_settings(model: type[Settings]) -> tuple[SettingField, ...]:
    """The model's settings: its own first, then those it shares, each in declared order."""
    own_first = dict.fromkeys(
        name for part in model.__mro__ for name in getattr(part, "__annotations__", ())
    )
    return tuple(
        SettingField(name, setting, model.model_fields[name])
        for name in own_first
        if name in model.model_fields
        for setting in model.model_fields[name].metadata
        if isinstance(setting, Setting)
    )


def read_settings(
    model: type[SettingsT], *, environ: Mapping[str, str], options: Mapping[str, Any]
) -> SettingsT:
    """The command's settings; ``options`` holds what argv gave, None where it gave nothing.

    Raises:
        SettingsError: naming every fault at once, by variable and option.
    """
    values: dict[str, Any] = {}
    for field in list_settings(model):
        value = options.get(field.name)
        if isinstance(value, list):
            value = ",".join(value)
        if value is None:
            value = environ.get(field.setting.variable) or None
        if value is not None:
            values[field.name] = value
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise SettingsError(_explain(model, error)) from None


def _explain(model: type[Settings], error: ValidationError) -> list[str]:
    names = {field.name: field.setting for field in list_settings(model)}
    sentences: dict[str, None] = {}
    for fault in list_field_errors(error):
        setting = names.get(fault.field.partition("[")[0].partition(".")[0])
        where = (
            " / ".join(name for name in (setting.option, setting.variable) if name) + ": "
            if setting
            else ""
        )
        sentences.setdefault(where + fault.message)
    return list(sentences)
