"""Refuses work at the door while too much of it waits.

Ten times as many requests may come as the model can answer, and what refusing them costs is taken from those that are
answered: so it is done before the body is read, around all else, with one line in the log for all of a second.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from time import monotonic

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service import observe
from service.metrics import Metrics
from service.problem import overloaded
from service.scheduler import OverloadedError, Scheduler

log = structlog.get_logger()

# Corrections, below `/v1/tickets/`, need no model and pass.
_FOR_THE_MODEL = re.compile(r"/v1/(classify(/batch)?|tickets|adapters/.*)")
_SECONDS_AN_ANSWER = 0.1
_SECONDS_A_LINE = 1.0


class Admission:
    """ASGI middleware: 503 with Retry-After for requests to the model that would have to wait too long."""

    def __init__(self, app: ASGIApp, scheduler: Scheduler, metrics: Metrics) -> None:
        self._app = app
        self._scheduler = scheduler
        self._metrics = metrics
        self._answer = Response()
        self._next_answer = self._next_line = 0.0
        self._refused = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and _FOR_THE_MODEL.fullmatch(scope["path"]):
            try:
                self._scheduler.admit(1)
            except OverloadedError as error:
                answer = self._saying(error)
                headers = [*answer.raw_headers, *observe.headers(scope)]
                await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
                await send({"type": "http.response.body", "body": answer.body})
                return
        await self._app(scope, receive, send)

    def _saying(self, error: OverloadedError) -> Response:
        """The answer, made anew a few times a second, and the refusal noted."""
        now = monotonic()
        if now >= self._next_answer:
            self._answer, self._next_answer = overloaded(error), now + _SECONDS_AN_ANSWER
        self._metrics.request("POST", "none", HTTPStatus.SERVICE_UNAVAILABLE, 0.0)
        self._refused += 1
        if now >= self._next_line:
            log.warning("refused", logger=__name__, requests=self._refused, why=str(error))
            self._refused, self._next_line = 0, now + _SECONDS_A_LINE
        return self._answer
