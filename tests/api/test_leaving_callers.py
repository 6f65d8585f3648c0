"""A read ends when its caller closes the connection."""

import asyncio

WINDOW = b"from=2026-05-01T00:00:00Z&to=2026-06-01T00:00:00Z"


async def test_a_read_is_cancelled_when_its_caller_leaves(quick_api):
    reading, cancelled, sent = asyncio.Event(), asyncio.Event(), []

    async def read(project_id, params):
        reading.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def receive():
        await reading.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    quick_api.store.read = read
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/v1/sources",
        "query_string": WINDOW,
        "headers": [(b"authorization", f"Bearer {quick_api.keys['rk']}".encode())],
    }
    async with asyncio.timeout(60):
        await quick_api.app(scope, receive, send)
        await cancelled.wait()

    assert sent == []
