"""A Starlette application with the log, CORS and error responses of both servers."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from millimetric_mcp.web.errors import ANY_ERROR, EXPECTED_ERRORS, CatchAll, respond
from millimetric_mcp.web.log import CLIENT_CLOSED_REQUEST, Log, RequestLog

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
        app.middleware_stack = Shortcuts(
            app.build_middleware_stack(), shortcuts, log=log, cors=cors
        )
    return app


async def _handle(request: Request, error: Exception) -> Response:
    return respond(error, request.scope)


class Shortcuts:
    """Answers POST requests to some paths in one layer, before those of ``app`` and its routing.

    Those take half of the time of a small request. What the layers do is done here by the same
    functions: the line of the log, CORS, and the responses to errors.
    """

    def __init__(
        self, app: ASGIApp, answers: Mapping[str, Answer], *, log: Log, cors: Middleware
    ) -> None:
        self._app = app
        self._answers = answers
        self._log = log
        self._shortcut: ASGIApp = cors.cls(self._answer, *cors.args, **cors.kwargs)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_short = (
            scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in self._answers
        )
        await (self._shortcut if is_short else self._app)(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started_s = time.perf_counter()
        status = CLIENT_CLOSED_REQUEST
        try:
            try:
                response = await self._answers[scope["path"]](Request(scope, receive))
            except ClientDisconnect:
                return
            except ANY_ERROR as error:
                response = respond(error, scope)
            status = response.status_code
            await response(scope, receive, send)
        except ANY_ERROR as error:
            respond(error, scope)  # a response has begun, so the error is only in the log
        finally:
            self._log.write_request(scope, status=status, started_s=started_s)
