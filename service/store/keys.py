"""API keys in the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping, insert, select, update

from service.store.tables import ApiKey


@dataclass(frozen=True, slots=True)
class NewKey:
    """What is kept of a key that is being made."""

    id: str
    name: str
    secret_sha256: bytes
    scopes: list[str]


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key that is in force."""

    id: str
    name: str
    secret_sha256: bytes
    scopes: tuple[str, ...]


def add(connection: Connection, key: NewKey, now: datetime) -> None:
    """Store a new key."""
    connection.execute(
        insert(ApiKey).values(
            id=key.id, name=key.name, secret_sha256=key.secret_sha256, scopes=key.scopes, created_at=now
        )
    )


def find(connection: Connection, key_id: str) -> KnownKey | None:
    """A key that is in force."""
    query = select(ApiKey.id, ApiKey.name, ApiKey.secret_sha256, ApiKey.scopes)
    row = connection.execute(query.where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None))).first()
    return KnownKey(row.id, row.name, row.secret_sha256, tuple(row.scopes)) if row else None


def list_all(connection: Connection) -> Sequence[RowMapping]:
    """All keys, also revoked ones, oldest first; without their hashes."""
    query = select(ApiKey.id, ApiKey.name, ApiKey.scopes, ApiKey.created_at, ApiKey.revoked_at)
    return connection.execute(query.order_by(ApiKey.created_at, ApiKey.id)).mappings().all()


def revoke(connection: Connection, key_id: str, now: datetime) -> bool:
    """Revoke a key; False when there is none in force with this id."""
    query = update(ApiKey).where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
    return connection.execute(query.values(revoked_at=now)).rowcount > 0
