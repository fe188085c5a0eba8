"""What goes with every request: an id, the trace it belongs to, security headers, a log line, metrics."""

from __future__ import annotations

import random
import re
from time import perf_counter

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics import Metrics

log = structlog.get_logger("service.access")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
# W3C trace context: version, trace id, parent id, flags; all zeros mean none.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")
_SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
_ids = random.Random()  # Names, not secrets: asking the system for each costs a switch of threads under load.
_DOCS = ("/docs", "/redoc")
_QUIET = ("/healthz", "/readyz", "/metrics")


class Observe:
    """ASGI middleware, the outermost one."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = headers.get("x-request-id", "")
        if not _REQUEST_ID.fullmatch(request_id):
            request_id = _hex(8)
        trace = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
        trace_id, flags = (trace[1], trace[2]) if trace else (_hex(16), "00")
        span_id = _hex(8)
        extra: dict[str, str] = {}
        scope.setdefault("state", {})["headers"] = extra
        status, started = 0, perf_counter()

        async def dressed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                answer = MutableHeaders(scope=message)
                answer["X-Request-ID"] = request_id
                answer["traceparent"] = f"00-{trace_id}-{span_id}-{flags}"
                for name, value in _SECURITY.items():
                    if name != "Content-Security-Policy" or not scope["path"].startswith(_DOCS):
                        answer.setdefault(name, value)
                for name, value in extra.items():
                    answer[name] = value
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
                    method=scope["method"],
                    route=route,
                    status=status,
                    milliseconds=round(took * 1000, 1),
                    key=scope["state"].get("key"),
                )


def _hex(size: int) -> str:
    """`size` random bytes in hexadecimal; never only zeros, which would mean none."""
    return f"{_ids.randrange(1, 256**size):0{2 * size}x}"
