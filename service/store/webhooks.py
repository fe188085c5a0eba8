"""Webhooks and their deliveries in the database. Each function works inside the caller's transaction.

An event is written as one delivery for each webhook that wants it, in the transaction that stores the ticket; so none
is lost, whatever happens to the process or the receiver afterwards.
"""

from __future__ import annotations

import json
import random
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, Row, delete, insert, select, update

from service.store.tables import Delivery, Ticket, Webhook, table
from service.store.tickets import Stored

_Webhooks, _Deliveries, _Tickets = table(Webhook), table(Delivery), table(Ticket)

# The lock keeps a webhook from being removed before what is written for it is committed.
_ALL_HELD = select(_Webhooks).with_for_update(read=True, key_share=True)

State = Literal["waiting", "delivered", "dead"]


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery claimed for sending, with what its webhook says of the receiver."""

    id: str
    webhook_id: str
    url: str
    secret: str
    payload: str
    attempts: int
    leased_until: datetime


def announce(connection: Connection, stored: Stored, now: datetime) -> int:
    """Write a delivery of a newly classified ticket for each webhook that wants it; returns how many."""
    wanting = [webhook.id for webhook in _held(connection) if _wants(webhook.filters, stored)]
    if wanting:
        payload = event("ticket.classified", now, _told(stored))
        new = [
            {
                "id": message_id(),
                "webhook_id": webhook_id,
                "ticket_seq": stored.row.seq,
                "payload": payload,
                "created_at": now,
                "due_at": now,
            }
            for webhook_id in wanting
        ]
        connection.execute(insert(Delivery), new)
    return len(wanting)


def _held(connection: Connection) -> Sequence[Row[Any]]:
    """All webhooks, kept from removal until the transaction ends; asked for once in it, however many tickets it has."""
    transaction = connection.get_transaction()
    asked_in, found = connection.info.get("webhooks", (None, ()))
    if transaction is None or asked_in is not transaction:
        found = connection.execute(_ALL_HELD).all()
        connection.info["webhooks"] = transaction, found
    held: Sequence[Row[Any]] = found
    return held


def event(kind: str, now: datetime, data: Mapping[str, Any]) -> str:
    """An event as it is sent: compact JSON."""
    content = {"type": kind, "timestamp": now.isoformat(), "data": data}
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def message_id() -> str:
    """A new id of a message, the same for all attempts to deliver it."""
    return f"msg_{secrets.token_hex(16)}"


def _told(stored: Stored) -> dict[str, Any]:
    row = stored.row
    labels = {"grade": row.grade, "polarity": row.polarity, "request": row.request, "causes": list(stored.causes)}
    return {"id": row.id, "revision": row.revision, "prediction": row.tags, "labels": labels}


def _wants(filters: Mapping[str, Any], stored: Stored) -> bool:
    """Whether a ticket has, of each filter, one of the values; a webhook without filters wants all tickets."""
    row = stored.row
    has: dict[str, Collection[Any]] = {
        "causes": stored.causes,
        "polarity": [row.polarity],
        "grades": [row.grade],
        "request": [row.request],
        "loyalty": [row.tags["loyalty"]["label"]],
        "needs_review": [row.review is not None],
    }
    return all(
        any(value in has[name] for value in (wanted if isinstance(wanted, list) else [wanted]))
        for name, wanted in filters.items()
    )


def add(connection: Connection, url: str, secret: str, filters: Mapping[str, Any], now: datetime) -> Row[Any]:
    """Store a webhook. `filters`: causes, polarity, grades, request, loyalty as lists; needs_review as a bool."""
    values = {"id": f"wh_{secrets.token_hex(6)}", "url": url, "secret": secret, "filters": dict(filters)}
    return connection.execute(insert(Webhook).values(**values, created_at=now).returning(_Webhooks)).one()


def find(connection: Connection, webhook_id: str) -> Row[Any] | None:
    """The webhook, or None."""
    return connection.execute(select(_Webhooks).where(_Webhooks.c.id == webhook_id)).first()


def list_all(connection: Connection) -> Sequence[Row[Any]]:
    """All webhooks, oldest first."""
    return connection.execute(select(_Webhooks).order_by(_Webhooks.c.created_at, _Webhooks.c.id)).all()


def remove(connection: Connection, webhook_id: str) -> bool:
    """Delete a webhook with its deliveries; whether there was one."""
    connection.execute(delete(Delivery).where(_Deliveries.c.webhook_id == webhook_id))
    return connection.execute(delete(Webhook).where(_Webhooks.c.id == webhook_id)).rowcount > 0


def due(
    connection: Connection,
    now: datetime,
    lease_seconds: float,
    limit: int,
    *,
    per_webhook: int,
    busy: Mapping[str, int],
) -> list[Due]:
    """Claim deliveries that are due, each webhook's oldest first; nobody else gets them before the lease has run out.

    A webhook gets `per_webhook` at most, less those that the caller is still `busy` with for it.
    """
    webhooks = list(list_all(connection))
    random.shuffle(webhooks)  # With more of them than the limit, none always comes last.
    until = now + timedelta(seconds=lease_seconds)
    claimed: list[Due] = []
    for webhook in webhooks:
        room = min(limit - len(claimed), per_webhook - busy.get(webhook.id, 0))
        if room <= 0:
            continue
        waiting = (
            select(_Deliveries.c.id, _Deliveries.c.payload, _Deliveries.c.attempts)
            .where(_Deliveries.c.webhook_id == webhook.id)
            .where(_Deliveries.c.state == "waiting", _Deliveries.c.due_at <= now)
            .order_by(_Deliveries.c.due_at, _Deliveries.c.id)
            .limit(room)
            .with_for_update(skip_locked=True)
        )
        rows = connection.execute(waiting).all()
        claimed += [
            Due(row.id, webhook.id, webhook.url, webhook.secret, row.payload, row.attempts, until) for row in rows
        ]
    if claimed:
        theirs = _Deliveries.c.id.in_([delivery.id for delivery in claimed])
        connection.execute(update(Delivery).where(theirs).values(due_at=until))
    return claimed


def settle(connection: Connection, delivery: Due, *, error: str | None, again_at: datetime | None) -> None:
    """Note how an attempt ended: delivered (no `error`), to be sent again at `again_at`, or dead (None).

    A failure counts only while the lease holds: later the delivery is another's, who notes how that went.
    """
    mine = (_Deliveries.c.id == delivery.id) & (_Deliveries.c.state == "waiting")
    values: dict[str, Any] = {"attempts": delivery.attempts + 1, "last_error": error}
    if error is None:
        values["state"] = "delivered"
    else:
        mine &= _Deliveries.c.due_at == delivery.leased_until
        values |= {"due_at": again_at} if again_at else {"state": "dead"}
    connection.execute(update(Delivery).where(mine).values(**values))


def deliveries(connection: Connection, webhook_id: str, state: State | None, limit: int) -> Sequence[Row[Any]]:
    """A webhook's deliveries with the `ticket_id` that each is about, newest first."""
    query = (
        select(_Deliveries, _Tickets.c.id.label("ticket_id"))
        .join(_Tickets, _Tickets.c.seq == _Deliveries.c.ticket_seq)
        .where(_Deliveries.c.webhook_id == webhook_id)
        .order_by(_Deliveries.c.created_at.desc(), _Deliveries.c.id)
        .limit(limit)
    )
    return connection.execute(query if state is None else query.where(_Deliveries.c.state == state)).all()


def replay(connection: Connection, webhook_id: str, now: datetime) -> int:
    """Let a webhook's dead deliveries be sent again, now and with all their attempts; returns how many there were."""
    dead = update(Delivery).where(_Deliveries.c.webhook_id == webhook_id, _Deliveries.c.state == "dead")
    return connection.execute(dead.values(state="waiting", attempts=0, due_at=now)).rowcount
