"""The web application: wiring, and nothing else."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from typing import Any

import anyio
from fastapi import FastAPI
from prometheus_client.core import Metric
from starlette.middleware.cors import CORSMiddleware

from fankui.errors import FankuiError
from fankui.replies import ReplyRules
from service import metrics as readings
from service import problem
from service.admission import Admission
from service.api import classify, models, replies, reviews, system, taxonomy, tickets, webhooks
from service.api.deps import Parts
from service.auth import Gatekeeper
from service.body_limit import BodyLimit
from service.inference import Inference
from service.metrics import Metrics
from service.observe import Observe
from service.rate_limit import RateLimit
from service.settings import Settings
from service.store.database import Database
from service.ticketing import Ticketing
from service.webhooks import Dispatcher

log = logging.getLogger(__name__)

_DESCRIPTION = """\
Chinese customer feedback comes in; the causes of dissatisfaction with their evidence, the satisfaction grade, the \
request and more come out, each with a calibrated probability. What a label means, `GET /v1/taxonomy` tells.

输入中文客户反馈，返回不满原因及其原文依据、满意度等级、诉求等，每项都带校准后的概率。标签含义见 `GET /v1/taxonomy`。

Errors are problem details (RFC 9457, `application/problem+json`); `type` identifies the kind, `detail` says what to do.
错误以 RFC 9457 problem+json 返回：`type` 标识错误类型，`detail` 说明如何处理。
"""
_TAGS = [
    {"name": "classify", "description": "Classify feedback, without storing it. 分析反馈（不入库）。"},
    {"name": "tickets", "description": "Classify, store and find tickets. 工单：分析、入库、查询、更正。"},
    {"name": "reviews", "description": "What needs a person. 人工复核队列。"},
    {"name": "replies", "description": "Check agents' drafts. 检查客服回复。"},
    {"name": "webhooks", "description": "Be told of tickets. 事件通知。"},
    {"name": "taxonomy", "description": "What the labels mean. 标签含义。"},
    {"name": "models", "description": "Which model answers. 模型信息。"},
    {"name": "system", "description": "Health and metrics, for operations. 运行状态与指标。"},
]


class _Service(FastAPI):
    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            document["components"]["schemas"].update(problem.schemas())
            if self.state.parts.settings.development:  # No key is asked for, so the document asks for none.
                del document["components"]["securitySchemes"]
                for operations in document["paths"].values():
                    for operation in operations.values():
                        operation.pop("security", None)
        assert self.openapi_schema is not None
        return self.openapi_schema


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; without `settings` they come from the environment (raises SettingsError).

    The model loads in the background once the application starts; until then `/readyz` answers 503.
    """
    settings = settings or Settings.read()
    metrics = Metrics()
    database = Database.of(settings)
    inference = Inference(settings, metrics.call)
    ticketing = Ticketing(settings, database, inference, metrics)
    dispatcher = Dispatcher(database, settings, metrics, ticketing.delivery_due)
    metrics.watch(lambda: _read(inference, database))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if database.is_embedded:
            await anyio.to_thread.run_sync(database.upgrade)
        async with anyio.create_task_group() as background:
            background.start_soon(inference.load)
            background.start_soon(dispatcher.run)
            with _reload_on_hangup(inference):
                yield
            background.cancel_scope.cancel()
        await anyio.to_thread.run_sync(inference.scheduler.close)
        await anyio.to_thread.run_sync(database.close)

    app = _Service(
        title="Fankui 反馈",
        summary="Why customers are dissatisfied, and how much. 顾客为何不满、有多不满。",
        description=_DESCRIPTION,
        version=version("fankui"),
        openapi_tags=_TAGS,
        redirect_slashes=False,
        lifespan=lifespan,
        # Observe does this; asking for a tracer at each request took a tenth of the event loop's time.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.parts = Parts(
        settings=settings,
        metrics=metrics,
        database=database,
        inference=inference,
        ticketing=ticketing,
        gatekeeper=Gatekeeper(database),
        rate_limit=RateLimit(settings.rate_limit_per_minute),
        reply_rules=ReplyRules.load(),
    )
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes, seconds=settings.request_timeout_seconds)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=["*"], allow_headers=["*"]
        )
    app.add_middleware(Observe, metrics=metrics)
    app.add_middleware(Admission, scheduler=inference.scheduler, metrics=metrics)
    problem.install(app)
    for router in (
        classify.router,
        tickets.router,
        tickets.adapters,
        reviews.router,
        replies.router,
        webhooks.router,
        taxonomy.router,
        models.router,
        system.router,
    ):
        app.include_router(router)
    return app


@contextmanager
def _reload_on_hangup(inference: Inference) -> Iterator[None]:
    """SIGHUP loads the model anew, as long as this runs in the main thread of a process that has such a signal."""
    if not hasattr(signal, "SIGHUP") or threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    running: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        try:
            await inference.reload()
        except FankuiError:
            pass  # It is logged, and the former model goes on answering.
        except Exception:
            log.exception("The model could not be loaded; the former one goes on answering.")

    def begin() -> None:
        task = loop.create_task(reload())
        running.add(task)
        task.add_done_callback(running.discard)

    loop.add_signal_handler(signal.SIGHUP, begin)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


def _read(inference: Inference, database: Database) -> Iterator[Metric]:
    yield readings.gauge("fankui_queue_texts", "Texts that wait for the model.", inference.scheduler.waiting)
    yield readings.counter("fankui_model_tokens", "Tokens that the model has read.", inference.tokens)
    yield readings.gauge("fankui_database_connections", "Database connections in use.", database.connections_in_use)
    if inference.version:
        yield readings.gauge("fankui_model", "The model that answers.", 1, version=inference.version)
