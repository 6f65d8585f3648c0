"""Windows of time: from the names that people use to absolute moments. Pure.

A window contains its start and not its end. Each form has one meaning in the given zone:

=============================  =======================================================
form                           the moment it means
=============================  =======================================================
2026-05-16T19:00:00Z, +02:00   that moment
2026-05-16T19:00               that local time. If clocks go back and it occurs twice:
                               the first one. If clocks go forward and skip it: later
                               by the length of the jump
2026-05-16                     the start of that local day
now                            the end of the current second, so that an event that was
                               just stored is in the window
30m, 24h                       so many minutes or hours before now
7d, 4w, 3mo, 1y                the same local time, so many days, weeks, months or years
                               before now, to the second. The 31st becomes the last day
                               of a shorter month
today, yesterday, this_week,   whole local days, weeks from Monday, months, quarters or
last_week, this_month, …       years. As ``from``: the start of the period. As ``to``:
                               its end, or now if the period has not ended
=============================  =======================================================

Without ``to``, a named period ends at its end, or now if it has not ended; all other windows
end now. Without ``from``, a window starts 30 days before its end. As ``to`` is exclusive, a
date as ``to`` does not include that day.
"""

import difflib
import re
from calendar import monthrange
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo, available_timezones

from millimetric_mcp.contract.validation import (
    EPOCH,
    cut_to_ms,
    is_zone_name,
    parse_timestamp,
    start_of_day,
)
from millimetric_mcp.errors import InvalidArguments

ReadT = TypeVar("ReadT")

DEFAULT_DAYS = 30
END_OF_TIME = datetime(2100, 1, 1, tzinfo=UTC)
_UNITS = ("week", "month", "quarter", "year")
PERIODS = (
    "today",
    "yesterday",
    *(f"{which}_{unit}" for unit in _UNITS for which in ("this", "last")),
)
FORMS = (
    "ISO 8601, a date, now, a length before now (30m, 24h, 7d, 4w, 3mo, 1y), today, yesterday, "
    "or this_ or last_ with week, month, quarter or year"
)
"""Every form in one line."""

_UTC_NAMES = frozenset({"UTC", "Etc/UTC", "Zulu", "Etc/Zulu", "UCT", "Etc/UCT", "Universal"})
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_LOCAL_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?", re.ASCII)
_ELAPSED = {"m": timedelta(minutes=1), "h": timedelta(hours=1)}
_DAYS = {"d": 1, "w": 7}
_MONTHS = {"mo": 1, "y": 12, "month": 1, "quarter": 3, "year": 12}
_LENGTH = re.compile(r"([1-9]\d{0,4})(m|h|d|w|mo|y)", re.ASCII)
_EXAMPLE = "7d, 2026-05-16 or last_month"
_OFFSET = re.compile(r"[+-]\s*\d")


@dataclass(frozen=True, slots=True)
class Window:
    """A resolved window: from ``start_utc`` up to, not including, ``end_utc``.

    ``from_`` and ``to`` are the texts given. ``includes_running_day``: the window contains a
    part of the zone's current day, so its counts still grow.
    """

    start_utc: datetime
    end_utc: datetime
    timezone: str
    from_: str | None = None
    to: str | None = None
    includes_running_day: bool = False

    @property
    def is_empty(self) -> bool:
        """Return whether the window contains no moment."""
        return self.start_utc == self.end_utc

    def previous(self) -> "Window":
        """Return the window of the same length that ends at the start of this one.

        The length is in months if both ends start a local month, else in days if both ends
        have the same local time, else in elapsed time. So April is compared with March, and a
        day with a day even if clocks change. It never starts before 1970.
        """
        zone = ZoneInfo(self.timezone)
        start, end = self.start_utc.astimezone(zone), self.end_utc.astimezone(zone)
        first, last = _write_day_start(start, zone), _write_day_start(end, zone)
        months = (last.year - first.year) * 12 + last.month - first.month
        days = (last.date() - first.date()).days
        if months and _starts_month(first) and _starts_month(last):
            before = _to_utc(_subtract_months(first, months), zone)
        elif days and first.time() == last.time():
            before = _to_utc(first - timedelta(days), zone)
        else:
            before = self.start_utc - (self.end_utc - self.start_utc)
        before = min(max(before, EPOCH), self.start_utc)
        return Window(before, self.start_utc, self.timezone)

    @property
    def is_utc(self) -> bool:
        """Return whether the zone is UTC, by any of its names."""
        return self.timezone in _UTC_NAMES

    def describe(self, *, has_buckets: bool = False) -> str:
        """Return one line with both ends, the zone, and whether the current day is in it."""
        zone = ZoneInfo(self.timezone)
        start, end = _show(self.start_utc, zone), _show(self.end_utc, zone)
        left_out = f" ({self.to} not included)" if self.to and _DATE.fullmatch(self.to) else ""
        if self.is_empty:
            return f"Window: empty; from and to are both {start}, and to is exclusive{left_out}."
        notes = [f"zone {self.timezone}"]
        if has_buckets and not self.is_utc:
            notes.append("buckets are UTC")
        if self.includes_running_day:
            notes.append("includes today, still running")
        return f"Window: {start} to {end} exclusive{left_out}; {'; '.join(notes)}."


@dataclass(frozen=True, slots=True)
class _Clock:
    """The current moment: ``now`` is the end of the current second, ``today`` the local day."""

    zone: ZoneInfo
    now: datetime
    today: date


@dataclass(frozen=True, slots=True)
class _Given:
    """The meaning of one field. Only a named period has an ``end``."""

    start: datetime
    end: datetime | None = None


def resolve_window(from_: str | None, to: str | None, *, timezone: str, now: datetime) -> Window:
    """Return the window that ``from_`` and ``to`` name in ``timezone`` at ``now``.

    Raises:
        InvalidArguments: ``from_``, ``to`` or ``timezone`` is invalid.
    """
    from_, to = from_ and from_.strip(), to and to.strip()
    errors: list[str] = []
    zone = _attempt(errors, lambda: _find_zone(timezone)) or ZoneInfo("UTC")
    second = now.astimezone(UTC).replace(microsecond=0)
    clock = _Clock(zone, second + timedelta(seconds=1), second.astimezone(zone).date())
    given_from = _attempt(errors, lambda: _read("from", from_, clock))
    given_to = _attempt(errors, lambda: _read("to", to, clock))
    if errors:
        raise InvalidArguments(errors)
    if given_to is not None:
        end = given_to.end or given_to.start
    else:
        end = (given_from and given_from.end) or clock.now
    start = given_from.start if given_from else _go_back(end, DEFAULT_DAYS, "d", zone)
    if start < EPOCH:
        raise _out_of_range("from")
    if start > end:
        ends = f"from is {_show(start, zone)}, to is {_show(end, zone)}"
        raise InvalidArguments([f"from: must not be after to; {ends}"])
    return Window(start, end, timezone, from_, to, _overlaps_day(start, end, clock))


def _attempt(errors: list[str], read: Callable[[], ReadT]) -> ReadT | None:
    """Return what ``read`` returns; if it fails, None, and ``errors`` gets its message."""
    try:
        return read()
    except InvalidArguments as error:
        errors += error.errors
        return None


def _out_of_range(name: str) -> InvalidArguments:
    return InvalidArguments([f"{name}: must lie between 1970 and 2100; for example {_EXAMPLE}"])


def _overlaps_day(start: datetime, end: datetime, clock: _Clock) -> bool:
    midnight = start_of_day(clock.today, clock.zone)
    next_midnight = start_of_day(clock.today + timedelta(days=1), clock.zone)
    return start < end and start < next_midnight and end > midnight


def _read(name: str, text: str | None, clock: _Clock) -> _Given | None:
    if text is None:
        return None
    try:
        given = _read_form(text, clock)
    except OverflowError:
        raise _out_of_range(name) from None
    except ValueError:
        sentence = f"{name}: must be {FORMS}; for example {_EXAMPLE}"
        raise InvalidArguments([sentence]) from None
    if not EPOCH <= given.start <= END_OF_TIME:
        raise _out_of_range(name)
    return given


def _read_form(text: str, clock: _Clock) -> _Given:
    if text == "now":
        return _Given(clock.now)
    if text in PERIODS:
        first, after = _period(text, clock.today)
        end = start_of_day(after, clock.zone)
        return _Given(start_of_day(first, clock.zone), min(end, clock.now))
    if match := _LENGTH.fullmatch(text):
        return _Given(_go_back(clock.now, int(match[1]), match[2], clock.zone))
    if _DATE.fullmatch(text):
        return _Given(start_of_day(date.fromisoformat(text), clock.zone))
    if _LOCAL_TIME.fullmatch(text):
        local = datetime.fromisoformat(text.upper().replace(",", "."))
        return _Given(cut_to_ms(_to_utc(local, clock.zone)))
    return _Given(parse_timestamp(text))


def _go_back(moment: datetime, count: int, unit: str, zone: ZoneInfo) -> datetime:
    if unit in _ELAPSED:
        return moment - count * _ELAPSED[unit]
    local = moment.astimezone(zone).replace(tzinfo=None)
    if unit in _DAYS:
        return _to_utc(local - timedelta(count * _DAYS[unit]), zone)
    return _to_utc(_subtract_months(local, count * _MONTHS[unit]), zone)


def _period(name: str, today: date) -> tuple[date, date]:
    """Return the first day of a named period, and the day after its last."""
    if name == "today":
        return today, today + timedelta(days=1)
    if name == "yesterday":
        return today - timedelta(days=1), today
    which, _, unit = name.partition("_")
    if unit == "week":
        monday = today - timedelta(days=today.weekday() + (7 if which == "last" else 0))
        return monday, monday + timedelta(days=7)
    months = _MONTHS[unit]
    midnight = datetime.combine(today, time())
    first = midnight.replace(month=(today.month - 1) // months * months + 1, day=1)
    if which == "last":
        first = _subtract_months(first, months)
    return first.date(), _subtract_months(first, -months).date()


def _subtract_months(local: datetime, months: int) -> datetime:
    year, month = divmod(local.year * 12 + local.month - 1 - months, 12)
    if year < 1:
        raise OverflowError
    return local.replace(
        year=year, month=month + 1, day=min(local.day, monthrange(year, month + 1)[1])
    )


def _starts_month(local: datetime) -> bool:
    return local.day == 1 and local.time() == time()


def _write_day_start(local: datetime, zone: ZoneInfo) -> datetime:
    """Return the local time, or midnight if it is the first moment of its day.

    Clocks may skip midnight.
    """
    midnight = datetime.combine(local.date(), time())
    starts_day = _to_utc(midnight, zone) == local.astimezone(UTC)
    return midnight if starts_day else local.replace(tzinfo=None)


def _to_utc(local: datetime, zone: ZoneInfo) -> datetime:
    """Return the moment of a local time: the first of two; later by the jump if skipped."""
    return local.replace(tzinfo=zone, fold=0).astimezone(UTC)


def _show(moment: datetime, zone: ZoneInfo) -> str:
    local = moment.astimezone(zone)
    finest = "milliseconds" if local.microsecond else "seconds" if local.second else "minutes"
    return local.isoformat(timespec=finest).replace("+00:00", "Z")


def _find_zone(name: str) -> ZoneInfo:
    with suppress(ValueError, OSError, KeyError):
        if is_zone_name(name):
            return ZoneInfo(name)
    nearest = _find_nearest_zone(name)
    hint = f"did you mean {nearest}?" if nearest else "for example Europe/Berlin"
    raise InvalidArguments([f"timezone: must be an IANA time zone name; {hint}"])


def _find_nearest_zone(name: str) -> str | None:
    """Return the zone whose name or city is most like ``name``; None for an offset."""
    if _OFFSET.search(name):
        return None
    names = sorted(filter(is_zone_name, available_timezones()))
    zones = {key.casefold(): zone for zone in names for key in (zone, zone.rpartition("/")[2])}
    wanted = name.strip()[:64].replace(" ", "_").casefold()
    close = difflib.get_close_matches(wanted, zones, n=1, cutoff=0.7)
    return zones[close[0]] if close else None
