"""A Starlette application with the log, CORS and error responses of both servers."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from millimetric_mcp.web.errors import EXPECTED_ERRORS, CatchAll
from millimetric_mcp.web.log import Log, RequestLog


def build_web_app(
    routes: Sequence[BaseRoute],
    *,
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]],
    log: Log,
    cors: Middleware,
) -> Starlette:
    """Return the application; ``cors`` is a `Cors`."""
    app = Starlette(
        routes=list(routes),
        middleware=[Middleware(RequestLog, log), cors, Middleware(CatchAll)],
        exception_handlers=EXPECTED_ERRORS,
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # another path is another path: 404, not 307
    return app
