"""Refuses bodies that are too large, whether or not their length is said beforehand, and those that do not come."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problem import SLOW_BODY, TOO_LARGE, Problem

_LONGEST_NUMBER = 15
_PATIENCE_SECONDS = 5


class BodyLimit:
    """ASGI middleware: more than `limit` bytes of body are answered with 413 and never kept in memory; a body that has
    not come after `seconds` with 408."""

    def __init__(self, app: ASGIApp, limit: int, seconds: float) -> None:
        self._app = app
        self._limit = limit
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        too_large = Problem(
            TOO_LARGE, f"The body has more than the {self._limit:,} bytes that are allowed; send fewer texts at once."
        )
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and (len(declared) > _LONGEST_NUMBER or int(declared) > self._limit):
            await _discard(receive)
            await too_large.response()(scope, receive, send)
            return
        received, complete = 0, False
        deadline = asyncio.get_running_loop().time() + self._seconds

        async def counted() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise Problem(SLOW_BODY, f"The body had not come after {self._seconds:g} seconds.") from None
            complete = not message.get("more_body")
            received += len(message.get("body", b""))
            if received > self._limit:
                if message.get("more_body"):
                    await _discard(receive)
                raise too_large
            return message

        await self._app(scope, counted, send)


async def _discard(receive: Receive) -> None:
    """Read on for a while: a client that is still writing when the connection closes never sees the answer."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while (await receive()).get("more_body"):
                pass
