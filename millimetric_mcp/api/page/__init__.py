"""What browsers load from the API: ``a.js``, the script of web pages, built from ``clients/js``."""

from functools import cache
from hashlib import sha256
from importlib import resources

from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from millimetric_mcp.contract.endpoints import SCRIPT_PATH

_CACHE_CONTROL = "public, max-age=3600, stale-while-revalidate=86400"
"""A new version reaches every page within the hour."""


def list_routes() -> list[Route]:
    """Return the routes of the files; none needs a key."""
    return [Route(SCRIPT_PATH, _serve_script, middleware=[Middleware(GZipMiddleware)])]


@cache
def read_script() -> tuple[bytes, str]:
    """Return the text of ``a.js`` and its ETag."""
    text = (resources.files(__package__) / "a.js").read_bytes()
    # Weak: the same for the plain and the compressed response.
    return text, f'W/"{sha256(text).hexdigest()[:32]}"'


async def _serve_script(request: Request) -> Response:
    text, etag = read_script()
    headers = {
        "ETag": etag,
        "Cache-Control": _CACHE_CONTROL,
        # Pages of any origin, isolated ones too. A cache may answer a request that has no Origin.
        "Access-Control-Allow-Origin": "*",
        "Cross-Origin-Resource-Policy": "cross-origin",
        "X-Content-Type-Options": "nosniff",
    }
    known = [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]
    if etag in known:
        return Response(status_code=304, headers=headers)
    return Response(text, media_type="text/javascript", headers=headers)
