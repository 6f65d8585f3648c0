"""Weighted choices and random-looking ids, decided by a `random.Random` that is passed in.

Only ``random()`` and ``getrandbits()`` are used: their sequence is the same on every
version of Python, so a seed means the same data everywhere.
"""

import math
from base64 import urlsafe_b64encode
from bisect import bisect
from collections.abc import Iterable
from itertools import accumulate
from random import Random
from typing import Generic, TypeVar
from uuid import UUID

T = TypeVar("T")


class Weighted(Generic[T]):
    """Values, each with a weight of at least 0; one weight must be positive."""

    def __init__(self, choices: Iterable[tuple[T, float]]) -> None:
        kept = [(value, weight) for value, weight in choices if weight > 0]
        self.values = tuple(value for value, _ in kept)
        self._bounds = tuple(accumulate(weight for _, weight in kept))
        self._total = self._bounds[-1]

    def pick(self, rng: Random) -> T:
        """One value, as often as its weight says."""
        return self.values[bisect(self._bounds, rng.random() * self._total)]


def make_uuid(rng: Random) -> str:
    """A UUID of version 4, as browsers make them."""
    return str(UUID(int=rng.getrandbits(128), version=4))


def make_token(rng: Random, length: int) -> str:
    """``length`` random characters of the URL-safe alphabet, ``-`` and ``_`` included."""
    size_bytes = length * 3 // 4 + 1
    raw = rng.getrandbits(8 * size_bytes).to_bytes(size_bytes, "big")
    return urlsafe_b64encode(raw)[:length].decode()


def exponential_steps(*, mean: float, steps: int) -> tuple[float, ...]:
    """Equally likely values of an exponential distribution, ascending; cheaper than log()."""
    return tuple(-mean * math.log(1 - (step + 0.5) / steps) for step in range(steps))
