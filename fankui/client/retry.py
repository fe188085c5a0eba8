"""Whether and when a call is sent again.

Every call may be, without harm: reading and checking change nothing, a ticket is known by its id, and whatever else
writes carries an Idempotency-Key. So every call is tried again when the service is out of reach or busy.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from random import uniform
from time import monotonic

import httpx

from fankui.client.calls import Outcome

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 8.0
_BUSY = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
        # A proxy says these of a service that it did not reach.
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
_LOST = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)


class Trying:
    """Whether and when one call is sent again."""

    def __init__(self, retries: int, patience: float) -> None:
        self._left = retries
        self._pause = _FIRST_PAUSE
        self._until = monotonic() + patience

    def pause_after(self, outcome: Outcome) -> float | None:
        """Seconds to wait before the next attempt; None when this outcome is the last."""
        if not self._left or not _may_pass(outcome):
            return None
        told = _retry_after(outcome) if isinstance(outcome, httpx.Response) else None
        # Half of it by chance, so that clients which were refused together do not come back together.
        pause = self._pause * uniform(0.5, 1) if told is None else told
        if monotonic() + pause > self._until:
            return None
        self._left -= 1
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        return pause


def _may_pass(outcome: Outcome) -> bool:
    """Whether the same request may succeed later."""
    if not isinstance(outcome, httpx.Response):
        return isinstance(outcome, _LOST)
    if outcome.status_code == HTTPStatus.CONFLICT:  # With the header: the call's first sending is still at work.
        return "Retry-After" in outcome.headers
    return outcome.status_code in _BUSY


def _retry_after(response: httpx.Response) -> float | None:
    """The header's seconds, or those until its date; None if there is none, or another thing in it."""
    value = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())
