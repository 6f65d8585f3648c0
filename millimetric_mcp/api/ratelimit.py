"""Token buckets per project, kind of key and route.

A bucket is one number: the time at which it will be full again, in whole nanoseconds (the
generic cell rate algorithm).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.endpoints import BATCH, IDENTIFY, TRACK, Endpoint
from millimetric_mcp.contract.keys import KeyKind, KeyRecord
from millimetric_mcp.errors import RequestError
from millimetric_mcp.settings import RateLimits

_NS_PER_S = 1_000_000_000
_LONGEST_WAIT_NS = 86_400 * _NS_PER_S
_MIN_SWEEP_SIZE = 1024


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """A bucket's size: ``burst`` tokens, a new one every ``interval_ns``."""

    interval_ns: int
    burst: int

    @classmethod
    def of(cls, *, per_s: float, burst: int) -> "TokenBucket":
        """Return a bucket that gets ``per_s`` tokens a second, at least one a day."""
        return cls(round(min(_NS_PER_S / per_s, _LONGEST_WAIT_NS)), burst)


def take_token(bucket: TokenBucket, *, full_at_ns: int, now_ns: int) -> tuple[int, int]:
    """Return when the bucket is full again, and the wait for a token, in nanoseconds.

    A token was taken if the wait is 0.
    """
    refill_from_ns = max(full_at_ns, now_ns)
    wait_ns = refill_from_ns - (bucket.burst - 1) * bucket.interval_ns - now_ns
    if wait_ns > 0:
        return full_at_ns, wait_ns
    return refill_from_ns + bucket.interval_ns, 0


class RateLimiter:
    """The buckets of every project, kind of key and limited route of one process.

    A browser key is public: a flood with it does not use up the rate of the server keys. Its
    identify calls count as track.

    Full buckets are not stored, so memory grows only with the projects that called within the
    last ``burst / per_s`` seconds.
    """

    def __init__(self, limits: RateLimits | None, *, clock: Callable[[], int]) -> None:
        """Without ``limits`` nothing is limited; ``clock`` returns monotonic nanoseconds."""
        self._buckets: dict[str, TokenBucket] = {}
        if limits:
            track = TokenBucket.of(per_s=limits.track_per_s, burst=limits.track_burst)
            batch = TokenBucket.of(per_s=limits.batch_per_s, burst=limits.batch_burst)
            self._buckets = {TRACK.path: track, BATCH.path: batch}
        self._clock = clock
        self._full_at_ns: dict[tuple[int, KeyKind, str], int] = {}
        self._sweep_size = _MIN_SWEEP_SIZE

    def take(self, key: KeyRecord, endpoint: Endpoint[Any, Any]) -> None:
        """Take one token of the key's bucket for the endpoint, if it has a limit.

        Raises:
            RequestError: rate_limited; after ``retry_after_s`` seconds there is a token.
        """
        if endpoint is IDENTIFY and key.kind is KeyKind.PK:
            endpoint = TRACK
        bucket = self._buckets.get(endpoint.path)
        if bucket is None:
            return
        now_ns = self._clock()
        place = (key.project_id, key.kind, endpoint.path)
        full_at_ns, wait_ns = take_token(
            bucket, full_at_ns=self._full_at_ns.get(place, now_ns), now_ns=now_ns
        )
        if wait_ns:
            raise RequestError(ErrorCode.RATE_LIMITED, retry_after_s=-(-wait_ns // _NS_PER_S))
        self._full_at_ns[place] = full_at_ns
        if len(self._full_at_ns) > self._sweep_size:
            self._drop_full_buckets(now_ns)

    def _drop_full_buckets(self, now_ns: int) -> None:
        self._full_at_ns = {
            place: full_at_ns
            for place, full_at_ns in self._full_at_ns.items()
            if full_at_ns > now_ns
        }
        self._sweep_size = max(_MIN_SWEEP_SIZE, 2 * len(self._full_at_ns))
