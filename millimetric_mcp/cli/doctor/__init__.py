"""``millimetric-mcp doctor``: why no data arrives, or why an agent can't read it."""

import argparse
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from millimetric_mcp import __version__
from millimetric_mcp.cli.clients import Places
from millimetric_mcp.cli.doctor import connection, machine
from millimetric_mcp.cli.doctor.finding import Finding, Level, broken, note, ok
from millimetric_mcp.cli.doctor.site import check_site
from millimetric_mcp.cli.output import print_json
from millimetric_mcp.contract.keys import KeyKind, parse_api_key
from millimetric_mcp.errors import SettingsError
from millimetric_mcp.settings import (
    LOCAL,
    ApiSettings,
    ServeSettings,
    Setting,
    list_settings,
    read_settings,
)

TIMEOUT_S = 10.0

_MARKS = {Level.OK: "ok    ", Level.NOTE: "note  ", Level.BROKEN: "BROKEN"}
_WIDTH = 80
_INDENT = " " * 8


@dataclass(frozen=True, slots=True)
class Target:
    """The API to look at: no ``url`` if none runs."""

    url: str | None
    read_key: str | None = None
    write_key: str | None = None


def run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print every finding; return 1 if something is broken."""
    with _open_http() as http:
        findings = list(_find_all(options, environ, http))
    is_broken = any(finding.level is Level.BROKEN for finding in findings)
    if options.json:
        listed = [asdict(finding) for finding in findings]
        settings = list_sources(environ, is_local=options.local)
        facts = {"ok": not is_broken, "settings": settings, "findings": listed}
        print_json(facts)
    else:
        sys.stdout.write(_render(findings, list_sources(environ, is_local=options.local)))
    return 1 if is_broken else 0


def _open_http() -> httpx.Client:
    # A proxy of the environment would connect to its own loopback address.
    direct = {f"all://{host}": httpx.HTTPTransport() for host in ("127.0.0.1", "localhost")}
    headers = {"User-Agent": f"millimetric-mcp/{__version__} doctor"}
    try:
        return httpx.Client(timeout=TIMEOUT_S, headers=headers, mounts=direct)
    except (OSError, ValueError, httpx.InvalidURL):
        sentence = "The proxy or certificate variables of the environment can't be used. Correct "
        names = "HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY or SSL_CERT_FILE."
        raise SettingsError([sentence + names]) from None


def _find_all(
    options: argparse.Namespace, environ: Mapping[str, str], http: httpx.Client
) -> Iterator[Finding]:
    given = {"api_url": LOCAL} if options.local else {}
    try:
        settings = read_settings(ServeSettings, environ=environ, options=given)
    except SettingsError as error:
        for sentence in error.errors:
            yield broken("settings", sentence, "The server does not start.", "Correct it.")
        return
    yield ok("settings", "Every setting is valid.")
    is_local = settings.api_url == LOCAL
    yield from machine.check_extras(needs_api=is_local)
    if is_local:
        findings, target = _find_local(environ)
        yield from findings
    else:
        target = Target(settings.api_url, *_reveal(settings))
    yield from _check_api(target, http, options.site)
    yield from machine.check_clients(Places(Path.home(), Path.cwd(), environ))


def _reveal(settings: ServeSettings) -> tuple[str | None, str | None]:
    read_key, write_key = settings.read_key, settings.write_key
    return (
        read_key.get_secret_value() if read_key else None,
        write_key.get_secret_value() if write_key else None,
    )


def _find_local(environ: Mapping[str, str]) -> tuple[list[Finding], Target]:
    """Return what is found of the local API on this machine, and the API."""
    from millimetric_mcp.cli import localapi  # noqa: PLC0415 - Linux and macOS only

    try:
        settings = read_settings(ApiSettings, environ=environ, options={})
        local = localapi.LocalApi.find(environ)
        keys = localapi.read_keys(local.keys_file) or {}
    except SettingsError as error:
        why = "The local API does not start."
        return [broken("settings", text, why, "Correct it.") for text in error.errors], Target(None)
    running = local.find_running()
    url = running.url if running else None
    findings = [
        *machine.check_resources(local.data_dir, store_memory_mb=settings.store_memory_mb),
        machine.check_port(settings.port, running_url=url),
    ]
    if not url:
        why = "Its agents start it, and it stops an hour after the last request."
        action = "Ask your agent something, or run: millimetric-mcp api"
        findings.append(note("host", "The local API does not run.", why, action))
        return findings, Target(None)
    return findings, Target(url, keys.get("MILLIMETRIC_RK"), keys.get("MILLIMETRIC_KEY"))


def _check_api(target: Target, http: httpx.Client, site: str | None) -> Iterator[Finding]:
    if target.url is None:
        if site:
            why = "The site's events can't be looked for."
            yield broken("site", "No API runs.", why, "Start it, and run this again.")
        return
    api = connection.CheckedApi(target.url, http, connection.utc_now)
    found = list(connection.check_host(api))
    yield from found
    if any(finding.level is Level.BROKEN for finding in found if finding.check != "clock"):
        return
    yield from connection.check_key(api, KeyKind.RK, target.read_key)
    yield from connection.check_key(api, KeyKind.SK, target.write_key)
    if site:
        yield from check_site(site, api, target.read_key)


def list_sources(environ: Mapping[str, str], *, is_local: bool) -> list[dict[str, Any]]:
    """Return each setting's value and where it came from; secrets are masked."""
    given = {"MILLIMETRIC_HOST": {"value": LOCAL, "source": "--local"}} if is_local else {}
    return [
        {
            "setting": setting.variable,
            "value": _mask(setting, environ.get(setting.variable)),
            "source": "environment" if environ.get(setting.variable) else "default",
        }
        | given.get(setting.variable, {})
        for setting in list_settings(ServeSettings)
    ]


def _mask(setting: Setting, value: str | None) -> str | None:
    if not value:
        return setting.default_text or None
    if setting.option or setting.variable == "MILLIMETRIC_HOST":
        return value
    key = parse_api_key(value)
    return f"{key.kind}_{key.env}_{key.prefix}_…" if key else "(hidden)"


def _render(findings: Sequence[Finding], settings: Sequence[Mapping[str, Any]]) -> str:
    lines = [f"millimetric-mcp {__version__} on Python {sys.version.split()[0]}", ""]
    given = [fact for fact in settings if fact["source"] != "default"]
    lines += [f"{fact['setting']} = {fact['value']}  ({fact['source']})" for fact in given]
    lines += [""] if given else []
    for finding in findings:
        lines += _wrap(f"{_MARKS[finding.level]}  {finding.what}")
        if finding.level is not Level.OK:
            lines += [f"{_INDENT}{line}" for line in _wrap(finding.why, _WIDTH - 8)]
            lines += _wrap(f"{_INDENT}-> {finding.action}")
    count = sum(finding.level is Level.BROKEN for finding in findings)
    lines += ["", "Nothing is broken." if not count else f"Broken: {count}."]
    return "\n".join(lines) + "\n"


def _wrap(text: str, width: int = _WIDTH) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        subsequent_indent=_INDENT if width == _WIDTH else "",
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
