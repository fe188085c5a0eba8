"""What accompanies writes: the audit log, and answers to requests with an Idempotency-Key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from service.store.tables import AuditEntry, IdempotentAnswer, table

_Answers = table(IdempotentAnswer)
_RECORD = insert(table(AuditEntry)).inline()


@dataclass(frozen=True, slots=True)
class Answered:
    """The stored answer of a write."""

    status: int
    body: str


Begun = Literal["begun", "in_progress", "different"] | Answered
"""`begun`: work it out; `in_progress`: another request is at it; `different`: the key came with another request."""


def record(connection: Connection, key_id: str, action: str, subject: str, now: datetime) -> None:
    """Note a write in the audit log."""
    record_all(connection, [(key_id, subject)], action, now)


def record_all(connection: Connection, written: Sequence[tuple[str, str]], action: str, now: datetime) -> None:
    """Note writes of one kind in the audit log: of each the key and the subject."""
    if written:
        connection.execute(
            _RECORD,
            [{"at": now, "key_id": key_id, "action": action, "subject": subject} for key_id, subject in written],
        )


def begin(
    connection: Connection, key_id: str, key: str, fingerprint: str, now: datetime, *, patience_seconds: float
) -> Begun:
    """Reserve an Idempotency-Key, or tell what became of it. A reservation older than `patience_seconds` is void."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    reserve = dialect.insert(_Answers).values(key_id=key_id, idempotency_key=key, fingerprint=fingerprint, begun_at=now)
    if connection.execute(reserve.on_conflict_do_nothing().returning(_Answers.c.key_id)).first():
        return "begun"
    mine = (_Answers.c.key_id == key_id) & (_Answers.c.idempotency_key == key)
    row = connection.execute(select(_Answers).where(mine).with_for_update()).first()
    if row is None or (row.status is None and row.begun_at < now - timedelta(seconds=patience_seconds)):
        connection.execute(delete(_Answers).where(mine))
        return begin(connection, key_id, key, fingerprint, now, patience_seconds=patience_seconds)
    if row.fingerprint != fingerprint:
        return "different"
    if row.status is None:
        return "in_progress"
    return Answered(row.status, row.body or "")


def finish(connection: Connection, key_id: str, key: str, answer: Answered, subject: str | None) -> None:
    """Keep the answer; `subject` is the ticket whose erasure takes it along."""
    mine = (_Answers.c.key_id == key_id) & (_Answers.c.idempotency_key == key)
    connection.execute(update(_Answers).where(mine).values(status=answer.status, body=answer.body, subject=subject))


def abandon(connection: Connection, key_id: str, key: str) -> None:
    """Give a reservation up: the request failed, and may be sent again."""
    connection.execute(delete(_Answers).where(_Answers.c.key_id == key_id, _Answers.c.idempotency_key == key))


def forget_subject(connection: Connection, subject: str) -> None:
    """Delete the answers that are about a ticket."""
    connection.execute(delete(_Answers).where(_Answers.c.subject == subject))


def forget(connection: Connection, begun_before: datetime) -> int:
    """Delete answers to requests from before then; how many there were."""
    return connection.execute(delete(_Answers).where(_Answers.c.begun_at < begun_before)).rowcount
