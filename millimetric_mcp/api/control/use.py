"""Notes on which day each key was last used, without a database query for each request."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

SaveDays = Callable[[Mapping[str, datetime]], object]


class KeyUse:
    """Collects the keys that were used, and saves each key's day once.

    ``save_days`` stores days by prefix. ``clock`` returns the UTC time.
    """

    def __init__(self, save_days: SaveDays, *, clock: Callable[[], datetime]) -> None:
        self._save_days = save_days
        self._clock = clock
        self._ends_at: dict[str, datetime] = {}
        self._unsaved: dict[str, datetime] = {}

    def note(self, prefix: str) -> None:
        """Note that a key is used now."""
        now, ends_at = self._clock(), self._ends_at.get(prefix)
        if ends_at is None or now >= ends_at:
            day = now.replace(hour=0, minute=0, second=0, microsecond=0)
            self._ends_at[prefix] = day + timedelta(days=1)
            self._unsaved[prefix] = day

    def save(self) -> None:
        """Store the days that are not stored yet.

        Raises:
            StoreUnavailable: the database failed; the next call tries again.
        """
        days = dict(self._unsaved)
        if days:
            self._save_days(days)
        for prefix, day in days.items():
            if self._unsaved.get(prefix) == day:
                del self._unsaved[prefix]
