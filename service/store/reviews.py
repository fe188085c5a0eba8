"""The queue of tickets that need a person. Each function works inside the caller's transaction."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select, update

from service.store.tables import Ticket, TicketCause, table
from service.store.tickets import Stored, complete, find

_Tickets, _Causes = table(Ticket), table(TicketCause)


def queue(connection: Connection, now: datetime, *, limit: int) -> list[Stored]:
    """Tickets that a person should look at and nobody has claimed: of each main cause in turn the least sure ones.

    Taking the causes in turn covers the rare ones, which a list by confidence alone would leave to the end.
    """
    main_cause = (
        select(func.min(_Causes.c.label))
        .where(_Causes.c.ticket_seq == _Tickets.c.seq)
        .correlate(_Tickets)
        .scalar_subquery()
    )
    turn = func.row_number().over(
        partition_by=(main_cause, _Tickets.c.review), order_by=(_Tickets.c.confidence, _Tickets.c.seq)
    )
    ranked = select(_Tickets.c.seq, turn.label("turn")).where(_waits(now)).subquery()
    query = (
        select(_Tickets)
        .join(ranked, ranked.c.seq == _Tickets.c.seq)
        .order_by(ranked.c.turn, _Tickets.c.confidence, _Tickets.c.seq)
    )
    return complete(connection, connection.execute(query.limit(limit)).all())


def claim(connection: Connection, by: str, now: datetime, minutes: int, *, limit: int) -> list[Stored]:
    """Claim tickets of the queue for one reviewer; no two reviewers get the same one at a time."""
    taken: list[str] = []
    for candidate in queue(connection, now, limit=limit * 4):
        if len(taken) == limit:
            break
        mine = update(_Tickets).where(_Tickets.c.seq == candidate.row.seq, _waits(now))
        if connection.execute(mine.values(claimed_by=by, claimed_until=now + timedelta(minutes=minutes))).rowcount:
            taken.append(candidate.row.id)
    return [stored for ticket_id in taken if (stored := find(connection, ticket_id))]


def release(connection: Connection, ticket_id: str, by: str) -> bool:
    """Give a claimed review back to the queue; False when `by` does not hold it."""
    theirs = update(_Tickets).where(_Tickets.c.id == ticket_id, _Tickets.c.claimed_by == by)
    return connection.execute(theirs.values(claimed_by=None, claimed_until=None)).rowcount > 0


def _waits(now: datetime) -> Any:
    free = _Tickets.c.claimed_until.is_(None) | (_Tickets.c.claimed_until < now)
    return _Tickets.c.review.is_not(None) & free
