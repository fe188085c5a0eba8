"""Points of time as helpdesk systems write them."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

# China has one time zone and no summer time.
_CHINA = timezone(timedelta(hours=8))
_FIRST, _END = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
_LOCAL_TIME = re.compile(
    r"(\d{4}) ?[-/.年] ?(\d{1,2}) ?[-/.月] ?(\d{1,2}) ?日?"
    r"(?: ?(上午|下午)? ?(\d{1,2})(?:[时点]|[:时点](\d{1,2})(?:[:分](\d{1,2}))?[分秒]?))?"
)


def read_time(value: Any) -> datetime | None:
    """An ISO 8601 or Chinese time, or seconds or milliseconds since 1970; None for what is no time of this century."""
    if isinstance(value, str):
        text = " ".join(unicodedata.normalize("NFKC", value).split())
        if not (text.isdecimal() and len(text) in (10, 13)):
            return _parse_time(text)
        value = int(text)
    if type(value) in (int, float):
        for unit in (1, 1_000):
            if _FIRST.timestamp() * unit <= value < _END.timestamp() * unit:
                return datetime.fromtimestamp(value / unit, UTC)
    return None


def _parse_time(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        match = _LOCAL_TIME.fullmatch(text)
        if not match:
            return None
        year, month, day, half, *clock = match.groups()
        hour, minute, second = (int(part or 0) for part in clock)
        if half == "下午" and hour < 12:
            hour += 12
        elif half == "上午" and hour == 12:
            hour = 0
        try:
            moment = datetime(int(year), int(month), int(day), hour, minute, second)
        except ValueError:
            return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=_CHINA)
    return moment if _FIRST <= moment < _END else None
