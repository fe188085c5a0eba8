"""Reading another system's JSON: fields by any of their names, and what may be kept of the rest."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fankui.errors import FankuiError
from fankui.text import encodable
from service.adapters.times import read_time

# Names (patterns, in snake case, of any case) of fields that never enter the metadata: how to reach the customer, who
# the customer is, and what lets a sender in.
WITHHELD = (
    "mail", "phone", "mobile", "address", "contact", "recipient", "(^|_)(tel|fax|cc|sms|ip)(_|$)",
    "qq", "wechat", "weixin", "whatsapp", "twitter", "facebook",
    "电话", "手机", "座机", "来电", "传真", "邮", "微信", "址", "联系",
    "^name$", "(first|last|full|nick|real|user|requester|customer|client|sender|caller)_?name", "^requester$",
    "id_?card", "姓名", "昵称", "客户名", "用户名", "身份证", "人$",
    "token", "secret", "password", "signature", "密码", "令牌", "签名",
)  # fmt: skip
_WITHHELD = re.compile("|".join(WITHHELD), re.IGNORECASE)

# What `service.api.schemas.NewTicket` takes.
_LONGEST_NAME = 64
_LARGEST_NUMBER = 2**53
_MOST_ITEMS = 50
MOST_CHARACTERS = 1_000
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UNNAMEABLE = re.compile(r"[%\x00-\x1f\x7f-\x9f]")
# With the system's name in front it stays below 128.
_LONGEST_ID = 100


class AdapterError(FankuiError):
    """A payload that is no ticket; `field` is the dotted path of the field at fault, `body` for the whole."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def _kind(value: Any) -> str:
    """What a JSON value is, for messages."""
    if isinstance(value, Mapping):
        return "an object"
    names = {
        type(None): "empty",
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "text",
        list: "a list",
    }
    return names.get(type(value), "something that JSON does not have")


def _storable(text: str) -> str:
    """The same text without what UTF-8 (lone surrogates) or PostgreSQL (NUL) cannot hold; positions stay."""
    return encodable(text).replace("\0", "\ufffd")


def _spelt(number: int) -> str | None:
    """Its digits; None for absurdly many, which Python refuses to spell."""
    return str(number) if abs(number) < 10**_LONGEST_ID else None


def _holds(value: Any) -> bool:
    """Whether a value says something; a template whose placeholder has no value sends an empty string."""
    return bool(value.strip()) if isinstance(value, str) else value is not None


def _canonical(name: str) -> str:
    """The same for `create_time`, `createTime` and `CREATE_TIME`."""
    return name.replace("_", "").strip().lower()


class Fields:
    """An object of a payload: finds its fields by any of several names, knows which were used and where it is."""

    def __init__(self, value: Any, path: str = "") -> None:
        if not isinstance(value, Mapping):
            raise AdapterError(path or "body", f"This is {_kind(value)}; send a JSON object.")
        self._values = value
        self._path = path
        self._used: set[str] = set()
        self._keys: dict[str, str] = {}
        for key in value:
            self._keys.setdefault(_canonical(key), key)

    def path(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def fault(self, key: str, message: str) -> AdapterError:
        return AdapterError(self.path(key), message)

    def has(self, *names: str) -> bool:
        """Whether a field of one of these names is there, even if it is null."""
        return any(_canonical(name) in self._keys for name in names)

    def take(self, *names: str) -> tuple[str, Any]:
        """The first of these fields that holds something, as key and value; else None with a key to complain of."""
        there = [key for name in names if (key := self._keys.get(_canonical(name))) is not None]
        for key in there:
            if _holds(self._values[key]):
                self._used.add(key)
                return key, self._values[key]
        return (there or names)[0], None

    def text(self, *names: str) -> str:
        """Trimmed text, empty if there is none."""
        key, value = self.take(*names)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.fault(key, f"This is {_kind(value)}; send text.")
        return _storable(value).strip()

    def words(self, subject: str, description: str, *names: str) -> str:
        """Subject and description (which comes from a field of these names) as one text; there must be one of them."""
        if not subject and not description:
            raise self.fault(
                self.take(*names)[0], "There is neither a subject nor a description; send at least one of them."
            )
        return description if description.startswith(subject) else f"{subject}\n{description}".strip()

    def name(self, *names: str) -> tuple[str, str]:
        """A string or a whole number as a string, with its key; empty if there is none."""
        key, value = self.take(*names)
        if isinstance(value, str):
            return key, _storable(value).strip()
        if value is None:
            return key, ""
        # `type`, because true is an int to `isinstance`.
        if type(value) is int and (spelt := _spelt(value)):
            return key, spelt
        raise self.fault(key, f"This is {_kind(value)}; send text or a whole number of ordinary size.")

    def id(self, *names: str) -> str:
        key, value = self.name(*names)
        if not value:
            raise self.fault(key, f"The ticket's number is missing; send it as {' / '.join(names)}.")
        # Numbers that differ only in what the replacement characters stand for would be one.
        if len(value) > _LONGEST_ID or _UNNAMEABLE.search(value) or "\ufffd" in value:
            message = f"Send a number of at most {_LONGEST_ID} characters without control characters or %."
            raise self.fault(key, message)
        return value

    def channel(self, *names: str) -> str | None:
        key, value = self.name(*names)
        if len(value) > _LONGEST_NAME or _CONTROL.search(value):
            raise self.fault(key, f"Send a name of at most {_LONGEST_NAME} characters without control characters.")
        return value or None

    def time(self, *names: str) -> datetime | None:
        key, value = self.take(*names)
        if value is None:
            return None
        moment = read_time(value)
        if moment is None:
            example = "2026-03-05T14:30:00+08:00"
            raise self.fault(key, f"This is no time from 2000 to 2099; send one such as {example}, or leave it out.")
        return moment

    def object(self, *names: str) -> Fields:
        """An object within this one. Raises AdapterError if there is none."""
        key, value = self.take(*names)
        return Fields(value, self.path(key))

    def optional_object(self, *names: str) -> Fields | None:
        return self.object(*names) if _holds(self.take(*names)[1]) else None

    def rest(self, prefix: str = "") -> dict[str, Any]:
        """What was not used and may be kept, so to be called last."""
        kept: dict[str, Any] = {}
        for key, value in self._values.items():
            snake_case = re.sub("(?<=[a-z])(?=[A-Z])", "_", key.strip())
            name = _CONTROL.sub("\ufffd", prefix + _storable(key))[:_LONGEST_NAME]
            plain = _plain(value)
            if name and plain is not None and key not in self._used and not _WITHHELD.search(snake_case):
                kept.setdefault(name, plain)
        return kept


def _scalar(value: Any) -> str | int | float | None:
    """A scalar as metadata keeps it; None for everything else."""
    if isinstance(value, str):
        return _storable(value)[:MOST_CHARACTERS]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        # Many a JSON reader rounds larger numbers, which are ids then; as text they stay what they are.
        return value if abs(value) <= _LARGEST_NUMBER else _spelt(value)
    return None


def _plain(value: Any) -> Any:
    """A value as metadata keeps it: a scalar or a list of scalars; None for what is neither or says nothing."""
    if isinstance(value, list):
        items = [_scalar(item) for item in value[:_MOST_ITEMS]]
        return items if items and None not in items else None
    return _scalar(value) if _holds(value) else None
