"""Refuses work at the door while too much of it waits: before the body is read, so that refusing costs little."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from service.problem import overloaded
from service.scheduler import OverloadedError, Scheduler

_FOR_THE_MODEL = ("/v1/classify", "/v1/tickets", "/v1/adapters")


class Admission:
    """ASGI middleware: 503 with Retry-After for requests to the model that would have to wait too long."""

    def __init__(self, app: ASGIApp, scheduler: Scheduler) -> None:
        self._app = app
        self._scheduler = scheduler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"].startswith(_FOR_THE_MODEL):
            try:
                self._scheduler.admit(1)
            except OverloadedError as error:
                await overloaded(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)
