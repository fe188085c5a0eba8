"""What helpdesk systems send, as one kind of ticket.

An adapter is a pure function from the JSON of a webhook or an API to an `InboundTicket`. Fields that it has no use for
become metadata, except those of `WITHHELD`.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from html.parser import HTMLParser
from itertools import islice
from types import MappingProxyType
from typing import Any

from fankui.errors import FankuiError
from fankui.text import encodable

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
_MOST_FIELDS = 50
_MOST_ITEMS = 50
_MOST_CHARACTERS = 1_000
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# With the system's name in front it stays below 128.
_LONGEST_ID = 100


@dataclass(frozen=True)
class InboundTicket:
    """A ticket of another system. `id` begins with the system's name; `created_at` is aware."""

    id: str
    text: str
    channel: str | None = None
    created_at: datetime | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


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


class _Fields:
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
        if len(value) > _LONGEST_ID or _CONTROL.search(value) or "\ufffd" in value:
            raise self.fault(key, f"Send a number of at most {_LONGEST_ID} characters without control characters.")
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
        moment = _read_time(value)
        if moment is None:
            example = "2026-03-05T14:30:00+08:00"
            raise self.fault(key, f"This is no time from 2000 to 2099; send one such as {example}, or leave it out.")
        return moment

    def object(self, *names: str) -> _Fields:
        """An object within this one. Raises AdapterError if there is none."""
        key, value = self.take(*names)
        return _Fields(value, self.path(key))

    def optional_object(self, *names: str) -> _Fields | None:
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
        return _storable(value)[:_MOST_CHARACTERS]
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


# China has one time zone and no summer time.
_CHINA = timezone(timedelta(hours=8))
_FIRST, _END = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
_LOCAL_TIME = re.compile(
    r"(\d{4}) ?[-/.年] ?(\d{1,2}) ?[-/.月] ?(\d{1,2}) ?日?"
    r"(?: ?(上午|下午)? ?(\d{1,2})(?:[时点]|[:时点](\d{1,2})(?:[:分](\d{1,2}))?[分秒]?))?"
)


def _read_time(value: Any) -> datetime | None:
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


_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)|<[!?][^<>]*>", re.DOTALL)
_NO_TAG = re.compile("<(?!/?[a-zA-Z][^<>]*>)")
_UNSEEN = frozenset({"script", "style", "title"})
_CELLS = frozenset({"td", "th"})
_BLOCKS = frozenset({
    "address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "figure", "footer", "form", "h1", "h2",
    "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "ol", "p", "pre", "section", "table", "tr", "ul",
})  # fmt: skip


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._unseen = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _UNSEEN:
            self._unseen = tag
        self._separate(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == self._unseen:
            self._unseen = ""
        self._separate(tag)

    def _separate(self, tag: str) -> None:
        if tag in _BLOCKS or tag in _CELLS:
            self.parts.append("\n" if tag in _BLOCKS else " ")

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.parts.append(re.sub(r"\s", " ", data))


def html_to_text(html: str) -> str:
    """What a reader sees of HTML: a line a block, blanks collapsed, entities decoded. Any string is accepted."""
    reader = _Reader()
    # The parser raises on some declarations, and takes quadratic time over tags that never end.
    reader.feed(_NO_TAG.sub("&lt;", _COMMENT.sub("", html)))
    reader.close()
    lines = (" ".join(line.split()) for line in "".join(reader.parts).split("\n"))
    return "\n".join(line for line in lines if line)


_ZENDESK_EVENTS = "zen:event-type:ticket."


def _zendesk(body: _Fields) -> InboundTicket:
    """The webhook of a ticket event, or that of a trigger or automation with a `ticket` object.

    https://developer.zendesk.com/api-reference/webhooks/event-types/ticket-events/
    """
    if body.has("detail"):
        return _zendesk_event(body)
    if not body.has("ticket"):
        raise AdapterError("ticket", 'There is no ticket; subscribe to ticket events, or send {"ticket": {"id": …}}.')
    ticket = body.object("ticket")
    return InboundTicket(
        id=ticket.id("id", "ticket_id"),
        text=ticket.words(ticket.text("subject", "title"), ticket.text("description"), "description"),
        channel=_zendesk_channel(ticket),
        # The placeholder ticket.created_at writes a date for people; the other one is exact.
        created_at=ticket.time("created_at_with_timestamp", "created_at"),
        metadata=ticket.rest(),
    )


def _zendesk_event(body: _Fields) -> InboundTicket:
    event_type = body.text("type")
    if not event_type.startswith(_ZENDESK_EVENTS):
        raise AdapterError("type", f"This is no ticket event; subscribe to those that begin with {_ZENDESK_EVENTS}")
    metadata: dict[str, Any] = {"event_type": event_type[:_MOST_CHARACTERS]}
    ticket = body.object("detail")
    subject, description = ticket.text("subject"), ticket.text("description")
    if event_type == f"{_ZENDESK_EVENTS}comment_added":
        comment = body.object("event").object("comment")
        text = comment.text("body")
        if not text:
            raise comment.fault("body", "The comment has no text to classify; send only comments that have some.")
        author = comment.optional_object("author")
        metadata |= comment.rest("comment_") | (author.rest("comment_author_") if author else {})
    else:
        text = ticket.words(subject, description, "description")
    return InboundTicket(
        id=ticket.id("id"),
        text=text,
        channel=_zendesk_channel(ticket),
        created_at=ticket.time("created_at"),
        metadata=metadata | ticket.rest(),
    )


def _zendesk_channel(ticket: _Fields) -> str | None:
    """Events have an object, the placeholder ticket.via writes a name."""
    _, via = ticket.take("via")
    return ticket.object("via").channel("channel") if isinstance(via, Mapping) else ticket.channel("via")


# https://developers.freshdesk.com/api/#tickets names 1, 2, 3, 7, 9 and 10; the others belong to social media, bots and
# shops. An account's own sources have higher numbers and no name here.
_FRESHDESK_SOURCES = {
    "1": "email", "2": "portal", "3": "phone", "4": "forum", "5": "twitter", "6": "facebook", "7": "chat",
    "8": "mobihelp", "9": "feedback_widget", "10": "outbound_email", "11": "ecommerce", "12": "bot", "13": "whatsapp",
}  # fmt: skip


def _freshdesk(body: _Fields) -> InboundTicket:
    """The webhook of an automation rule, whose names begin with `ticket_`, or a ticket of the API, version 2."""
    webhook = body.has("freshdesk_webhook")
    ticket, prefix = (body.object("freshdesk_webhook"), "ticket_") if webhook else (body, "")
    html, plain = ticket.text(f"{prefix}description"), ticket.text(f"{prefix}description_text")
    source = ticket.channel(f"{prefix}source")
    custom = ticket.optional_object("custom_fields")
    return InboundTicket(
        id=ticket.id(f"{prefix}id"),
        text=ticket.words(ticket.text(f"{prefix}subject"), plain or html_to_text(html), f"{prefix}description"),
        channel=source and _FRESHDESK_SOURCES.get(source, source.lower().replace(" ", "_")),
        created_at=ticket.time(f"{prefix}created_at"),
        metadata=ticket.rest() | (custom.rest("custom_fields.") if custom else {}),
    )


_SUBJECTS = ("title", "subject", "标题", "主题")
_DESCRIPTIONS = ("content", "description", "text", "body", "内容", "问题描述", "诉求内容", "投诉内容", "描述")
_WRAPPERS = ("data", "ticket", "work_order")


def _generic(body: _Fields) -> InboundTicket:
    """A ticket with Chinese or English names, in snake or camel case, by itself or within one of `_WRAPPERS`."""
    ticket = body
    while ticket.has(*_WRAPPERS) and ticket.take(*_SUBJECTS, *_DESCRIPTIONS)[1] is None:
        ticket = ticket.object(*_WRAPPERS)
    return InboundTicket(
        id=ticket.id("id", "ticket_id", "order_no", "work_order_no", "工单编号", "工单号", "编号"),
        text=ticket.words(ticket.text(*_SUBJECTS), ticket.text(*_DESCRIPTIONS), *_DESCRIPTIONS),
        channel=ticket.channel("channel", "source", "渠道", "来源", "受理渠道"),
        created_at=ticket.time("created_at", "create_time", "创建时间", "受理时间", "提交时间"),
        metadata=ticket.rest(),
    )


def _adapt(system: str, read: Callable[[_Fields], InboundTicket], payload: Mapping[str, Any]) -> InboundTicket:
    ticket = read(_Fields(payload))
    metadata = dict(islice(ticket.metadata.items(), _MOST_FIELDS))
    return replace(ticket, id=f"{system}:{ticket.id}", metadata=metadata)


ADAPTERS: Mapping[str, Callable[[Mapping[str, Any]], InboundTicket]] = MappingProxyType(
    {
        system: partial(_adapt, system, read)
        for system, read in {"zendesk": _zendesk, "freshdesk": _freshdesk, "generic": _generic}.items()
    }
)
"""By the name of the system; each raises AdapterError for a payload that is no ticket, whatever it holds."""
