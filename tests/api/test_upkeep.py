"""What the API does by itself: erasures until they are done, expiry by day, and an end to both."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from millimetric_mcp.api.upkeep import Upkeep
from millimetric_mcp.contract.keys import KeyKind
from millimetric_mcp.errors import StoreUnavailable

END_TIMEOUT_S = 5


def make_upkeep(api: Any, *, default_retention_days: int | None = None) -> Upkeep:
    return Upkeep(
        control=api.control,
        store=api.store,
        clock=api.clock,
        default_retention_days=default_retention_days,
    )


async def test_it_ends_when_it_is_closed_in_the_moment_it_is_woken(quick_api):
    upkeep = make_upkeep(quick_api)
    upkeep.start()
    await asyncio.sleep(0.1)  # both loops wait now

    upkeep.wake()

    await asyncio.wait_for(upkeep.close(), END_TIMEOUT_S)
