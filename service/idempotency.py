"""`Idempotency-Key`: a write that is sent again with the same key is not done again but answered as before.

After draft-ietf-httpapi-idempotency-key-header. Tickets need no such key, their id does the same.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime

from fastapi import Request, Response

from service.api.deps import Handler, JsonRoute, Parts, count, recognise
from service.auth import Caller
from service.problem import CONFLICT, KEY_REUSED, Fault, Problem
from service.store import writes

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class IdempotentRoute(JsonRoute):
    """A route whose POST requests honour the header."""

    def get_route_handler(self) -> Handler:
        """See APIRoute."""
        answer = super().get_route_handler()

        async def handler(request: Request) -> Response:
            key = request.headers.get("idempotency-key")
            caller = await recognise(request) if key is not None and request.method == "POST" else None
            if key is None or caller is None:  # Without a caller the route itself says so.
                return await answer(request)
            if not _KEY.fullmatch(key):
                message = "This must be 1 to 255 visible ASCII characters."
                raise Problem.invalid([Fault(field="Idempotency-Key", message=message)])
            return await _once(request, answer, caller, key)

        return handler


async def _once(request: Request, answer: Handler, caller: Caller, key: str) -> Response:
    key_id = caller.key_id
    parts = Parts.of(request)
    database = parts.database
    content = hashlib.sha256(request.url.path.encode("utf-8", "surrogatepass") + b"\0" + await request.body())
    patience = 2 * parts.settings.request_timeout_seconds
    begun = await database.write(
        lambda connection: writes.begin(
            connection, key_id, key, content.hexdigest(), datetime.now(UTC), patience_seconds=patience
        )
    )
    if begun == "different":
        raise Problem(KEY_REUSED, KEY_REUSED.example)
    if begun == "in_progress":
        raise Problem(CONFLICT, CONFLICT.example, headers={"Retry-After": "1"})
    if isinstance(begun, writes.Answered):
        count(request, caller)
        headers = {"Idempotency-Replayed": "true"}
        return Response(begun.body, begun.status, headers, "application/json")
    try:
        response = await answer(request)
        answered = writes.Answered(response.status_code, bytes(response.body).decode())
        subject = getattr(request.state, "subject", None)
        await database.write(lambda connection: writes.finish(connection, key_id, key, answered, subject))
    except BaseException:  # Also a cancelled request: it may be sent again.
        await database.write(lambda connection: writes.abandon(connection, key_id, key))
        raise
    return response
