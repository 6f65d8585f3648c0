"""What browsers load: ``a.js`` for web sites, built from ``clients/js``, and the page of ``/``."""

from collections.abc import Mapping
from functools import cache, partial
from hashlib import sha256
from importlib import resources
from types import MappingProxyType

from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from millimetric_mcp.contract.endpoints import PAGE_FILES, PAGE_FILES_PATH, PAGE_PATH, SCRIPT_PATH

_SCRIPT_HEADERS = MappingProxyType(
    {
        # A new version reaches every page within the hour.
        "Cache-Control": "public, max-age=3600, stale-while-revalidate=86400",
        # Pages of any origin, isolated ones too. A cache may answer a request that has no Origin.
        "Access-Control-Allow-Origin": "*",
        "Cross-Origin-Resource-Policy": "cross-origin",
        "X-Content-Type-Options": "nosniff",
    }
)
_PAGE_HEADERS = MappingProxyType(
    {
        # Modules of two versions don't fit together: each load asks whether its copy is current.
        "Cache-Control": "no-cache",
        "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
        "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
)
_MEDIA_TYPES = {"js": "text/javascript", "css": "text/css", "html": "text/html"}


def list_routes() -> list[Route]:
    """Return the routes of the files; none needs a key."""
    compressed = [Middleware(GZipMiddleware)]
    return [
        Route(path, partial(_serve, name, headers), middleware=compressed)
        for path, name, headers in (
            (SCRIPT_PATH, "a.js", _SCRIPT_HEADERS),
            (PAGE_PATH, "index.html", _PAGE_HEADERS),
            *((PAGE_FILES_PATH + name, name, _PAGE_HEADERS) for name in PAGE_FILES),
        )
    ]


@cache
def _read(name: str) -> tuple[bytes, str]:
    """Return a file's text and its ETag."""
    text = (resources.files(__package__) / name).read_bytes()
    # Weak: the same for the plain and the compressed response.
    return text, f'W/"{sha256(text).hexdigest()[:32]}"'


async def _serve(name: str, headers: Mapping[str, str], request: Request) -> Response:
    text, etag = _read(name)
    sent = {"ETag": etag, **headers}
    known = [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]
    if etag in known:
        return Response(status_code=304, headers=sent)
    return Response(text, media_type=_MEDIA_TYPES[name.rpartition(".")[2]], headers=sent)
