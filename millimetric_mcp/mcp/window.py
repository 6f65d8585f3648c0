"""Windows of time as people name them, made absolute: pure, the clock is an argument.

A window has a start, which belongs to it, and an end, which does not. Every form has one
meaning, in the zone asked for:

=============================  =======================================================
form                           the moment it means
=============================  =======================================================
2026-05-16T19:00:00Z, +02:00   that moment
2026-05-16T19:00               that local time; the first one where clocks going back
                               make it come twice; later by the jump where clocks going
                               forward skip it
2026-05-16                     the start of that local day
now                            the end of the current second, so that what has just been
                               stored belongs to the window
30m, 24h                       that much elapsed time before now
7d, 4w, 3mo, 1y                the same local time so many days, weeks, months or years
                               before now (the 31st becomes a shorter month's last day);
                               to the second, so the first and the last day are cut
today, yesterday, this_week,   whole local days, weeks from Monday, months, quarters,
last_week, this_month, …       years. As ``from`` the period's start; as ``to`` its end,
                               or now while it is running
=============================  =======================================================

Without ``to`` a named period ends where it ends, or now while it is running; everything else
ends now. Without ``from`` the window starts 30 days before its end. ``to`` is exclusive, so a
bare date as ``to`` leaves that day out.
"""

import difflib
import re
from calendar import monthrange
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo, available_timezones

from millimetric_mcp.contract.validation import EPOCH, is_zone_name, parse_timestamp
from millimetric_mcp.errors import InvalidArguments, WindowError

__all__ = ["DEFAULT_DAYS", "FORMS", "PERIODS", "Window", "resolve_window"]

ReadT = TypeVar("ReadT")

DEFAULT_DAYS = 30
MAX_QUOTED_CHARS = 40
END_OF_TIME = datetime(2100, 1, 1, tzinfo=UTC)
PERIODS = (
    "today",
    "yesterday",
    "this_week",
    "last_week",
    "this_month",
    "last_month",
    "this_quarter",
    "last_quarter",
    "this_year",
    "last_year",
)
FORMS = (
    "ISO 8601, a date, now, so long before now (30m, 24h, 7d, 4w, 3mo, 1y), today, yesterday, "
    "or this_ or last_ with week, month, quarter or year"
)
"""Every form in a line, for a schema's description."""

_UTC_NAMES = frozenset({"UTC", "Etc/UTC", "Zulu", "Etc/Zulu", "UCT", "Etc/UCT", "Universal"})
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_LOCAL_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?", re.ASCII)
_LENGTH = re.compile(r"([1-9]\d{0,4})(m|h|d|w|mo|y)", re.ASCII)
_EXAMPLE = "7d, 2026-05-16 or last_month"


@dataclass(frozen=True, slots=True)
class Window:
    """A resolved window: from ``start_utc`` up to, not including, ``end_utc``.

    ``from_`` and ``to`` are as given, None where nothing was. ``includes_running_day``: a
    part of the zone's current day belongs to the window, so its counts still grow.
    """

    start_utc: datetime
    end_utc: datetime
    timezone: str
    from_: str | None = None
    to: str | None = None
    includes_running_day: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether no moment belongs to it."""
        return self.start_utc == self.end_utc

    def previous(self) -> "Window":
        """The window just before, ending where this one starts, of the same length.

        The length is counted in months where both ends start a local month, else in days
        where both ends have the same local time, else in elapsed time: April is compared
        with March, and days with days even where clocks change. Never before 1970.
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
        """Whether its zone is UTC by whatever name."""
        return self.timezone in _UTC_NAMES

    def describe(self, *, has_buckets: bool = False) -> str:
        """One line: both ends, the zone, whether buckets differ from it, what is unfinished."""
        zone = ZoneInfo(self.timezone)
        start, end = _show(self.start_utc, zone), _show(self.end_utc, zone)
        left_out = f" (nothing of {self.to})" if self.to and _DATE.fullmatch(self.to) else ""
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
    """The moment of asking: ``now`` is the end of the current second, ``today`` the local day."""

    zone: ZoneInfo
    now: datetime
    today: date


@dataclass(frozen=True, slots=True)
class _Given:
    """What one field means; only a named period has an ``end``."""

    start: datetime
    end: datetime | None = None


def resolve_window(from_: str | None, to: str | None, *, timezone: str, now: datetime) -> Window:
    """The absolute window that ``from_`` and ``to`` name in ``timezone`` at ``now``.

    Raises:
        WindowError: naming the field, its rule, and the nearest valid form.
        InvalidArguments: naming several such fields at once.
    """
    from_, to = from_ and from_.strip(), to and to.strip()
    faults: list[WindowError] = []
    zone = _attempt(faults, lambda: _find_zone(timezone)) or ZoneInfo("UTC")
    second = now.astimezone(UTC).replace(microsecond=0)
    clock = _Clock(zone, second + timedelta(seconds=1), second.astimezone(zone).date())
    given_from = _attempt(faults, lambda: _read("from", from_, clock))
    given_to = _attempt(faults, lambda: _read("to", to, clock))
    _raise_all(faults)
    if given_to is not None:
        end = given_to.end or given_to.start
    else:
        end = (given_from and given_from.end) or clock.now
    start = given_from.start if given_from else _before(end, days=DEFAULT_DAYS, zone=zone)
    _check_order(start, end, from_=from_, to=to, zone=zone)
    return Window(
        start,
        end,
        timezone,
        from_=from_,
        to=to,
        includes_running_day=_overlaps_day(start, end, clock),
    )


def _attempt(faults: list[WindowError], read: Callable[[], ReadT]) -> ReadT | None:
    """What is read, or None and one more fault."""
    try:
        return read()
    except WindowError as fault:
        faults.append(fault)
        return None


def _raise_all(faults: Sequence[WindowError]) -> None:
    if len(faults) > 1:
        raise InvalidArguments([sentence for fault in faults for sentence in fault.errors])
    if faults:
        raise faults[0]


def _check_order(
    start: datetime, end: datetime, *, from_: str | None, to: str | None, zone: ZoneInfo
) -> None:
    if start > end:
        first, last = _shorten(from_), _shorten(to or "now")
        raise WindowError(
            "from",
            f"from={first} ({_show(start, zone)}) must not be after to={last} ({_show(end, zone)})",
            example="from=7d to=now",
            nearest=f"from={last} to={first}" if to else None,
        )
    for name, moment in (("from", start), ("to", end)):
        if not EPOCH <= moment <= END_OF_TIME:
            raise _out_of_range(name)


def _shorten(text: str | None) -> str:
    """A valid form to be quoted: a fraction of a second may be as long as one likes."""
    shown = text or ""
    return shown if len(shown) <= MAX_QUOTED_CHARS else f"{shown[:MAX_QUOTED_CHARS]}…"


def _out_of_range(name: str) -> WindowError:
    return WindowError(name, "must lie between 1970 and 2100", example=_EXAMPLE)


def _overlaps_day(start: datetime, end: datetime, clock: _Clock) -> bool:
    midnight = _start_of(clock.today, clock.zone)
    next_midnight = _start_of(clock.today + timedelta(days=1), clock.zone)
    return start < end and start < next_midnight and end > midnight


def _read(name: str, text: str | None, clock: _Clock) -> _Given | None:
    if text is None:
        return None
    try:
        given = _read_form(text, clock)
    except OverflowError:
        raise _out_of_range(name) from None
    except ValueError:
        given = None
    if given is None:
        raise WindowError(name, f"must be {FORMS}", example=_EXAMPLE, nearest=_nearest_form(text))
    return given


def _read_form(text: str, clock: _Clock) -> _Given | None:
    if text == "now":
        return _Given(clock.now)
    if text in PERIODS:
        first, after = _period(text, clock.today)
        end = _start_of(after, clock.zone)
        return _Given(_start_of(first, clock.zone), min(end, clock.now))
    if match := _LENGTH.fullmatch(text):
        return _Given(_before_now(int(match[1]), match[2], clock))
    if _DATE.fullmatch(text):
        return _Given(_start_of(date.fromisoformat(text), clock.zone))
    if _LOCAL_TIME.fullmatch(text):
        local = datetime.fromisoformat(text.upper().replace(",", "."))
        return _Given(_cut_to_ms(_to_utc(local, clock.zone)))
    return _Given(parse_timestamp(text))


def _before_now(count: int, unit: str, clock: _Clock) -> datetime:
    if unit in {"m", "h"}:
        return clock.now - timedelta(minutes=count * (60 if unit == "h" else 1))
    if unit in {"d", "w"}:
        return _before(clock.now, days=count * (7 if unit == "w" else 1), zone=clock.zone)
    local = clock.now.astimezone(clock.zone).replace(tzinfo=None)
    return _to_utc(_subtract_months(local, count * (12 if unit == "y" else 1)), clock.zone)


def _before(moment: datetime, *, days: int, zone: ZoneInfo) -> datetime:
    local = moment.astimezone(zone).replace(tzinfo=None)
    return _to_utc(local - timedelta(days), zone)


def _period(name: str, today: date) -> tuple[date, date]:
    """The first day of a named period, and the day after its last."""
    if name == "today":
        return today, today + timedelta(days=1)
    if name == "yesterday":
        return today - timedelta(days=1), today
    which, _, unit = name.partition("_")
    if unit == "week":
        monday = today - timedelta(days=today.weekday() + (7 if which == "last" else 0))
        return monday, monday + timedelta(days=7)
    months = {"month": 1, "quarter": 3, "year": 12}[unit]
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
    """The local time, as midnight where it starts its day: clocks may skip that very hour."""
    midnight = datetime.combine(local.date(), time())
    starts_day = _to_utc(midnight, zone) == local.astimezone(UTC)
    return midnight if starts_day else local.replace(tzinfo=None)


def _start_of(day: date, zone: ZoneInfo) -> datetime:
    return _to_utc(datetime.combine(day, time()), zone)


def _to_utc(local: datetime, zone: ZoneInfo) -> datetime:
    """The moment of a local time: the first of two, or as much later as clocks jump."""
    return local.replace(tzinfo=zone, fold=0).astimezone(UTC)


def _cut_to_ms(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _show(moment: datetime, zone: ZoneInfo) -> str:
    local = moment.astimezone(zone)
    if local.microsecond:
        text = local.isoformat(timespec="milliseconds")
    else:
        text = local.isoformat(timespec="seconds" if local.second else "minutes")
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text


def _find_zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        pass
    raise WindowError(
        "timezone",
        "must be an IANA time zone name",
        example="Europe/Berlin",
        nearest=" or ".join(_nearest_zones(name)) or None,
    )


_OFFSET = re.compile(r"(?:utc|gmt)?\s*[+-]\s*\d[\d:.]*", re.IGNORECASE)
"""No zone's name; the zone with the nearest name would be another moment."""


def _nearest_zones(name: str) -> list[str]:
    if _OFFSET.fullmatch(name.strip()):
        return []
    wanted = re.sub(r"[\s-]+", "_", name.strip()[:64]).casefold()
    names = filter(is_zone_name, sorted(available_timezones()))
    zones = {zone.casefold(): zone for zone in names}
    cities = {key.rpartition("/")[2]: zone for key, zone in zones.items() if "/" in key}
    city = wanted.rpartition("/")[2]
    if wanted in zones or city in cities:
        return [zones.get(wanted) or cities[city]]
    found = [zones[key] for key in difflib.get_close_matches(wanted, zones, n=3, cutoff=0.7)]
    found += [cities[key] for key in difflib.get_close_matches(city, cities, n=3, cutoff=0.7)]
    return list(dict.fromkeys(found))[:3]


_COUNTED = re.compile(
    r"(?:now)?[\s_-]*(?:last|past|previous)?[\s_-]*p?t?(\d{1,5})[\s_-]*([a-z]+)(?:[\s_-]*ago)?"
)
_UNITS = {
    **dict.fromkeys(("min", "mins", "minute", "minutes", "m"), "m"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("d", "day", "days"), "d"),
    **dict.fromkeys(("w", "wk", "week", "weeks"), "w"),
    **dict.fromkeys(("mo", "mon", "month", "months"), "mo"),
    **dict.fromkeys(("y", "yr", "year", "years"), "y"),
}
_OTHER_NAMES = {
    "wtd": "this_week",
    "mtd": "this_month",
    "qtd": "this_quarter",
    "ytd": "this_year",
    "this_day": "today",
    "last_day": "1d",
    "last_hour": "1h",
    "last_minute": "1m",
}
_OTHER_WORDS = re.compile(
    "next|minute|hour|day|night|weekend|(?:mon|tues|wednes|thurs|fri|satur|sun)day"
)
"""Words of a window that no form means, however near it reads to another."""


def _nearest_form(text: str) -> str | None:
    """The valid form that a person who wrote ``text`` most probably meant."""
    words = text.strip()[:64].lower()
    if match := _COUNTED.fullmatch(words):
        months = text.strip().endswith("M") and not words.startswith("pt")
        unit = "mo" if months else _UNITS.get(match[2])
        return f"{int(match[1])}{unit}" if unit and int(match[1]) else None
    if match := re.match(r"(\d{4})[-/.](\d{1,2})(?:[-/.](\d{1,2}))?", words, re.ASCII):
        return _nearest_date(int(match[1]), int(match[2]), int(match[3] or 1))
    name = re.sub(r"[\s-]+", "_", words)
    name = re.sub(r"^(?:prev|previous|past)_", "last_", name)
    name = _OTHER_NAMES.get(name, re.sub(r"^current_", "this_", name))
    if name in _OTHER_NAMES.values():
        return name
    if any(map(_OTHER_WORDS.fullmatch, name.split("_"))):
        return None
    close = difflib.get_close_matches(name, (*PERIODS, "now"), n=1, cutoff=0.6)
    return close[0] if close else None


def _nearest_date(year: int, month: int, day: int) -> str | None:
    if year < 1 or not 1 <= month <= 12:
        return None
    return date(year, month, min(max(day, 1), monthrange(year, month)[1])).isoformat()
