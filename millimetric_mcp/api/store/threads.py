"""Work in threads, called from the event loop."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from millimetric_mcp.errors import StoreUnavailable

_POLL_S = 0.01

P = ParamSpec("P")
ResultT = TypeVar("ResultT")


async def run(
    executor: ThreadPoolExecutor, work: Callable[P, ResultT], *args: P.args, **kwargs: P.kwargs
) -> ResultT:
    """Return what ``work`` returns in a thread.

    Raises:
        StoreUnavailable: the executor is shut down; the work was not done.
    """
    loop = asyncio.get_running_loop()
    try:
        result = loop.run_in_executor(executor, partial(work, *args, **kwargs))
    except RuntimeError:
        raise StoreUnavailable("the event store is closed") from None
    return await result


async def end(executors: Sequence[ThreadPoolExecutor], *, timeout_s: float) -> bool:
    """Return whether the executors' threads end in time; work that had not begun is dropped."""
    for executor in executors:
        executor.shutdown(wait=False, cancel_futures=True)
    waiting = [threading.Thread(target=executor.shutdown, daemon=True) for executor in executors]
    for thread in waiting:
        thread.start()
    deadline_s = time.monotonic() + timeout_s
    while any(thread.is_alive() for thread in waiting):
        if time.monotonic() > deadline_s:
            return False
        await asyncio.sleep(_POLL_S)
    return True
