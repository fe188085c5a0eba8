"""What an orchestrator asks."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from service import problem
from service.api import examples
from service.api.deps import PartsDep
from service.api.schemas import Health, Readiness

router = APIRouter(tags=["system"])


@router.get(
    "/healthz",
    operation_id="healthz",
    summary="Is the process alive? 存活检查",
    description="Always 200 while the process runs, also without a model.\n\n只要进程在运行就返回 200。",
    response_description="It is.",
    responses=examples.answer({"status": "ok"}),
)
async def healthz() -> Health:
    return Health()


@router.get(
    "/readyz",
    operation_id="readyz",
    summary="Can the service answer? 就绪检查",
    description="200 once the model is loaded and the ticket store answers with the tables this program needs; else "
    "503 with the reason.\n\n模型已加载、数据库可用且结构为最新时返回 200；否则返回 503 并说明原因。",
    response_description="It can.",
    responses=examples.answer({"status": "ready", "model": "2026.11.6"})
    | problem.responses(problem.NOT_READY, problem.STORE_UNAVAILABLE),
)
async def readyz(parts: PartsDep) -> Readiness:
    tagger = parts.tagger
    await parts.database.check()
    return Readiness(model=tagger.bundle.manifest.version)


@router.get(
    "/metrics",
    operation_id="metrics",
    summary="Metrics 监控指标",
    description="For Prometheus, of this process. No key is asked for: keep it inside; the proxy of `compose.yaml` "
    "does not pass it on.\n\nPrometheus 指标（本进程）。不需要密钥，请勿对外暴露。",
    response_class=Response,
    response_description="Prometheus' text format.",
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(parts: PartsDep) -> Response:
    return Response(parts.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)
