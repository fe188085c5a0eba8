"""What goes with every request: an id, the trace it belongs to, security headers, a log line, metrics."""

from __future__ import annotations

import random
import re
from time import perf_counter

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics import Metrics

log = structlog.get_logger()

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
# W3C trace context: version, trace id, parent id, flags; all zeros mean none.
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")
_FOR_PAGES = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
_SECURITY = (*_FOR_PAGES, (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"))
_ids = random.Random()  # Names, not secrets: asking the system for each costs a switch of threads under load.
_DOCS = ("/docs", "/redoc")
_QUIET = ("/healthz", "/readyz", "/metrics")


class Observe:
    """ASGI middleware around all of the application."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, trace_id, flags = _names(scope)
        extra: dict[str, str] = {}
        scope.setdefault("state", {})["headers"] = extra
        status, started = 0, perf_counter()

        async def dressed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message.get("headers", ()))
                own = {name for name, _ in headers}
                security = _FOR_PAGES if scope["path"].startswith(_DOCS) else _SECURITY
                headers += [header for header in security if header[0] not in own]
                headers += _told(request_id, trace_id, flags)
                headers += [(name.lower().encode(), value.encode()) for name, value in extra.items()]
                message["headers"] = headers
            await send(message)

        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id, trace_id=trace_id)
        try:
            await self._app(scope, receive, dressed)
        finally:
            took = perf_counter() - started
            route = getattr(scope.get("route"), "path", "none").replace(":path", "")
            self._metrics.request(scope["method"], route, status, took)
            if scope["path"] not in _QUIET:
                log.info(
                    "request",
                    logger="service.access",
                    method=scope["method"],
                    route=route,
                    status=status,
                    milliseconds=round(took * 1000, 1),
                    key=scope["state"].get("key"),
                )


def headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    """What every answer carries, for one that is given without the application."""
    return [*_SECURITY, *_told(*_names(scope))]


def _names(scope: Scope) -> tuple[str, str, str]:
    """The request's id, its trace's and the trace's flags: the client's, or new ones."""
    sent: dict[bytes, bytes] = dict(scope["headers"])
    given = _REQUEST_ID.fullmatch(sent.get(b"x-request-id", b""))
    trace = _TRACEPARENT.fullmatch(sent.get(b"traceparent", b""))
    trace_id, flags = (trace[1].decode(), trace[2].decode()) if trace else (_hex(16), "00")
    return given[0].decode() if given else _hex(8), trace_id, flags


def _told(request_id: str, trace_id: str, flags: str) -> list[tuple[bytes, bytes]]:
    parent = f"00-{trace_id}-{_hex(8)}-{flags}"
    return [(b"x-request-id", request_id.encode()), (b"traceparent", parent.encode())]


def _hex(size: int) -> str:
    """`size` random bytes in hexadecimal; never only zeros, which would mean none."""
    return f"{_ids.randrange(1, 256**size):0{2 * size}x}"
