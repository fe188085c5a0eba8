"""How many requests a key may send: a token bucket for each, in this process."""

from __future__ import annotations

import math
from dataclasses import dataclass
from time import monotonic

_MOST_BUCKETS = 10_000


@dataclass(frozen=True, slots=True)
class Allowance:
    """Whether a request may pass, and the headers that say what is left.

    `RateLimit-Policy` and `RateLimit` as in draft-ietf-httpapi-ratelimit-headers.
    """

    passes: bool
    headers: dict[str, str]


class RateLimit:
    """`per_minute` requests a minute for each key, in bursts of as many; 0: no limit."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, key_id: str) -> Allowance:
        """Count one request."""
        if not self._per_minute:
            return Allowance(True, {})
        now, rate = monotonic(), self._per_minute / 60
        left, at = self._buckets.get(key_id, (float(self._per_minute), now))
        left = min(self._per_minute, left + (now - at) * rate)
        passes = left >= 1
        if passes:
            left -= 1
        if len(self._buckets) >= _MOST_BUCKETS:
            self._buckets.clear()
        self._buckets[key_id] = (left, now)
        seconds = math.ceil(max(0.0, 1 - left) / rate)
        headers = {
            "RateLimit-Policy": f'"key";q={self._per_minute};w=60',
            "RateLimit": f'"key";r={int(left)};t={math.ceil((self._per_minute - left) / rate)}',
        }
        if not passes:
            headers["Retry-After"] = str(max(1, seconds))
        return Allowance(passes, headers)
