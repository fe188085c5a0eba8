"""Zendesk, Freshdesk, and the JSON of a 工单系统: what each sends, as a ticket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from service.adapters.fields import MOST_CHARACTERS, AdapterError, Fields
from service.adapters.html import html_to_text


@dataclass(frozen=True)
class InboundTicket:
    """A ticket of another system. `id` begins with the system's name; `created_at` is aware."""

    id: str
    text: str
    channel: str | None = None
    created_at: datetime | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


_ZENDESK_EVENTS = "zen:event-type:ticket."


def zendesk(body: Fields) -> InboundTicket:
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


def _zendesk_event(body: Fields) -> InboundTicket:
    event_type = body.text("type")
    if not event_type.startswith(_ZENDESK_EVENTS):
        raise AdapterError("type", f"This is no ticket event; subscribe to those that begin with {_ZENDESK_EVENTS}")
    metadata: dict[str, Any] = {"event_type": event_type[:MOST_CHARACTERS]}
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


def _zendesk_channel(ticket: Fields) -> str | None:
    """Events have an object, the placeholder ticket.via writes a name."""
    _, via = ticket.take("via")
    return ticket.object("via").channel("channel") if isinstance(via, Mapping) else ticket.channel("via")


# https://developers.freshdesk.com/api/#tickets names 1, 2, 3, 7, 9 and 10; the others belong to social media, bots and
# shops. An account's own sources have higher numbers and no name here.
_FRESHDESK_SOURCES = {
    "1": "email", "2": "portal", "3": "phone", "4": "forum", "5": "twitter", "6": "facebook", "7": "chat",
    "8": "mobihelp", "9": "feedback_widget", "10": "outbound_email", "11": "ecommerce", "12": "bot", "13": "whatsapp",
}  # fmt: skip


def freshdesk(body: Fields) -> InboundTicket:
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


def generic(body: Fields) -> InboundTicket:
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
