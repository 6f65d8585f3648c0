"""Access logs: each page that was shown to a person becomes a page view.

Left out are bots, assets (images, scripts, …), errors, redirects and other methods than GET.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

from pydantic_core import from_json

from millimetric_mcp.api.ingest.enrich import parse_user_agent
from millimetric_mcp.cli.imports.files import SourceFile
from millimetric_mcp.cli.imports.records import (
    Event,
    Item,
    LeftOut,
    Reading,
    Rejected,
    join_url,
    read_time,
)

# Apache's documentation of mod_log_config: "combined" and "common", with %v:%p in front in
# "vhost_combined"; nginx's "combined" is the same. Fields after the User-Agent are ignored.
_QUOTED = r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"'
_HOST = r"(?:([^\s:\"]++)(?::\d+)? )?"
_REST = (
    r"\[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "
    rf"{_QUOTED} (\d{{3}}) \S+(?: {_QUOTED} {_QUOTED})?"
)
_LINE = re.compile(rf"{_HOST}([0-9A-Fa-f:.]*[:.][0-9A-Fa-f:.]+) \S+ [^\[]*+{_REST}")
# With HostnameLookups, Apache writes the visitor's host name instead of the address.
_NAMED_LINE = re.compile(rf"{_HOST}([A-Za-z0-9][\w.-]*+) - [^\[]*+{_REST}")
_MAX_IP_CHARS = 64
_REQUEST = re.compile(r"([A-Z]+) (.*?)(?: HTTP/[\d.]+)?", re.DOTALL)
_ANY_LINE = re.compile(r'\S+ .*\[\d\d/[A-Z][a-z]{2}/\d{4}:[\d:]{8} [+-]\d{4}\] "')
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|(.))")
_ABSOLUTE = re.compile(r"https?://[^/]+", re.IGNORECASE)
_MONTHS = {
    "Jan": "01",
    "Feb": "02",
    "Mar": "03",
    "Apr": "04",
    "May": "05",
    "Jun": "06",
    "Jul": "07",
    "Aug": "08",
    "Sep": "09",
    "Oct": "10",
    "Nov": "11",
    "Dec": "12",
}
_ASSETS = re.compile(
    r"\.(?:7z|apk|atom|avif|bin|bmp|bz2|css|dmg|doc|docx|eot|exe|gif|gz|ico|iso|jpe?g|js|json|m3u8"
    r"|m4a|m4s|map|mjs|mov|mp3|mp4|mpd|msi|ogg|opus|otf|pdf|png|ppt|pptx|rar|rss|svg|svgz|tar|tgz"
    r"|tiff?|ts|ttf|txt|wasm|wav|webm|webmanifest|webp|woff2?|xls|xlsx|xml|xz|zip)$"
    r"|^/\.well-known/|^/cdn-cgi/",
    re.IGNORECASE,
)


def is_combined(sample: bytes) -> bool:
    """Return whether half of the lines look like combined or common log lines."""
    lines = [line for line in sample.decode("utf-8", "replace").splitlines() if line][:20]
    return 0 < len(lines) <= 2 * sum(map(bool, map(_ANY_LINE.match, lines)))


def read_combined(file: SourceFile, reading: Reading) -> Iterator[Item]:
    """Read a log of Apache or nginx, in the combined or common format."""
    for number, raw in file.lines():
        line = raw.decode("utf-8", "replace")
        found = _LINE.match(line) or _NAMED_LINE.match(line)
        request = _REQUEST.fullmatch(found[4]) if found else None
        if found and request is None and found[5].startswith("4"):
            yield Item(number, LeftOut("errors"), line)  # TLS to a port without it, scanners
            continue
        if found is None or request is None:
            yield Item(number, Rejected("is not a line of a combined or common log"), line)
            continue
        host, ip, time, _, status, referrer, user_agent = found.groups()
        method, target = request.groups()
        if "\\" in line:
            target, referrer, user_agent = map(_unescape, (target, referrer, user_agent))
        yield Item(
            number,
            _read_request(
                reading,
                _LogEntry(
                    time=_read_log_time(time),
                    method=method,
                    host=host,
                    target=target or "",
                    status=status,
                    ip=ip[:_MAX_IP_CHARS],
                    referrer=referrer,
                    user_agent=user_agent,
                ),
            ),
            line,
        )


def is_caddy(sample: bytes) -> bool:
    """Return whether the first line is one of Caddy's access log."""
    line = sample.partition(b"\n")[0]
    return re.search(rb'"request": ?\{', line) is not None and b'"uri":' in line


def read_caddy(file: SourceFile, reading: Reading) -> Iterator[Item]:
    """Read Caddy's access log in JSON.

    Caddy's documentation of the log directive: ts, status, and request with client_ip, method,
    host, uri and headers.
    """
    for number, line in file.lines():
        try:
            entry = from_json(line)
            request = entry["request"]
            headers = {name.lower(): value for name, value in request["headers"].items()}
            found = _read_request(
                reading,
                _LogEntry(
                    time=read_time(entry["ts"], reading.zone),
                    method=request["method"],
                    host=request["host"],
                    target=request["uri"],
                    status=str(entry["status"]),
                    ip=request.get("client_ip") or request["remote_ip"],
                    referrer=next(iter(headers.get("referer", ())), None),
                    user_agent=next(iter(headers.get("user-agent", ())), None),
                ),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            yield Item(number, Rejected("is not an entry of Caddy's access log"), line)
        else:
            yield Item(number, found, line)


def is_cloudfront(sample: bytes) -> bool:
    """Return whether the file begins as CloudFront's standard logs do."""
    return sample.startswith(b"#Version:") and b"#Fields:" in sample[:1000]


def read_cloudfront(file: SourceFile, reading: Reading) -> Iterator[Item]:
    """Read CloudFront's standard log, whose second line names the fields.

    CloudFront's reference of standard logs: tab-separated; texts are percent-encoded.
    """
    names: list[str] = []
    for number, raw in file.lines():
        line = raw.decode("utf-8", "replace")
        if line.startswith("#"):
            if line.startswith("#Fields:"):
                names = line.removeprefix("#Fields:").split()
            continue
        entry = dict(zip(names, line.split("\t"), strict=False))
        try:
            query = entry["cs-uri-query"]
            found = _read_request(
                reading,
                _LogEntry(
                    time=f"{entry['date']}T{entry['time']}Z",
                    method=entry["cs-method"],
                    host=entry.get("x-host-header") or entry["cs(Host)"],
                    target=entry["cs-uri-stem"] + (f"?{query}" if query != "-" else ""),
                    status=entry["sc-status"],
                    ip=entry["c-ip"],
                    referrer=unquote(entry["cs(Referer)"]),
                    user_agent=unquote(unquote(entry["cs(User-Agent)"])),
                ),
            )
        except KeyError as missing:
            field = missing.args[0]
            yield Item(number, Rejected(f"has no field {field} of CloudFront's logs"), line)
        else:
            yield Item(number, found, line)


class _LogEntry(NamedTuple):
    time: str
    method: str
    host: str | None
    target: str
    status: str
    ip: str
    referrer: str | None
    user_agent: str | None


def _read_request(reading: Reading, request: _LogEntry) -> Event | LeftOut:
    """Return the page view of a request, or why it is none."""
    host, target, status = request.host, request.target, request.status
    referrer, user_agent = request.referrer, request.user_agent
    if request.method != "GET":
        return LeftOut("other methods than GET")
    if status[0] != "2" and status != "304":
        return LeftOut("redirects" if status[0] == "3" else "errors")
    if absolute := _ABSOLUTE.match(target):
        host = host or absolute[0].partition("://")[2]
        target = target[absolute.end() :] or "/"
    path, _, query = target.partition("?")
    if not reading.keeps_assets and _ASSETS.search(path):
        return LeftOut("assets")
    is_known = user_agent and user_agent != "-"
    if is_known and not reading.keeps_bots and parse_user_agent(user_agent).is_bot:
        return LeftOut("bots")
    event = {"event": "$pageview", "timestamp": request.time, "ip": request.ip}
    event["url"] = join_url(host, path, query, reading) or ""
    if is_known and user_agent:
        event["user_agent"] = user_agent
    if referrer and referrer != "-":
        event["referrer"] = referrer
    return event


@lru_cache(maxsize=4)
def _read_log_time(text: str) -> str:
    """Return "16/May/2026:19:00:00 +0200" as ISO 8601; many lines have the same second."""
    month = _MONTHS.get(text[3:6], "00")
    return f"{text[7:11]}-{month}-{text[:2]}T{text[12:20]}{text[21:24]}:{text[24:]}"


def _unescape(text: str | None) -> str | None:
    r"""Return a text as it was before Apache or nginx wrote bytes as \xHH and quotes as \"."""
    if text is None or "\\x" not in text:
        return text and _ESCAPE.sub(r"\2", text)
    raw = _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else found[2], text)
    try:
        return raw.encode("latin-1").decode("utf-8", "replace")
    except UnicodeEncodeError:
        return raw
