"""UTC times as whole microseconds since 1970, the control database's form."""

from datetime import UTC, datetime, timedelta

__all__ = ["from_us", "to_us", "utc_now"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def utc_now() -> datetime:
    """The present time, in UTC."""
    return datetime.now(UTC)


def to_us(time: datetime) -> int:
    """Microseconds since 1970 of an aware time, exactly."""
    return (time - _EPOCH) // _MICROSECOND


def from_us(microseconds: int) -> datetime:
    """The UTC time that many microseconds after 1970."""
    return _EPOCH + timedelta(microseconds=microseconds)
