"""What `doctor` asks the API: whether it answers, its clock, and what the keys may do."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from millimetric_mcp.cli.doctor.finding import Finding, broken, note, ok
from millimetric_mcp.client.client import is_loopback
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.endpoints import QUERY, SOURCES, TRACK
from millimetric_mcp.contract.keys import KeyEnv, KeyKind, parse_api_key

MAX_SKEW_S = 60
_CODES = frozenset(ErrorCode)
_VARIABLES = {KeyKind.RK: "MILLIMETRIC_RK", KeyKind.SK: "MILLIMETRIC_KEY"}
_USES = {KeyKind.RK: "read data", KeyKind.SK: "send data"}
_RESTART = "Correct it, and restart the agent."


@dataclass(frozen=True, slots=True)
class CheckedApi:
    """The API that is checked, and how to ask it."""

    url: str
    http: httpx.Client
    now: Callable[[], datetime]

    def read(self, key: str, **params: str) -> httpx.Response:
        """Ask for raw events of the last day, with a read key."""
        end = self.now() + timedelta(minutes=5)
        window = {"from": (end - timedelta(days=1)).isoformat(), "to": end.isoformat()}
        headers = {"Authorization": f"Bearer {key}"}
        return self.http.get(
            self.url + QUERY.path, params={**window, "limit": "1", **params}, headers=headers
        )

    def send_nothing(self, key: str, *, origin: str | None = None) -> httpx.Response:
        """Send an event without a name: an accepted key gets a 400, and nothing is stored."""
        headers = {"Authorization": f"Bearer {key}", **({"Origin": origin} if origin else {})}
        return self.http.post(self.url + TRACK.path, json={}, headers=headers)


def check_host(api: CheckedApi) -> Iterator[Finding]:
    """Yield whether the URL leads to the API, and whether both clocks agree."""
    try:
        response = api.http.get(api.url + SOURCES.path)
    except httpx.HTTPError as error:
        yield _describe_failure(api.url, error)
        return
    if read_code(response) not in _CODES:
        yield broken(
            "host",
            f"{api.url} answers, but it is not the Millimetric API (HTTP {response.status_code}).",
            "The tools get no data from it.",
            "Correct MILLIMETRIC_HOST: the URL of the API without /v1 or /mcp.",
        )
        return
    yield ok("host", f"{api.url} is the Millimetric API.")
    parts = urlsplit(api.url)
    if parts.scheme == "https":
        yield ok("tls", f"The certificate of {parts.hostname} is valid.")
    elif not is_loopback(parts.hostname or ""):
        yield note(
            "tls",
            f"{api.url} is not encrypted.",
            "Everybody on the way can read the keys and the data.",
            "Put a reverse proxy with TLS in front of the API, and use its https:// URL.",
        )
    with suppress(TypeError, ValueError):  # no header, or no date
        yield _compare_clocks(api.now(), parsedate_to_datetime(response.headers["date"]))


def _describe_failure(url: str, error: httpx.HTTPError) -> Finding:
    failure = _find_tls_error(error)
    if isinstance(failure, ssl.SSLCertVerificationError):
        return broken(
            "tls",
            f"The certificate of {urlsplit(url).hostname} is not valid for this machine.",
            "Nothing is sent over a connection that could be read by others.",
            "Renew the certificate, or name your own authority's file in SSL_CERT_FILE.",
        )
    if failure:
        return broken(
            "tls",
            f"{url} does not answer with TLS ({failure.reason or 'the handshake failed'}).",
            "The tools can neither read nor send data.",
            "Write http:// if this API has no TLS; else look at its reverse proxy.",
        )
    advice = "Check the network, the proxy variables, and MILLIMETRIC_HOST."
    if is_loopback(urlsplit(url).hostname or ""):
        advice = "Start it with: millimetric-mcp api (or use --local, which starts one)."
    return broken(
        "host",
        f"Nothing answers at {url} ({type(error).__name__}).",
        "The tools can neither read nor send data.",
        advice,
    )


def _find_tls_error(error: BaseException | None) -> ssl.SSLError | None:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _compare_clocks(ours: datetime, theirs: datetime) -> Finding:
    skew_s = (ours - theirs).total_seconds()
    if abs(skew_s) <= MAX_SKEW_S:
        return ok("clock", "The clocks of this machine and of the API agree.")
    direction = "ahead of" if skew_s > 0 else "behind"
    return broken(
        "clock",
        f"The clock of this machine is {abs(skew_s):.0f} seconds {direction} the API's.",
        "Windows such as today and 7d mean other events than you expect.",
        "Set the clock, for example with an NTP service.",
    )


def check_key(api: CheckedApi, kind: KeyKind, key: str | None) -> Iterator[Finding]:
    """Yield whether a key is set and complete, and whether the API accepts it."""
    variable = _VARIABLES[kind]
    if key is None:
        yield note(
            "keys",
            f"{variable} is not set.",
            f"The agent has no tools that {_USES[kind]}.",
            f"Set it to a key that begins with {kind}_, if you need them.",
        )
        return
    parsed = parse_api_key(key)
    if parsed is None:
        why = "The API will refuse it."
        yield broken("keys", f"{variable} is not a complete key.", why, _RESTART)
        return
    try:
        response = api.read(key) if kind is KeyKind.RK else api.send_nothing(key)
    except httpx.HTTPError:
        return  # check_host says so
    code = read_code(response)
    is_accepted = response.is_success or code == ErrorCode.INVALID_PAYLOAD
    if is_accepted:
        yield ok("keys", f"{variable} ({parsed.kind}_{parsed.env}_{parsed.prefix}) is accepted.")
    else:
        reason = f"the API answers {code or response.status_code}"
        why = f"The tools that {_USES[kind]} fail."
        yield broken("keys", f"{variable} is refused: {reason}.", why, _RESTART)
    if parsed.env is KeyEnv.TEST:
        yield note(
            "keys",
            f"{variable} is a test key.",
            "It reads and writes test data, apart from the live data.",
            "Use a key of env live for the real data.",
        )


def read_code(response: httpx.Response) -> Any:  # noqa: ANN401 - whatever the response holds
    """Return the error code of a response, or None."""
    with suppress(ValueError):
        body = response.json()
        return body.get("error") if isinstance(body, dict) else None
    return None


def utc_now() -> datetime:
    return datetime.now(UTC)
