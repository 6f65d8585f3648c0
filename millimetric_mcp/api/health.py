"""Whether the API can do its work: one check for each thing that it needs."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from millimetric_mcp.errors import StoreError
from millimetric_mcp.web.log import log_failure

CHECK_TIMEOUT_S = 2.0
MAX_AGE_S = 1.0
"""Callers within this time share one result."""

_log = logging.getLogger(__name__)

Check = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether each check succeeded, by name."""

    checks: Mapping[str, bool]

    @property
    def is_ready(self) -> bool:
        return all(self.checks.values())


class Health:
    """Runs the checks, at most once at a time. Belongs to one event loop."""

    def __init__(self, checks: Mapping[str, Check], *, timeout_s: float = CHECK_TIMEOUT_S) -> None:
        """Each of ``checks`` raises StoreError, or returns when what it checks works."""
        self._checks = checks
        self._timeout_s = timeout_s
        self._checking: asyncio.Task[Readiness] | None = None
        self._begun_at_s = 0.0

    async def check(self) -> Readiness:
        """Return which checks succeed within their time."""
        now_s = time.monotonic()
        if self._checking is None or (
            self._checking.done() and now_s - self._begun_at_s > MAX_AGE_S
        ):
            self._begun_at_s = now_s
            self._checking = asyncio.create_task(self._run())
        return await asyncio.shield(self._checking)

    async def _run(self) -> Readiness:
        results = await asyncio.gather(*(self._run_one(name) for name in self._checks))
        return Readiness(dict(zip(self._checks, results, strict=True)))

    async def _run_one(self, name: str) -> bool:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._checks[name]()
        except TimeoutError:
            _log.error("health: %s does not answer in time", name)
        except StoreError as error:
            _log.error("health: %s: %s", name, error)
        except Exception as error:  # noqa: BLE001 - the other checks count too
            log_failure(_log, f"health: {name}", error)
        else:
            return True
        return False
