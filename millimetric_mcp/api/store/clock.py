"""When events arrive, by a clock that never goes back."""

from collections.abc import Callable
from datetime import datetime, timedelta

from millimetric_mcp.contract.validation import EPOCH


class ArrivalClock:
    """Gives each request another time, later than all before it and than ``newest_us``.

    Where the system's clock was put back, the times go on from the newest by a microsecond each:
    a deletion takes exactly what arrived before it. ``clock_us`` is microseconds since 1970.
    """

    def __init__(self, *, newest_us: int, clock_us: Callable[[], int]) -> None:
        self._newest_us = newest_us
        self._clock_us = clock_us

    def next_us(self) -> int:
        """Return the time of a request that arrives now, in microseconds since 1970."""
        self._newest_us = max(self._clock_us(), self._newest_us + 1)
        return self._newest_us

    def next_time(self) -> datetime:
        """Return the same as a UTC time."""
        return EPOCH + timedelta(microseconds=self.next_us())
