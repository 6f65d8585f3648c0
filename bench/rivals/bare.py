"""The least a server can do with an event: parse the body and answer. It stores nothing."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def track(request: Request) -> JSONResponse:
    """The answer of ``POST /v1/track``."""
    event = await request.json()
    return JSONResponse({"ok": True, "event_id": event.get("event_id")}, 202)


app = Starlette(routes=[Route("/v1/track", track, methods=["POST"])])
