"""What `doctor` looks at on a website: its script tag, and what may keep events from arriving."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import httpx

from millimetric_mcp.cli.doctor.connection import CheckedApi, read_code
from millimetric_mcp.cli.doctor.finding import Finding, broken, note, ok
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.endpoints import SCRIPT_PATH
from millimetric_mcp.contract.keys import ApiKey, KeyKind, parse_api_key

_NO_EVENTS = "The page sends no events."
_CSP = "content-security-policy"


@dataclass(frozen=True, slots=True)
class SitePage:
    """A page of the website: its address, the tags of the script, and its policies."""

    url: str
    tags: Sequence[dict[str, str]]
    policies: Sequence[str] = field(default=())

    @property
    def origin(self) -> str:
        return _origin(self.url)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[dict[str, str]] = []
        self.policies: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "script" and urlsplit(given.get("src", "")).path.endswith(SCRIPT_PATH):
            self.tags.append(given)
        if tag == "meta" and given.get("http-equiv", "").lower() == _CSP:
            self.policies.append(given.get("content", ""))


def check_site(url: str, api: CheckedApi, read_key: str | None) -> Iterator[Finding]:
    """Yield what the page at ``url`` lacks, from its tag to the events that arrive."""
    try:
        response = api.http.get(url, follow_redirects=True)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        what = f"{url} can't be fetched ({type(error).__name__})."
        is_url = url.startswith(("http://", "https://"))
        fix = "Check the URL." if is_url else f"Write the whole URL: https://{_write_host(url)}."
        yield broken("site", what, "Its script tag can't be checked.", fix)
        return
    if not response.is_success:
        what = f"{url} answers HTTP {response.status_code}."
        yield broken("site", what, "Its script tag can't be checked.", "Check the URL.")
        return
    page = read_page(response)
    if not page.tags:
        yield broken(
            "tag",
            f"{page.url} has no script tag of {SCRIPT_PATH}.",
            _NO_EVENTS,
            "Put it into the page's head: "
            f'<script async src="{api.url}{SCRIPT_PATH}" data-key="pk_..."></script>. '
            f"Create the key with: {_write_create(page)}",
        )
        return
    yield from _check_tag(page, api)
    if read_key:
        yield _check_arrival(api, read_key)


def read_page(response: httpx.Response) -> SitePage:
    """Return what matters of a page."""
    reader = _Reader()
    reader.feed(response.text)
    headers = response.headers.get_list(_CSP, split_commas=True)
    return SitePage(str(response.url), reader.tags, (*headers, *reader.policies))


def _check_tag(page: SitePage, api: CheckedApi) -> Iterator[Finding]:
    tag = page.tags[0]
    script = urljoin(page.url, tag["src"])
    host = urljoin(page.url, tag.get("data-host") or _origin(script)).rstrip("/")
    yield ok("tag", f"{page.url} loads {script}.")
    if len(page.tags) > 1:
        why = "Only the first one counts; the others may have another key."
        yield note("tag", f"It does so {len(page.tags)} times.", why, "Keep one tag.")
    if page.url.startswith("https:") and (script + host).count("https:") != 2:
        why = f"Browsers load nothing unencrypted from an encrypted page. {_NO_EVENTS}"
        yield broken("tag", f"{script} is not encrypted.", why, "Use the API's https:// URL.")
    yield from _check_policies(page, script=script, host=host, nonce=tag.get("nonce", ""))
    key = parse_api_key(tag.get("data-key", ""))
    if key is None or key.kind is not KeyKind.PK:
        yield _describe_wrong_key(page, key)
        return
    try:
        loaded = api.http.get(script)
        sent = replace(api, url=host).send_nothing(key.reveal(), origin=page.origin)
    except httpx.HTTPError as error:
        what = f"{host} can't be reached from here ({type(error).__name__})."
        yield broken("tag", what, _NO_EVENTS, "Check the API's public address.")
        return
    if not loaded.is_success:
        what = f"{script} answers HTTP {loaded.status_code}."
        yield broken("tag", what, _NO_EVENTS, "Use the URL of your API in src.")
    yield _check_key(page, key, sent)


def _describe_wrong_key(page: SitePage, key: ApiKey | None) -> Finding:
    create = f"Create one with: {_write_create(page)}"
    what = "data-key is not a pk_ key."
    if key is None:
        return broken("key", what, f"Pages need a browser key. {_NO_EVENTS}", create)
    why = "Everybody who visits the page can read and use this key."
    return broken("key", what, why, f"Run: millimetric-mcp keys revoke {key.prefix}. {create}")


def _write_create(page: SitePage) -> str:
    return f"millimetric-mcp keys create --kind pk --origin {page.origin}"


def _check_key(page: SitePage, key: ApiKey, sent: httpx.Response) -> Finding:
    create = _write_create(page)
    code = read_code(sent)
    if code == ErrorCode.INVALID_PAYLOAD:
        return ok("key", f"The key pk_{key.env}_{key.prefix} is accepted from {page.origin}.")
    if code == ErrorCode.ORIGIN_NOT_ALLOWED:
        what = f"The key of the tag is not allowed on {page.origin}."
        return broken("key", what, _NO_EVENTS, f"Create one for this origin: {create}")
    what = f"The key of the tag is refused: the API answers {code or sent.status_code}."
    return broken("key", what, _NO_EVENTS, f"Create another one: {create}")


def _check_policies(page: SitePage, *, script: str, host: str, nonce: str) -> Iterator[Finding]:
    blocked = [
        (directive, target)
        for directive, target in (("script-src", script), ("connect-src", host))
        if not all(allows(policy, directive, target, page.url, nonce) for policy in page.policies)
    ]
    for directive, target in blocked:
        yield broken(
            "csp",
            f"The page's Content-Security-Policy forbids {_origin(target)} in {directive}.",
            f"Browsers block the script or its requests. {_NO_EVENTS}",
            f"Add {_origin(target)} to {directive}.",
        )
    if page.policies and not blocked:
        yield ok("csp", "The page's Content-Security-Policy allows the script and its requests.")


def allows(policy: str, directive: str, target: str, page_url: str, nonce: str = "") -> bool:
    """Return whether a Content-Security-Policy allows a URL: of a script, or of a request."""
    lines = [line.split() for line in policy.split(";") if line.strip()]
    directives = {words[0].lower(): words[1:] for words in reversed(lines)}
    names = (f"{directive}-elem", directive) if directive == "script-src" else (directive,)
    found = next((directives[n] for n in (*names, "default-src") if n in directives), None)
    if found is None:
        return True
    if directive == "script-src" and nonce and f"'nonce-{nonce}'" in found:
        return True
    if "'strict-dynamic'" in found and directive == "script-src":
        return False  # hosts don't count then
    return any(_matches(source, target, page_url) for source in found)


def _matches(source: str, target: str, page_url: str) -> bool:
    wanted = urlsplit(target)
    if source == "'self'":
        return _origin(page_url) == _origin(target)
    if source == "*" or source.lower() == f"{wanted.scheme}:":
        return True
    if "://" not in source:
        source = f"{urlsplit(page_url).scheme}://{source}"
    try:
        allowed = urlsplit(source)
        port = allowed.netloc.rpartition(":")[2] if ":" in allowed.netloc else None
    except ValueError:
        return False
    host, name = allowed.hostname or "", wanted.hostname or ""
    is_host = name.endswith(host[1:]) if host.startswith("*.") else name == host
    default = {"http": 80, "https": 443}
    is_port = port == "*" or int(port or default.get(allowed.scheme, 0)) == (
        wanted.port or default.get(wanted.scheme)
    )
    is_scheme = wanted.scheme in {allowed.scheme, "https"}
    is_path = not allowed.path or allowed.path == "/" or wanted.path.startswith(allowed.path)
    upgraded = port is None and (allowed.scheme, wanted.scheme) == ("http", "https")
    return is_host and is_scheme and is_path and (is_port or upgraded)


def _check_arrival(api: CheckedApi, read_key: str) -> Finding:
    try:
        response = api.read(read_key, event="$pageview")
        rows = response.json()["rows"] if response.is_success else []
    except (httpx.HTTPError, ValueError, KeyError):
        rows = []
    if rows:
        return ok("events", f"The last page view arrived at {rows[0]['timestamp']}.")
    return note(
        "events",
        "No page view arrived within the last 24 hours.",
        "Either the page had no visitors, or its events don't reach this project.",
        "Visit the page in a browser without a blocker, and run this again.",
    )


def _write_host(url: str) -> str:
    return url.rpartition("://")[2]


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
