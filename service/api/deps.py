"""What routes need: the parts of the service, who calls, and JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request, Response
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.routing import APIRoute
from fastapi.security.base import SecurityBase

from fankui.engine import Tagger
from fankui.replies import ReplyRules
from service.auth import DEVELOPER, Caller, Gatekeeper, Scope
from service.inference import Inference
from service.metrics import Metrics
from service.problem import FORBIDDEN, NOT_JSON, TOO_MANY, UNAUTHENTICATED, Problem
from service.rate_limit import RateLimit
from service.settings import Settings
from service.store.database import Database
from service.ticketing import Ticketing

_T = TypeVar("_T")
Handler = Callable[[Request], Coroutine[Any, Any, Response]]

_GONE = "the client closed the connection"


@dataclass(frozen=True, slots=True)
class Parts:
    """What the routes work with, made once by the application."""

    settings: Settings
    metrics: Metrics
    database: Database
    inference: Inference
    ticketing: Ticketing
    gatekeeper: Gatekeeper
    rate_limit: RateLimit
    reply_rules: ReplyRules

    @classmethod
    def of(cls, request: Request) -> Parts:
        """Those of the application that the request came to."""
        parts: Parts = request.app.state.parts
        return parts

    @property
    def tagger(self) -> Tagger:
        """The loaded model. Raises NotReadyError."""
        return self.inference.tagger


async def recognise(request: Request) -> Caller | None:
    """Whoever sent the request; None without a key that is in force. Raises StoreUnavailableError."""
    parts = Parts.of(request)
    if parts.settings.development:
        return DEVELOPER
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return await parts.gatekeeper.recognise(token.strip()) if scheme.lower() == "bearer" else None


def count(request: Request, caller: Caller) -> None:
    """Hold a request against the caller's rate limit. Raises Problem (429)."""
    parts = Parts.of(request)
    allowance = parts.rate_limit.take(caller.key_id)
    request.state.headers.update(allowance.headers)
    if not allowance.passes:
        raise Problem(
            TOO_MANY,
            f"The key {caller.name!r} may send {parts.settings.rate_limit_per_minute} requests a minute; try again "
            f"after the {allowance.headers['Retry-After']} seconds of Retry-After.",
        )


async def _parts(request: Request) -> Parts:  # A plain function would be called in a thread.
    return Parts.of(request)


class _KeyWith(SecurityBase):
    """A dependency: the caller, whose key must have `scope`. Raises Problem (401, 403, 429)."""

    def __init__(self, scope: Scope) -> None:
        self.model = HTTPBearerModel(description="`Authorization: Bearer fk_…`")
        self.scheme_name = "API key"
        self._scope = scope

    async def __call__(self, request: Request) -> Caller:
        found = await recognise(request)
        if found is None:
            raise Problem(UNAUTHENTICATED, UNAUTHENTICATED.example, headers={"WWW-Authenticate": "Bearer"})
        request.state.key = found.key_id
        count(request, found)
        if self._scope not in found.scopes:
            raise Problem(
                FORBIDDEN,
                f"The key {found.name!r} lacks the scope {self._scope}; make one that has it with "
                "`fankui keys create`.",
            )
        return found


class JsonRoute(APIRoute):
    """A route whose body, if it takes one, must say that it is JSON. Answers with Problem (415) otherwise.

    Not a dependency, because the framework needs longer for each of those than they do for their work.
    """

    def get_route_handler(self) -> Handler:
        """See APIRoute."""
        answer = super().get_route_handler()
        if self.body_field is None:
            return answer

        async def handler(request: Request) -> Response:
            _require_json(request)
            return await answer(request)

        return handler


def _require_json(request: Request) -> None:
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sent != "application/json" and not (sent.startswith("application/") and sent.endswith("+json")):
        found = f"this was {sent[:100]}" if sent else "there was no such header"
        raise Problem(NOT_JSON, f"Send JSON with the header Content-Type: application/json; {found}.")


async def unless_gone(request: Request, work: Awaitable[_T]) -> _T:
    """The outcome of `work`, which is cancelled when the client closes the connection. Raises ClientGoneError then."""
    watching = asyncio.ensure_future(_gone(request))
    this = asyncio.current_task()
    assert this

    def stop(watch: asyncio.Future[None]) -> None:
        if at_work and not watch.cancelled():
            this.cancel(_GONE)

    watching.add_done_callback(stop)
    at_work = True
    try:
        return await work
    except asyncio.CancelledError as error:
        if error.args[:1] != (_GONE,):
            raise
        this.uncancel()
        raise Problem.client_gone() from None
    finally:
        at_work = False
        watching.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


PartsDep = Annotated[Parts, Depends(_parts)]
MayClassify = Annotated[Caller, Depends(_KeyWith("classify"))]
MayReadTickets = Annotated[Caller, Depends(_KeyWith("tickets:read"))]
MayWriteTickets = Annotated[Caller, Depends(_KeyWith("tickets:write"))]
MayReview = Annotated[Caller, Depends(_KeyWith("review"))]
MayAdminister = Annotated[Caller, Depends(_KeyWith("admin"))]
