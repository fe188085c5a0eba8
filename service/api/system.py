"""What an orchestrator asks."""

from __future__ import annotations

from fastapi import APIRouter

from service import problem
from service.api import examples
from service.api.deps import TaggerDep
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
    description="200 once the model is loaded; 503 with the reason before that, or if loading failed.\n\n"
    "模型加载完成后返回 200；加载中或加载失败返回 503 并说明原因。",
    response_description="It can.",
    responses=examples.answer({"status": "ready", "model": "2026.11.0"}) | problem.responses(problem.NOT_READY),
)
async def readyz(tagger: TaggerDep) -> Readiness:
    return Readiness(model=tagger.bundle.manifest.version)
