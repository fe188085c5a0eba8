"""Refuses work at the door while too much of it waits: before the body is read, so that refusing costs little."""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from service.problem import overloaded
from service.scheduler import OverloadedError, Scheduler

# Corrections, below `/v1/tickets/`, need no model and pass.
_FOR_THE_MODEL = re.compile(r"/v1/(classify(/batch)?|tickets|adapters/.*)")


class Admission:
    """ASGI middleware: 503 with Retry-After for requests to the model that would have to wait too long."""

    def __init__(self, app: ASGIApp, scheduler: Scheduler) -> None:
        self._app = app
        self._scheduler = scheduler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and _FOR_THE_MODEL.fullmatch(scope["path"]):
            try:
                self._scheduler.admit(1)
            except OverloadedError as error:
                await overloaded(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)
