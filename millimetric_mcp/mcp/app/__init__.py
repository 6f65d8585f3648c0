"""The view that clients with MCP Apps show beside a tool's text.

It is one HTML document: the host's policy allows inline scripts only. The tables and charts are
those of the API's page, whose files are read here without importing the API.
"""

import re
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib import resources

from mcp_types import ClientCapabilities, Resource, TextResourceContents

EXTENSION = "io.modelcontextprotocol/ui"
URI = "ui://millimetric/numbers"
MIME_TYPE = "text/html;profile=mcp-app"
TOOL_META: Mapping[str, object] = {"ui": {"resourceUri": URI}}

PUBLISHED = Resource(
    uri=URI,
    name="numbers",
    title="Numbers",
    description="Shows the results of top_sources, stats and funnel as tables and charts.",
    mime_type=MIME_TYPE,
)
_META = {"ui": {"prefersBorder": True}}
_PAGE = ("api", "page")
_OWN = ("mcp", "app")
_SCRIPTS = ((*_PAGE, "chart.js"), (*_PAGE, "elements.js"), (*_OWN, "view.js"))
_STYLES = ((*_PAGE, "page.css"), (*_OWN, "view.css"))
_MODULE_WORDS = re.compile(r"^import .*\n|^export ", re.MULTILINE)
_DOCUMENT = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Millimetric</title>
<style>{style}</style>
</head>
<body>
<main id="view"><p class="quiet">Waiting for the numbers …</p></main>
<script type="module">{script}</script>
</body>
</html>
"""


def is_shown_by(capabilities: ClientCapabilities | None) -> bool:
    """Return whether the client announces that it shows such views."""
    extensions = (capabilities and capabilities.extensions) or {}
    return MIME_TYPE in (extensions.get(EXTENSION, {}).get("mimeTypes") or ())


def read_view() -> TextResourceContents:
    """Return the document; it is the same for every caller and holds no data."""
    return TextResourceContents(uri=URI, mime_type=MIME_TYPE, text=build_document(), _meta=_META)


@cache
def build_document() -> str:
    """Return the HTML document, which allows itself its own script and style and nothing else."""
    script = "".join(_MODULE_WORDS.sub("", _read(path)) for path in _SCRIPTS)
    style = "".join(_read(path) for path in _STYLES)
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return _DOCUMENT.format(policy=policy, style=style, script=script)


def _read(path: tuple[str, ...]) -> str:
    return resources.files("millimetric_mcp").joinpath(*path).read_text("utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
