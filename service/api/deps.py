"""What routes need, as types: a signature tells all that a route touches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from fankui.engine import Tagger
from service.auth import DEVELOPER, Caller, Gatekeeper, Scope
from service.inference import Inference
from service.metrics import Metrics
from service.problem import FORBIDDEN, NOT_JSON, TOO_MANY, UNAUTHENTICATED, Problem
from service.rate_limit import RateLimit
from service.settings import Settings
from service.store.database import Database
from service.ticketing import Ticketing

_T = TypeVar("_T")

_GONE = "the client closed the connection"

_bearer = HTTPBearer(auto_error=False, scheme_name="API key", description="`Authorization: Bearer fk_…`")


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _inference(request: Request) -> Inference:
    inference: Inference = request.app.state.inference
    return inference


async def _tagger(request: Request) -> Tagger:
    return (await _inference(request)).tagger


async def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


async def _metrics(request: Request) -> Metrics:
    metrics: Metrics = request.app.state.metrics
    return metrics


async def _ticketing(request: Request) -> Ticketing:
    ticketing: Ticketing = request.app.state.ticketing
    return ticketing


async def require_json(request: Request) -> None:
    """Refuse a body that does not say it is JSON. Raises Problem (415)."""
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sent != "application/json" and not (sent.startswith("application/") and sent.endswith("+json")):
        found = f"this was {sent[:100]}" if sent else "there was no such header"
        raise Problem(NOT_JSON, f"Send JSON with the header Content-Type: application/json; {found}.")


async def recognise(request: Request) -> Caller | None:
    """Whoever sent the request; None without a key that is in force. Raises StoreUnavailableError."""
    settings: Settings = request.app.state.settings
    if settings.development:
        return DEVELOPER
    gatekeeper: Gatekeeper = request.app.state.gatekeeper
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return await gatekeeper.recognise(token.strip()) if scheme.lower() == "bearer" else None


def count(request: Request, caller: Caller) -> None:
    """Hold a request against the caller's rate limit. Raises Problem (429)."""
    limit: RateLimit = request.app.state.rate_limit
    allowance = limit.take(caller.key_id)
    request.state.headers.update(allowance.headers)
    if not allowance.passes:
        settings: Settings = request.app.state.settings
        raise Problem(
            TOO_MANY,
            f"The key {caller.name!r} may send {settings.rate_limit_per_minute} requests a minute; try again after "
            f"the {allowance.headers['Retry-After']} seconds of Retry-After.",
        )


def requires(scope: Scope) -> Callable[..., Coroutine[Any, Any, Caller]]:
    """A dependency: the caller, whose key must have `scope`. Raises Problem (401, 403, 429)."""

    async def caller(
        request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)] = None
    ) -> Caller:
        found = await recognise(request)
        if found is None:
            raise Problem(UNAUTHENTICATED, UNAUTHENTICATED.example, headers={"WWW-Authenticate": "Bearer"})
        request.state.key = found.key_id
        count(request, found)
        if scope not in found.scopes:
            raise Problem(
                FORBIDDEN,
                f"The key {found.name!r} lacks the scope {scope}; make one that has it with `fankui keys create`.",
            )
        return found

    return caller


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


SettingsDep = Annotated[Settings, Depends(_settings)]
InferenceDep = Annotated[Inference, Depends(_inference)]
TaggerDep = Annotated[Tagger, Depends(_tagger)]
DatabaseDep = Annotated[Database, Depends(_database)]
MetricsDep = Annotated[Metrics, Depends(_metrics)]
TicketingDep = Annotated[Ticketing, Depends(_ticketing)]
MayClassify = Annotated[Caller, Depends(requires("classify"))]
MayReadTickets = Annotated[Caller, Depends(requires("tickets:read"))]
MayWriteTickets = Annotated[Caller, Depends(requires("tickets:write"))]
MayReview = Annotated[Caller, Depends(requires("review"))]
MayAdminister = Annotated[Caller, Depends(requires("admin"))]
