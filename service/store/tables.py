"""The tables. Changing one needs a migration in `migrations/versions`; a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Utc(TypeDecorator[datetime]):
    """An aware datetime, kept in UTC; SQLite has no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Aware → UTC, without its zone where the database knows none."""
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The aware UTC time."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """All tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy's own way)
        datetime: Utc(),
        dict[str, Any]: JSON(),
        list[str]: JSON(),
        str: String(),
    }


def table(of: type[Base]) -> Table:
    """The table behind a class, for statements that need no objects."""
    found = of.__table__
    assert isinstance(found, Table)
    return found


# SQLite numbers rows by itself only in a column of type INTEGER.
_Serial = BigInteger().with_variant(Integer(), "sqlite")


class Ticket(Base):
    """A ticket as it is now: its newest text, what the model said of it, and the labels that hold."""

    __tablename__ = "tickets"

    seq: Mapped[int] = mapped_column(_Serial, primary_key=True)
    id: Mapped[str] = mapped_column(String(128), unique=True)
    revision: Mapped[int]
    text: Mapped[str] = mapped_column(Text)
    text_sha256: Mapped[str] = mapped_column(String(64))
    channel: Mapped[str | None] = mapped_column(String(64))
    attributes: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(index=True)
    received_at: Mapped[datetime] = mapped_column(index=True)
    classified_at: Mapped[datetime]
    tags: Mapped[dict[str, Any]]
    # The labels that hold: the model's, or those of the last correction.
    grade: Mapped[int] = mapped_column(index=True)
    polarity: Mapped[str] = mapped_column(String(16), index=True)
    request: Mapped[str] = mapped_column(String(64), index=True)
    # Why a person should look (uncertain, sample), until one has.
    review: Mapped[str | None] = mapped_column(String(16))
    confidence: Mapped[float]
    claimed_by: Mapped[str | None] = mapped_column(String(128))
    claimed_until: Mapped[datetime | None]

    __table_args__ = (Index(None, "review", "confidence"),)


class TicketCause(Base):
    """A cause that holds for a ticket; for filters."""

    __tablename__ = "ticket_causes"

    label: Mapped[str] = mapped_column(String(64), primary_key=True)
    ticket_seq: Mapped[int] = mapped_column(ForeignKey(Ticket.seq, ondelete="CASCADE"), primary_key=True, index=True)


class Revision(Base):
    """An earlier text of a ticket with what the model said of it."""

    __tablename__ = "revisions"

    ticket_seq: Mapped[int] = mapped_column(ForeignKey(Ticket.seq, ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    text: Mapped[str] = mapped_column(Text)
    tags: Mapped[dict[str, Any]]
    classified_at: Mapped[datetime]


class Correction(Base):
    """What a person says the labels are."""

    __tablename__ = "corrections"

    id: Mapped[int] = mapped_column(_Serial, primary_key=True)
    ticket_seq: Mapped[int] = mapped_column(ForeignKey(Ticket.seq, ondelete="CASCADE"), index=True)
    revision: Mapped[int]
    by: Mapped[str] = mapped_column(String(128))
    why: Mapped[str | None] = mapped_column(Text)
    labels: Mapped[dict[str, Any]]
    at: Mapped[datetime] = mapped_column(index=True)


class Webhook(Base):
    """A subscription to events. The secret signs what is sent, so it is kept as it is."""

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    url: Mapped[str] = mapped_column(Text)
    secret: Mapped[str] = mapped_column(String(128))
    filters: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class Delivery(Base):
    """One event on its way to one webhook; written in the transaction of what it tells of."""

    __tablename__ = "deliveries"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey(Webhook.id, ondelete="CASCADE"))
    ticket_seq: Mapped[int] = mapped_column(ForeignKey(Ticket.seq, ondelete="CASCADE"), index=True)
    payload: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(16), default="waiting")
    attempts: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[datetime]
    last_error: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (Index(None, "webhook_id", "state", "due_at"),)


class ApiKey(Base):
    """A key: the hash of its secret part, and what it may do."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(128))
    secret_sha256: Mapped[bytes] = mapped_column(LargeBinary(32))
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class IdempotentAnswer(Base):
    """The answer to a write that came with an Idempotency-Key; without status while it is being worked out."""

    __tablename__ = "idempotent_answers"

    key_id: Mapped[str] = mapped_column(String(16), primary_key=True)
    idempotency_key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    begun_at: Mapped[datetime] = mapped_column(index=True)
    status: Mapped[int | None]
    body: Mapped[str | None] = mapped_column(Text)
    subject: Mapped[str | None] = mapped_column(String(128), index=True)


class AuditEntry(Base):
    """Who wrote what; never the text of a ticket."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(_Serial, primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    key_id: Mapped[str] = mapped_column(String(16))
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(160))
