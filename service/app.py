"""The web application: wiring, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import anyio
from fastapi import FastAPI

from service import problem
from service.api import classify, models, system, taxonomy
from service.body_limit import BodyLimit
from service.inference import Inference
from service.settings import Settings

_DESCRIPTION = """\
Chinese customer feedback comes in; the causes of dissatisfaction with their evidence, the satisfaction grade, the \
request and more come out, each with a calibrated probability. What a label means, `GET /v1/taxonomy` tells.

输入中文客户反馈，返回不满原因及其原文依据、满意度等级、诉求等，每项都带校准后的概率。标签含义见 `GET /v1/taxonomy`。

Errors are problem details (RFC 9457, `application/problem+json`); `type` identifies the kind, `detail` says what to do.
错误以 RFC 9457 problem+json 返回：`type` 标识错误类型，`detail` 说明如何处理。
"""
_TAGS = [
    {"name": "classify", "description": "Classify feedback. 分析反馈。"},
    {"name": "taxonomy", "description": "What the labels mean. 标签含义。"},
    {"name": "models", "description": "Which model answers. 模型信息。"},
    {"name": "system", "description": "Health, for orchestrators. 运行状态。"},
]


class _Service(FastAPI):
    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        document["components"]["schemas"].update(problem.schemas())
        return document


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; without `settings` they come from the environment (raises SettingsError).

    The model loads in the background once the application starts; until then `/readyz` answers 503.
    """
    settings = settings or Settings.read()
    inference = Inference(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with anyio.create_task_group() as background:
            background.start_soon(inference.load)
            yield
            background.cancel_scope.cancel()

    app = _Service(
        title="Fankui 反馈",
        summary="Why customers are dissatisfied, and how much. 顾客为何不满、有多不满。",
        description=_DESCRIPTION,
        version=version("fankui"),
        openapi_tags=_TAGS,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.state.inference = inference
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    problem.install(app)
    for resource in (classify, taxonomy, models, system):
        app.include_router(resource.router)
    return app
