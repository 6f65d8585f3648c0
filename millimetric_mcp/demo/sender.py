"""Batches through POST /v1/batch: a few at a time, at the pace the API asks for."""

import asyncio
from collections.abc import Callable, Iterable, Iterator

import httpx

from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.endpoints import BATCH
from millimetric_mcp.demo.payload import Batch
from millimetric_mcp.errors import DemoFailed

CONNECTIONS = 4
TIMEOUT_S = 30.0
MAX_ATTEMPTS = 10
MAX_WAIT_S = 30.0
TRY_AGAIN = frozenset({429, 503})
"""Statuses that say nothing was stored: only these are sent again, so every count stays exact."""


async def send_batches(
    batches: Iterable[Batch],
    *,
    url: str,
    key: str,
    on_sent: Callable[[int], None],
    transport: httpx.AsyncBaseTransport | None = None,
) -> None:
    """Every batch, acknowledged; ``on_sent`` takes the events of each as it is.

    ``batches`` is read as connections become free, never ahead.

    Raises:
        DemoFailed: the API refused a batch, or can't be reached.
    """
    limits = httpx.Limits(max_connections=CONNECTIONS)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    async with httpx.AsyncClient(
        base_url=url,
        headers=headers,
        timeout=TIMEOUT_S,
        limits=limits,
        transport=transport,
        trust_env=False,
    ) as client:
        waiting = iter(batches)
        workers = [
            asyncio.create_task(_send_each(client, waiting, on_sent)) for _ in range(CONNECTIONS)
        ]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)


async def _send_each(
    client: httpx.AsyncClient, waiting: Iterator[Batch], on_sent: Callable[[int], None]
) -> None:
    for batch in waiting:
        on_sent(await _send(client, batch))


async def _send(client: httpx.AsyncClient, batch: Batch) -> int:
    headers = {"User-Agent": batch.device.user_agent}
    for _ in range(MAX_ATTEMPTS):
        try:
            response = await client.post(BATCH.path, content=batch.body, headers=headers)
        except httpx.TransportError as error:
            raise DemoFailed(f"the API broke off a batch: {type(error).__name__}") from None
        if response.status_code not in TRY_AGAIN:
            return _read_count(response, batch)
        await asyncio.sleep(_read_wait_s(response))
    raise DemoFailed(f"the API was still busy after {MAX_ATTEMPTS} attempts at one batch")


def _read_wait_s(response: httpx.Response) -> float:
    try:
        return min(max(float(response.headers["Retry-After"]), 0.05), MAX_WAIT_S)
    except (KeyError, ValueError):
        return 1.0


def _read_count(response: httpx.Response, batch: Batch) -> int:
    try:
        answer = response.json()
    except ValueError:
        answer = None
    answer = answer if isinstance(answer, dict) else {}
    if response.status_code == BATCH.status and answer.get("count") == batch.count:
        return batch.count
    code = answer.get("error")
    named = f" {code}" if code in list(ErrorCode) else ""
    raise DemoFailed(f"the API answered a batch with {response.status_code}{named}")
