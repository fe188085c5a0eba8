"""API keys: who calls, and what the caller may do.

A key is `fk_<id>_<secret>`; only the SHA-256 of the secret is kept. The secret is 32 random bytes, so a slow hash would
add nothing but delay.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from time import monotonic
from typing import Literal, get_args

from fankui.errors import FankuiError
from service.store import keys
from service.store.database import Database

Scope = Literal["classify", "tickets:read", "tickets:write", "review", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
_PREFIX = "fk"
_REMEMBERED_SECONDS = 10.0
_MOST_REMEMBERED = 1_000


class UnusableKeyError(FankuiError):
    """A key cannot be made as asked."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent a request."""

    key_id: str
    name: str
    scopes: frozenset[str]


DEVELOPER = Caller("development", "development", frozenset(SCOPES))
"""The caller in development mode, in which no key is asked for."""


def new_key(name: str, scopes: Iterable[str]) -> tuple[str, keys.NewKey]:
    """A new key as its owner gets it, and what is kept of it. Raises UnusableKeyError for a scope that there is not."""
    wanted = sorted(set(scopes))
    for scope in wanted:
        if scope not in SCOPES:
            raise UnusableKeyError(f"There is no scope {scope!r}; there are: {', '.join(SCOPES)}.")
    if not wanted:
        raise UnusableKeyError(f"A key needs at least one scope of: {', '.join(SCOPES)}.")
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    return f"{_PREFIX}_{key_id}_{secret}", keys.NewKey(key_id, name, _hashed(secret), wanted)


class Gatekeeper:
    """Recognises callers. What the database said of a key is remembered for ten seconds, a revocation takes so long."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._remembered: dict[str, tuple[float, keys.KnownKey | None]] = {}

    async def recognise(self, token: str) -> Caller | None:
        """The caller whose key this is; None for a key that is wrong or revoked. Raises StoreUnavailableError."""
        prefix, _, rest = token.partition("_")
        key_id, _, secret = rest.partition("_")
        if prefix != _PREFIX or not secret or len(token) > 200 or not token.isascii():
            return None
        known = await self._known(key_id)
        # Compared in any case, so that the time does not tell whether the id exists.
        matches = hmac.compare_digest(known.secret_sha256 if known else bytes(32), _hashed(secret))
        return Caller(known.id, known.name, frozenset(known.scopes)) if known and matches else None

    async def _known(self, key_id: str) -> keys.KnownKey | None:
        until, known = self._remembered.get(key_id, (0.0, None))
        if monotonic() < until:
            return known
        known = await self._database.read(lambda connection: keys.find(connection, key_id))
        if len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[key_id] = (monotonic() + _REMEMBERED_SECONDS, known)
        return known


def _hashed(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
