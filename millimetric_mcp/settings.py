"""Every setting in one table: its variable, option, default, allowed values and meaning.

A setting is a field of `ServeSettings` or `ApiSettings`. The command line's options, the
environment's variables and the documentation are made from the fields. An option overrides
its variable, and a variable overrides the default. The environment is an argument.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar
from urllib.parse import urlsplit

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

from millimetric_mcp.contract.attribution import FbclidMeaning
from millimetric_mcp.contract.keys import KeyKind
from millimetric_mcp.contract.validation import find_zone, list_field_errors
from millimetric_mcp.errors import SettingsError

MAX_RETENTION_DAYS = 36_500
DEFAULT_HOST = "https://api.millimetric.ai"
LOCAL_HOST = "http://localhost:8787"
LOCAL = "local"
"""The value of MILLIMETRIC_HOST for the shared API of this machine."""
MIN_SECRET_LENGTH = 16

_MAX_SHOWN_CHARS = 80


class Transport(StrEnum):
    """How an MCP client connects to the server."""

    STDIO = "stdio"
    SSE = "sse"
    HTTP = "http"


class Auth(StrEnum):
    """How clients of the HTTP transports log in: with one token, or with their own API keys."""

    TOKEN = "token"
    PASSTHROUGH = "passthrough"


class LogFormat(StrEnum):
    """How the log writes a line: JSON for programs, text for people."""

    JSON = "json"
    TEXT = "text"


class LogLevel(StrEnum):
    """Which lines the servers' log has: requests are ``info``, failed ones ``error``."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Setting:
    """What the command line and the docs say about a setting.

    ``option`` is None for secrets, because other users of a machine can read a process's
    arguments. ``form`` says which values are allowed; a setting without one is a switch: its
    option has no value.
    """

    variable: str
    option: str | None
    form: str
    help: str
    default: Any
    name: str = ""

    @property
    def is_switch(self) -> bool:
        return not self.form

    @property
    def is_list(self) -> bool:
        """Return whether the option can be repeated; the variable holds a comma list."""
        return isinstance(self.default, tuple)

    @property
    def default_text(self) -> str:
        """Return the default as a user writes it; empty for a switch, or if ``help`` has it."""
        if self.is_switch:
            return ""
        if isinstance(self.default, bool):
            return "on" if self.default else "off"
        return str(self.default) if isinstance(self.default, str | int | float) else ""


def _setting(
    variable: str,
    option: str | None,
    form: str,
    help: str,  # noqa: A002
    *,
    default: Any = None,  # noqa: ANN401
    **limits: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401 - the value of a field, for the type checker
    extra: Any = {"setting": Setting(variable, option, form, help, default)}
    return Field(default, json_schema_extra=extra, **limits)


def _check_host(value: str) -> str:
    return value if value == LOCAL else check_url(value)


def check_url(value: str) -> str:
    """Return an http or https URL without a slash at the end; raise ValueError for another text."""
    if value != value.strip() or not value.isprintable():
        raise ValueError("Remove the white space.")
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("Use a URL that begins with http:// or https://.")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("Use a port up to 65535.") from None
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("Remove the user name, password, query and fragment from the URL.")
    return value.rstrip("/")


def _read_dsn(secret: SecretStr | None) -> SecretStr | None:
    """Return a DSN; in place of ``file:PATH``, the text of that file."""
    text = secret.get_secret_value() if secret else ""
    if not text.startswith("file:"):
        return secret
    path = Path(text.removeprefix("file:"))
    try:
        return SecretStr(path.read_text(encoding="utf-8").strip())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ValueError(f"can't read {path}: {reason}. Name a file that holds the DSN.") from None


Dsn = Annotated[SecretStr | None, AfterValidator(_read_dsn)]


def _check_timezone(value: str) -> str:
    if find_zone(value) is None:
        raise ValueError
    return value


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _check_key(secret: SecretStr | None, *, kind: KeyKind) -> SecretStr | None:
    """Return the key; the error about a key of another kind does not show it."""
    _check_header_value(secret)
    found = secret.get_secret_value().partition("_")[0] if secret else kind.value
    if found == kind.value:
        return secret
    if found in list(KeyKind):
        raise ValueError(f"This is a key of kind {found}. Use one that starts with {kind}_.")
    raise ValueError(f"This is not an API key: it does not start with {kind}_.")


def _check_header_value(secret: SecretStr | None) -> SecretStr | None:
    text = secret.get_secret_value() if secret else ""
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("holds white space or characters that can't be sent")
    return secret


class RateLimits(BaseModel):
    """Token buckets per project, kind of key and route: refill per second and burst."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    track_per_s: float = 50
    track_burst: int = 200
    batch_per_s: float = 5
    batch_burst: int = 20


def _parse_rate_limits(value: object) -> object:
    if not isinstance(value, str) or value in {"on", "off"}:
        return RateLimits() if value == "on" else None if value == "off" else value
    limits: dict[str, float] = {}
    for part in value.split(","):
        route, _, rate = part.strip().partition("=")
        per_s, _, burst = rate.partition(":")
        with suppress(ValueError):
            in_range = 0 < float(per_s) <= 1e6 and 1 <= int(burst) <= 1e9
            if route in {"track", "batch"} and in_range:
                limits |= {f"{route}_per_s": float(per_s), f"{route}_burst": int(burst)}
                continue
        raise ValueError
    return RateLimits.model_validate(limits)


LongSecret = Annotated[SecretStr, Field(min_length=MIN_SECRET_LENGTH)] | None
ZoneName = Annotated[str, AfterValidator(_check_timezone)]
CommaList = Annotated[tuple[str, ...], BeforeValidator(_split)]
WriteKey = Annotated[SecretStr | None, AfterValidator(partial(_check_key, kind=KeyKind.SK))]
ReadKey = Annotated[SecretStr | None, AfterValidator(partial(_check_key, kind=KeyKind.RK))]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_split)]
Port = Annotated[int, Field(ge=0, le=65535)]
Limits = Annotated[RateLimits | None, BeforeValidator(_parse_rate_limits)]
PublicUrl = Annotated[str, AfterValidator(check_url)] | None

_PORT = "0 to 65535 (0 = any free port)"
_SECRET = f"at least {MIN_SECRET_LENGTH} characters"
_ON_OFF = "on or off"


class Settings(BaseModel):
    """A command's settings, checked."""

    # A model is built when a command first uses it, because the MCP server must start fast.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


# The formatter would give each argument its own line.
# fmt: off

def _timezone() -> Any:  # noqa: ANN401 - the value of a field, for the type checker
    return _setting("MILLIMETRIC_TIMEZONE", "--timezone", "an IANA name such as Europe/Berlin",
        "Time zone used for words like today and for dates without a time.", default="UTC")


def _public_url() -> Any:  # noqa: ANN401 - the value of a field, for the type checker
    return _setting("MILLIMETRIC_PUBLIC_URL", "--public-url", "URL",
        "URL of the API as browsers and clients reach it, for example through a reverse proxy. New "
        "keys are printed with it.")


class LogSettings(Settings):
    """What the servers log."""

    log_level: LogLevel = _setting("MILLIMETRIC_LOG_LEVEL", "--log-level",
        "info, warning, error or off",
        "Lowest level of the lines on stderr. Each request is a line of level info, or error if "
        "the server failed.", default=LogLevel.INFO)
    log_format: LogFormat = _setting("MILLIMETRIC_LOG_FORMAT", "--log-format", "json or text",
        "Form of the lines on stderr: JSON for programs, or text for people.",
        default=LogFormat.JSON)


class AnswerSettings(LogSettings):
    """How the MCP server answers: shared by ``serve`` and the ``/mcp`` of ``api``."""

    read_only: bool = _setting("MILLIMETRIC_READ_ONLY", "--read-only", "",
        "List only the tools that read data, whatever the keys allow.", default=False)
    timezone: ZoneName = _timezone()
    max_result_chars: int = _setting(
        "MILLIMETRIC_MAX_RESULT_CHARS", "--max-result-chars", "1000 to 1000000 characters",
        "Maximum length of a tool's text, and of its structured content.",
        default=48_000, ge=1000, le=1_000_000)
    confirm_destructive: bool = _setting(
        "MILLIMETRIC_CONFIRM_DESTRUCTIVE", "--confirm-destructive", "",
        "Block the forget tool in clients that cannot show a confirmation dialog.", default=False)
    allowed_hosts: CommaList = _setting("MILLIMETRIC_MCP_ALLOWED_HOSTS", "--allowed-hosts",
        "host, host:port, host:* or *, with commas between",
        "Host headers of MCP requests to accept besides the listening address. Set it behind a "
        "reverse proxy.", default=())
    allowed_origins: CommaList = _setting("MILLIMETRIC_MCP_ALLOWED_ORIGINS", "--allowed-origins",
        "origin, origin:* or *, with commas between",
        "Origin headers of MCP requests to accept from browsers, besides the Inspector's; with "
        "--auth besides those of this machine.", default=())


class ConnectionSettings(Settings):
    """Which API is called, and with which keys: shared by ``serve``, ``import`` and ``export``."""

    api_url: Annotated[str, AfterValidator(_check_host)] = _setting(
        "MILLIMETRIC_HOST", None, "URL, or local",
        "Base URL of the Millimetric API to use. local (or --local): the shared API of this "
        "machine, which is started if it does not run.", default=DEFAULT_HOST)
    write_key: WriteKey = _setting(
        "MILLIMETRIC_KEY", None, "sk_…", "Server key, used to send data.")
    read_key: ReadKey = _setting("MILLIMETRIC_RK", None, "rk_…", "Read key, used to read data.")
    timeout_s: float = _setting("MILLIMETRIC_TIMEOUT_S", "--timeout-s", "above 0, to 600 seconds",
        "Time limit of one API call, retries included.", default=30.0, gt=0, le=600)
    connect_timeout_s: float = _setting(
        "MILLIMETRIC_CONNECT_TIMEOUT_S", "--connect-timeout-s", "above 0, to 600 seconds",
        "Time limit for connecting to the API.", default=5.0, gt=0, le=600)

    @model_validator(mode="after")
    def _check_local(self) -> Self:
        keys = {"MILLIMETRIC_KEY": self.write_key, "MILLIMETRIC_RK": self.read_key}
        given = " and ".join(name for name, key in keys.items() if key is not None)
        if self.api_url == LOCAL and given:
            raise ValueError(
                "--local (MILLIMETRIC_HOST=local) uses keys of the local API, which it finds by "
                f"itself. Remove {given}, or remove --local to use the API of those keys."
            )
        return self


class ReportSettings(ConnectionSettings):
    """Settings of ``millimetric-mcp report``."""

    timezone: ZoneName = _timezone()


class ServeSettings(AnswerSettings, ConnectionSettings):
    """Settings of ``millimetric-mcp serve``: the MCP server."""

    transport: Transport = _setting(
        "MILLIMETRIC_MCP_TRANSPORT", "--transport", "stdio, sse or http",
        "How MCP clients connect: stdio (the client starts this command), http (Streamable HTTP "
        "and SSE) or sse (for older clients).", default=Transport.STDIO)
    bind: str = _setting("MILLIMETRIC_MCP_BIND", "--host", "an address",
        "Address that the HTTP transports listen on; :: is every address, IPv4 too.",
        default="127.0.0.1")
    port: Port = _setting("MILLIMETRIC_MCP_PORT", "--port", _PORT,
        "Port that the HTTP transports listen on.", default=8000)
    auth: Auth | None = _setting("MILLIMETRIC_MCP_AUTH", "--auth", "token or passthrough",
        "How HTTP clients log in: token (one shared token, MILLIMETRIC_MCP_TOKEN) or passthrough "
        "(each client sends its own API key). Required unless you listen on 127.0.0.1.")
    token: Annotated[LongSecret, AfterValidator(_check_header_value)] = _setting(
        "MILLIMETRIC_MCP_TOKEN", None, _SECRET, "Bearer token of HTTP clients for --auth token.")

    @model_validator(mode="after")
    def _check_token(self) -> Self:
        if self.auth is Auth.TOKEN and self.token is None:
            raise ValueError("--auth token needs a token. Set MILLIMETRIC_MCP_TOKEN.")
        return self


class ControlSettings(Settings):
    """Where projects and keys are kept: shared by ``api`` and ``keys``."""

    data_dir: Path | None = _setting("MILLIMETRIC_DATA_DIR", "--data-dir", "a directory",
        "Data directory. Default: your platform's user data directory.")
    control: Dsn = _setting(
        "MILLIMETRIC_CONTROL", "--control", "sqlite:///FILE, postgresql://… or file:PATH",
        "DSN of the database of projects and keys, or file:PATH of a file that holds it: other "
        "users see options. Default: SQLite in the data directory.")
    keys_dir: Path | None = _setting("MILLIMETRIC_KEYS_DIR", "--keys-dir", "a directory",
        "Directory for files of new keys, where no terminal shows them. Default: in your "
        "platform's user configuration directory.")
    pepper: LongSecret = _setting("MILLIMETRIC_PEPPER", None, _SECRET,
        "Secret hashed with every API key. Default: created once, in the data directory.")


class NewKeySettings(ControlSettings):
    """Settings of the commands that print a new key: ``keys create`` and ``keys rotate``."""

    public_url: PublicUrl = _public_url()


class StoreSettings(ControlSettings):
    """Where events are kept."""

    store: Dsn = _setting("MILLIMETRIC_STORE", "--store", "clickhouse://… or file:PATH",
        "DSN of the event store, or file:PATH of a file that holds it: other users see options. "
        "Default: an embedded database in the data directory.")
    cluster: str | None = _setting(
        "MILLIMETRIC_CLUSTER", "--cluster", "a name of letters, digits, dots, _ and -",
        "ClickHouse cluster on which to create replicated, distributed tables.",
        pattern=r"^[A-Za-z0-9_.-]{1,128}$")
    fsync: bool = _setting("MILLIMETRIC_FSYNC", "--fsync", _ON_OFF,
        "Flush every write to disk before it is acknowledged.", default=True)
    store_memory_mb: int = _setting(
        "MILLIMETRIC_STORE_MEMORY_MB", "--store-memory-mb", "at least 256 MiB",
        "Memory limit of the embedded database. A single query may use up to 75 % of it.",
        default=1024, ge=256)
    store_threads: int = _setting(
        "MILLIMETRIC_STORE_THREADS", "--store-threads", "0 to 1024 threads (0 = one per core)",
        "Maximum number of threads of one query.", default=0, ge=0, le=1024)


class ClassifierSettings(Settings):
    """How visits are classified: shared by ``api`` and ``classify``."""

    fbclid: FbclidMeaning = _setting("MILLIMETRIC_FBCLID", "--fbclid", "paid or social",
        "What an fbclid without a paid utm_medium counts as: paid, as on hosted Millimetric, or "
        "social, because Facebook adds fbclid to unpaid links too.", default=FbclidMeaning.PAID)


class DeploymentSettings(StoreSettings):
    """Everything that a backup holds: shared by ``api``, ``backup``, ``restore`` and ``check``."""

    ip_salt: LongSecret = _setting("MILLIMETRIC_IP_SALT", None, _SECRET,
        "Salt of the hashes of IP addresses. Default: created once, in the data directory.")


class ApiSettings(DeploymentSettings, AnswerSettings, ClassifierSettings):
    """Settings of ``millimetric-mcp api``: the embedded HTTP API."""

    bind: str = _setting("MILLIMETRIC_API_BIND", "--host", "an address",
        "Address that the API listens on; :: is every address, IPv4 too.",
        default="127.0.0.1")
    port: Port = _setting("MILLIMETRIC_API_PORT", "--port", _PORT,
        "Port that the API listens on.", default=8787)
    public_url: PublicUrl = _public_url()
    rate_limits: Limits = _setting("MILLIMETRIC_RATE_LIMITS", "--rate-limits",
        "on, off, or track=PER_SECOND:BURST,batch=PER_SECOND:BURST",
        "Rate limits of each project, for each kind of key. Default: on, which is "
        "track=50:200,batch=5:20.",
        default=RateLimits())
    trusted_proxies: Networks = _setting("MILLIMETRIC_TRUSTED_PROXIES", "--trusted-proxy",
        "IP ranges such as 10.0.0.0/8, with commas between",
        "IP ranges of your reverse proxies. The visitor's address is read from X-Forwarded-For "
        "only if the request comes from one of them.", default=())
    workers: int = _setting("MILLIMETRIC_WORKERS", "--workers", "1 to 256 processes",
        "API processes. More than one needs a ClickHouse server.",
        default=1, ge=1, le=256)
    retention_days: int | None = _setting(
        "MILLIMETRIC_RETENTION_DAYS", "--retention-days", f"1 to {MAX_RETENTION_DAYS} days",
        "Days that events are kept in projects without a setting. Default: for ever.",
        ge=1, le=MAX_RETENTION_DAYS)
    idle_stop_s: int = _setting(
        "MILLIMETRIC_IDLE_STOP_S", "--idle-stop-s", "0 to 31536000 seconds (0 = never)",
        "Stop after so many seconds without a request; those for health and metrics don't count. "
        "With --local the default is 3600.",
        default=0, ge=0, le=31_536_000)
    browser_names: int = _setting(
        "MILLIMETRIC_BROWSER_NAMES", "--browser-names", "at least 100 names",
        "Different event names, sources and campaigns, so many of each, that browser keys may "
        "bring into a project. A name counts for 30 days.", default=20_000, ge=100)
    browser_mb_per_day: int = _setting(
        "MILLIMETRIC_BROWSER_MB_PER_DAY", "--browser-mb-per-day", "at least 1 MiB",
        "What a project's browser keys may store on one day (UTC). Each process counts since its "
        "start.",
        default=10_240, ge=1)
    journal: bool = _setting("MILLIMETRIC_JOURNAL", "--journal", _ON_OFF,
        "Write events to a journal before the embedded database, which answers several times "
        "faster.", default=True)
    max_queued_events: int = _setting(
        "MILLIMETRIC_MAX_QUEUED_EVENTS", "--max-queued-events", "at least 1000 events",
        "Events that may wait for the store. If more wait, writes get a 503.",
        default=50_000, ge=1000)
    metrics: bool = _setting("MILLIMETRIC_METRICS", "--metrics", _ON_OFF,
        "Serve Prometheus metrics at /metrics, to this machine only or with a token.",
        default=False)
    metrics_token: LongSecret = _setting("MILLIMETRIC_METRICS_TOKEN", None, _SECRET,
        "Bearer token for /metrics. With it other machines may ask too.")

    @model_validator(mode="after")
    def _check_metrics(self) -> Self:
        if self.metrics and self.workers > 1:
            raise ValueError(
                "--metrics needs one worker: of several, each would answer with its own numbers.")
        return self

# fmt: on


SettingsT = TypeVar("SettingsT", bound=Settings)


def list_settings(model: type[Settings]) -> tuple[Setting, ...]:
    """Return the model's settings: its own first, then those it shares, in declared order."""
    names = dict.fromkeys(
        name for part in model.__mro__ for name in getattr(part, "__annotations__", ())
    )
    extras: dict[str, Any] = {
        name: field.json_schema_extra for name, field in model.model_fields.items()
    }
    return tuple(replace(extras[name]["setting"], name=name) for name in names if name in extras)


def read_settings(
    model: type[SettingsT], *, environ: Mapping[str, str], options: Mapping[str, Any]
) -> SettingsT:
    """Return the command's settings; ``options`` are those of the command line.

    An option that is None was not given.

    Raises:
        SettingsError: it names every wrong setting, by option and variable.
    """
    values: dict[str, Any] = {}
    settings = list_settings(model)
    for setting in settings:
        value = options.get(setting.name)
        if isinstance(value, list):
            value = ",".join(value)
        if value is None:
            value = environ.get(setting.variable) or None
        if value is not None:
            values[setting.name] = value
    try:
        return model.model_validate(values)
    except ValidationError as error:
        sentences = _describe_errors({setting.name: setting for setting in settings}, values, error)
        raise SettingsError(list(dict.fromkeys(sentences))) from None


def _describe_errors(
    settings: Mapping[str, Setting], values: Mapping[str, Any], error: ValidationError
) -> list[str]:
    sentences = []
    for wrong in list_field_errors(error):
        setting = settings.get(wrong.field.partition("[")[0].partition(".")[0])
        if setting is None:
            sentences.append(wrong.message)
            continue
        where = " / ".join(name for name in (setting.option, setting.variable) if name)
        if wrong.kind == "value_error" and wrong.message:
            sentence = wrong.message
        else:
            sentence = f"Use {setting.form or _ON_OFF}."
            if setting.option:  # else it may be a secret
                value = str(values[setting.name])[:_MAX_SHOWN_CHARS]
                sentence = f"{value!r} is invalid. {sentence}"
        sentences.append(f"{where}: {sentence}")
    return sentences
