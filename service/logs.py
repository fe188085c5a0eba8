"""Structured logs: one JSON object a line (or text, for people), with the request's id and trace. Texts never go in."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, Literal

import structlog
from structlog.typing import EventDict, Processor


def configure(log_format: Literal["json", "text"]) -> None:
    """Send what this program and its libraries log to stderr in the one format."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: Processor = _json if log_format == "json" else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    # The line that each request gets goes straight to stderr; by way of the standard library it took twice as long.
    structlog.configure(
        processors=[*shared, last],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name, structlog.processors.format_exc_info],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in ("httpx", "httpcore", "alembic"):  # They would log one line a delivery, with its address.
        logging.getLogger(name).setLevel(logging.WARNING)


_encode = json.JSONEncoder(ensure_ascii=False, default=repr).encode


def _json(_logger: Any, _method: str, event: EventDict) -> str:
    return _encode(event)
