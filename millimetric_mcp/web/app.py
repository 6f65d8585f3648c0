"""A Starlette application with the log, CORS and error responses of both servers."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from millimetric_mcp.web.errors import EXPECTED_ERRORS, CatchAll, respond
from millimetric_mcp.web.log import Log, RequestLog

Answer = Callable[[Request], Awaitable[Response]]


def build_web_app(
    routes: Sequence[BaseRoute],
    *,
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]],
    log: Log,
    cors: Middleware,
    shortcuts: Mapping[str, Answer] | None = None,
) -> Starlette:
    """Return the application; ``cors`` is a `Cors`.

    ``shortcuts`` are what answers POST requests to some paths of ``routes``, see `Shortcuts`.
    """
    middleware = [Middleware(RequestLog, log), cors, Middleware(CatchAll)]
    app = Starlette(
        routes=list(routes),
        middleware=middleware,
        exception_handlers=dict.fromkeys(EXPECTED_ERRORS, _handle),
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # another path is another path: 404, not 307
    if shortcuts:
        app.middleware_stack = Shortcuts(app.build_middleware_stack(), shortcuts, middleware)
    return app


async def _handle(request: Request, error: Exception) -> Response:
    return respond(error, request.scope)


class Shortcuts:
    """Answers POST requests to some paths without Starlette's own layers and routing.

    These take a quarter of the time of a small request. The log, CORS and error responses are
    the same.
    """

    def __init__(
        self, app: ASGIApp, answers: Mapping[str, Answer], middleware: Sequence[Middleware]
    ) -> None:
        self._app = app
        self._answers = answers
        self._shortcut: ASGIApp = self._answer
        for layer in reversed(middleware):
            self._shortcut = layer.cls(self._shortcut, *layer.args, **layer.kwargs)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_short = (
            scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in self._answers
        )
        await (self._shortcut if is_short else self._app)(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._answers[scope["path"]](Request(scope, receive))
        except EXPECTED_ERRORS as error:
            response = respond(error, scope)
        await response(scope, receive, send)
