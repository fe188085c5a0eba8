"""Tickets in the database: store, find, list, correct, erase. Each function works inside the caller's transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from service.store.tables import Correction, Delivery, Revision, Ticket, TicketCause, table

_Tickets, _Causes, _Corrections = table(Ticket), table(TicketCause), table(Correction)

# What each new ticket needs is built once: building a statement takes longer than SQLite takes to run it.
_FIRST = {
    name: dialect.insert(_Tickets).on_conflict_do_nothing(index_elements=["id"]).returning(_Tickets)
    for name, dialect in (("postgresql", postgresql), ("sqlite", sqlite))
}
_SEEN = select(_Tickets.c.id, _Tickets.c.text_sha256).where(_Tickets.c.id.in_(bindparam("ids", expanding=True)))
_ADD_CAUSE = insert(_Causes)


@dataclass(frozen=True, slots=True)
class NewTicket:
    """A classified ticket on its way into the database; times are aware."""

    id: str
    text: str
    text_sha256: str
    channel: str | None
    attributes: Mapping[str, Any]
    created_at: datetime
    tags: Mapping[str, Any]
    labels: Labels
    confidence: float
    review: str | None


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels by which tickets are found."""

    grade: int
    polarity: str
    request: str
    causes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Filters:
    """Which tickets to list; None and the empty tuple let all pass."""

    cause: str | None = None
    polarity: str | None = None
    grade: int | None = None
    request: str | None = None
    needs_review: bool | None = None
    since: datetime | None = None
    until: datetime | None = None
    words: tuple[str, ...] = ()
    channel: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """A ticket as it is in the database, with the corrections of its present revision and its causes that hold."""

    row: Row[Any]
    causes: tuple[str, ...] = ()
    corrections: tuple[Row[Any], ...] = field(default=())

    @property
    def labels(self) -> Labels:
        """The labels that hold."""
        return Labels(self.row.grade, self.row.polarity, self.row.request, self.causes)


def text_hash(text: str) -> str:
    """What tells whether two texts are the same: SHA-256 of the text as it was sent."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def find(connection: Connection, ticket_id: str, *, lock: bool = False) -> Stored | None:
    """The ticket, or None."""
    query = select(_Tickets).where(_Tickets.c.id == ticket_id)
    row = connection.execute(query.with_for_update() if lock else query).first()
    return complete(connection, [row])[0] if row else None


def find_same(connection: Connection, wanted: Collection[tuple[str, str]]) -> dict[tuple[str, str], Stored]:
    """Of the tickets with these ids and hashes of their texts those that there are."""
    seen = connection.execute(_SEEN, {"ids": [ticket_id for ticket_id, _ in wanted]})
    same = {(row.id, row.text_sha256) for row in seen} & set(wanted)
    if not same:
        return {}
    rows = connection.execute(select(_Tickets).where(_Tickets.c.id.in_([ticket_id for ticket_id, _ in same]))).all()
    return {(stored.row.id, stored.row.text_sha256): stored for stored in complete(connection, rows)}


def put_all(connection: Connection, new: Sequence[NewTicket], now: datetime) -> list[tuple[Stored, bool]]:
    """Store tickets, or new revisions of those that are there; the same text changes nothing.

    Returns each in the order given, and whether it was stored. Many cost hardly more statements than one.
    """
    first: dict[str, NewTicket] = {}
    for ticket in new:
        first.setdefault(ticket.id, ticket)
    # Rows are locked in the order of their ids, so that no two transactions wait for each other.
    values = [
        {"id": ticket.id, "revision": 1, "received_at": now} | _values(ticket, now)
        for _, ticket in sorted(first.items())
    ]
    rows = {row.id: row for row in connection.execute(_FIRST[connection.dialect.name], values)}
    _add_causes(connection, [(row.seq, cause) for row in rows.values() for cause in first[row.id].labels.causes])
    put: dict[int, tuple[Stored, bool]] = {}
    for place, ticket in sorted(enumerate(new), key=lambda placed: placed[1].id):
        if ticket.id in rows and first[ticket.id] is ticket:
            put[place] = Stored(rows[ticket.id], ticket.labels.causes), True
        else:
            put[place] = _put_again(connection, ticket, now)
    return [put[place] for place in range(len(new))]


def _put_again(connection: Connection, new: NewTicket, now: datetime) -> tuple[Stored, bool]:
    """`put_all` of a ticket that is there already."""
    before = find(connection, new.id, lock=True)
    if before is None:  # Erased between the two statements by another replica.
        return put_all(connection, [new], now)[0]
    if before.row.text_sha256 == new.text_sha256:
        return before, False
    connection.execute(
        insert(Revision).values(
            ticket_seq=before.row.seq,
            number=before.row.revision,
            text=before.row.text,
            tags=before.row.tags,
            classified_at=before.row.classified_at,
        )
    )
    changed = update(_Tickets).where(_Tickets.c.seq == before.row.seq)
    values = _values(new, now) | {"revision": before.row.revision + 1}
    row = connection.execute(changed.values(**values).returning(_Tickets)).one()
    connection.execute(delete(_Causes).where(_Causes.c.ticket_seq == row.seq))
    _add_causes(connection, [(row.seq, cause) for cause in new.labels.causes])
    return Stored(row, new.labels.causes), True


def _values(new: NewTicket, now: datetime) -> dict[str, Any]:
    """What a revision sets."""
    return {
        "text": new.text,
        "text_sha256": new.text_sha256,
        "channel": new.channel,
        "attributes": dict(new.attributes),
        "created_at": new.created_at,
        "classified_at": now,
        "tags": dict(new.tags),
        "grade": new.labels.grade,
        "polarity": new.labels.polarity,
        "request": new.labels.request,
        "review": new.review,
        "confidence": new.confidence,
        "claimed_by": None,
        "claimed_until": None,
    }


def history(connection: Connection, seq: int) -> Sequence[Row[Any]]:
    """The earlier revisions of a ticket, oldest first."""
    return connection.execute(
        select(Revision.number, Revision.text, Revision.tags, Revision.classified_at)
        .where(Revision.ticket_seq == seq)
        .order_by(Revision.number)
    ).all()


def search(connection: Connection, filters: Filters, *, before: int | None, limit: int) -> list[Stored]:
    """Tickets that pass the filters, newest first, from the one before `before` (a ticket's `seq`) on."""
    query = _filtered(select(_Tickets), filters)
    if before is not None:
        query = query.where(_Tickets.c.seq < before)
    return complete(connection, connection.execute(query.order_by(_Tickets.c.seq.desc()).limit(limit)).all())


def corrected(connection: Connection, *, after: int, limit: int) -> list[Stored]:
    """Tickets whose present text people have corrected, oldest first, from the one after `after` (a `seq`) on."""
    theirs = select(_Corrections.c.id).where(
        _Corrections.c.ticket_seq == _Tickets.c.seq, _Corrections.c.revision == _Tickets.c.revision
    )
    query = select(_Tickets).where(_Tickets.c.seq > after, theirs.exists()).order_by(_Tickets.c.seq).limit(limit)
    return complete(connection, connection.execute(query).all())


def correct(
    connection: Connection,
    ticket_id: str,
    *,
    by: str,
    why: str | None,
    labels: Mapping[str, Any],
    holds: Labels | None,
    now: datetime,
) -> Stored | None:
    """Add a correction beside the prediction; `holds` are the labels that hold then (None: those of before)."""
    found = find(connection, ticket_id, lock=True)
    if found is None:
        return None
    seq = found.row.seq
    connection.execute(
        insert(_Corrections).values(
            ticket_seq=seq, revision=found.row.revision, by=by, why=why, labels=dict(labels), at=now
        )
    )
    changes: dict[str, Any] = {"review": None, "claimed_by": None, "claimed_until": None}
    if holds:
        changes |= {"grade": holds.grade, "polarity": holds.polarity, "request": holds.request}
        connection.execute(delete(_Causes).where(_Causes.c.ticket_seq == seq))
        _add_causes(connection, [(seq, cause) for cause in holds.causes])
    connection.execute(update(_Tickets).where(_Tickets.c.seq == seq).values(**changes))
    return find(connection, ticket_id)


def erase(connection: Connection, ticket_id: str) -> bool:
    """Delete a ticket with its history, corrections and deliveries; whether there was one."""
    seq = connection.execute(select(_Tickets.c.seq).where(_Tickets.c.id == ticket_id)).scalar()
    return seq is not None and _erase_all(connection, [seq]) > 0


def purge(connection: Connection, received_before: datetime, *, limit: int = 500) -> int:
    """Erase up to `limit` tickets received before then; how many were."""
    old = select(_Tickets.c.seq).where(_Tickets.c.received_at < received_before).limit(limit)
    return _erase_all(connection, connection.execute(old).scalars().all())


def _erase_all(connection: Connection, seqs: Collection[int]) -> int:
    # In this order, not by cascade: SQLite leaves foreign keys to each connection's setting.
    for kept, column in (
        (Delivery, Delivery.ticket_seq),
        (Correction, Correction.ticket_seq),
        (Revision, Revision.ticket_seq),
        (TicketCause, TicketCause.ticket_seq),
    ):
        connection.execute(delete(kept).where(column.in_(seqs)))
    return connection.execute(delete(Ticket).where(Ticket.seq.in_(seqs))).rowcount


def _add_causes(connection: Connection, causes: Sequence[tuple[int, str]]) -> None:
    """Of tickets by their `seq`."""
    if causes:
        connection.execute(_ADD_CAUSE, [{"ticket_seq": seq, "label": label} for seq, label in causes])


def _filtered(query: Select[Any], filters: Filters) -> Select[Any]:
    columns = _Tickets.c
    for name in ("polarity", "grade", "request", "channel"):
        if (wanted := getattr(filters, name)) is not None:
            query = query.where(columns[name] == wanted)
    if filters.cause is not None:
        having = select(_Causes.c.ticket_seq).where(_Causes.c.label == filters.cause)
        query = query.where(columns.seq.in_(having))
    if filters.needs_review is not None:
        query = query.where(columns.review.is_not(None) if filters.needs_review else columns.review.is_(None))
    if filters.since is not None:
        query = query.where(columns.created_at >= filters.since)
    if filters.until is not None:
        query = query.where(columns.created_at < filters.until)
    for word in filters.words:
        query = query.where(columns.text.icontains(word, autoescape=True))
    return query


def complete(connection: Connection, rows: Sequence[Row[Any]]) -> list[Stored]:
    """Rows of tickets with their causes and corrections."""
    seqs = [row.seq for row in rows]
    causes: dict[int, list[str]] = {seq: [] for seq in seqs}
    for seq, label in connection.execute(
        select(_Causes.c.ticket_seq, _Causes.c.label).where(_Causes.c.ticket_seq.in_(seqs))
    ):
        causes[seq].append(label)
    corrections: dict[int, list[Row[Any]]] = {seq: [] for seq in seqs}
    theirs = select(_Corrections).where(_Corrections.c.ticket_seq.in_(seqs)).order_by(_Corrections.c.id)
    for correction in connection.execute(theirs):
        corrections[correction.ticket_seq].append(correction)
    return [Stored(row, tuple(sorted(causes[row.seq])), tuple(corrections[row.seq])) for row in rows]
