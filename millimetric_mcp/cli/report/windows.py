"""The windows of a report: whole local days up to now, and as many days before. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from millimetric_mcp.contract.reads import Interval
from millimetric_mcp.contract.validation import start_of_day
from millimetric_mcp.errors import SettingsError

DAYS = {"today": 1, "7d": 7, "30d": 30, "90d": 90}
"""The named ranges: so many days, today included."""
_DAY = timedelta(days=1)
_MAX_COLUMNS = 48


@dataclass(frozen=True, slots=True)
class Period:
    """UTC moments: from ``start`` up to, not including, ``end``."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Range:
    """What a report is about: a window, and the one before it until the same time of day.

    ``first`` and ``last`` are its local days, both included. ``today`` is None if the range is
    today itself.
    """

    name: str
    zone: ZoneInfo
    first: date
    last: date
    window: Period
    before: Period
    today: tuple[Period, Period] | None

    @property
    def interval(self) -> Interval:
        """Return the interval of which at most 48 buckets lie in the window, or a month."""
        days = (self.last - self.first).days + 1
        if days <= 2:
            return Interval.HOUR
        if days <= _MAX_COLUMNS:
            return Interval.DAY
        return Interval.WEEK if days <= 7 * (_MAX_COLUMNS - 1) else Interval.MONTH

    def list_buckets(self) -> Iterator[datetime]:
        """Yield the UTC moments at which the window's buckets begin."""
        if self.interval is Interval.HOUR:
            moment = self.window.start
            while moment < self.window.end:
                yield moment
                moment += timedelta(hours=1)
            return
        day = self.first
        if self.interval is Interval.WEEK:
            day -= timedelta(days=day.weekday())
        if self.interval is Interval.MONTH:
            day = day.replace(day=1)
        while (moment := start_of_day(day, self.zone)) < self.window.end:
            yield moment
            day = _next(day, self.interval)


def find_range(
    name: str, first_day: str | None, last_day: str | None, zone: ZoneInfo, now: datetime
) -> Range:
    """Return a named range, or that of two days ``YYYY-MM-DD``, of which the last may be missing.

    Raises:
        SettingsError: a day is wrong.
    """
    now = now.replace(microsecond=0)
    today = now.astimezone(zone).date()
    first, last = today - (DAYS[name] - 1) * _DAY, today
    if first_day or last_day:
        first, last = _read_days(first_day, last_day, today)
        name = "custom"
    window, before = _find_windows(first, last, zone, now)
    of_today = None if first == today else _find_windows(today, today, zone, now)
    return Range(name, zone, first, last, window, before, of_today)


def _read_days(first_day: str | None, last_day: str | None, today: date) -> tuple[date, date]:
    errors: list[str] = []
    found = {"--first-day": today, "--last-day": today}
    for option, text in zip(found, (first_day, last_day), strict=True):
        try:
            found[option] = date.fromisoformat(text) if text else today
        except ValueError:
            errors.append(f"{option}: Use a day such as 2026-05-31.")
    first, last = found["--first-day"], min(found["--last-day"], today)
    if first_day is None:
        errors.append("--last-day goes with --first-day.")
    elif not errors and first > last:
        errors.append("--first-day must not be after --last-day, or in the future.")
    if errors:
        raise SettingsError(errors)
    return first, last


def _find_windows(first: date, last: date, zone: ZoneInfo, now: datetime) -> tuple[Period, Period]:
    start, end = start_of_day(first, zone), min(start_of_day(last + _DAY, zone), now)
    earlier = start_of_day(first - (last - first + _DAY), zone)
    return Period(start, end), Period(earlier, min(start, earlier + (end - start)))


def _next(day: date, interval: Interval) -> date:
    if interval is Interval.MONTH:
        return (day + timedelta(days=31)).replace(day=1)
    return day + (7 * _DAY if interval is Interval.WEEK else _DAY)
