"""The models that answer."""

from __future__ import annotations

from fastapi import APIRouter

from fankui.bundle import Bundle
from service import problem
from service.api import examples
from service.api.deps import TaggerDep
from service.api.schemas import Model, Models

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get(
    "",
    operation_id="list_models",
    summary="The served model 当前模型",
    description="Version, age, size and measured quality of the model that answers.\n\n"
    "当前提供服务的模型：版本、生成时间、大小与评测指标。",
    response_description="The models, the current one marked.",
    responses=examples.answer(examples.MODELS) | problem.responses(problem.UNEXPECTED, problem.NOT_READY),
)
def list_models(tagger: TaggerDep) -> Models:
    return Models(models=[_describe(tagger.bundle)])


def _describe(bundle: Bundle) -> Model:
    return Model(
        version=bundle.manifest.version,
        current=True,
        created=bundle.manifest.created,
        taxonomy=bundle.taxonomy.version,
        size_bytes=bundle.size,
        metrics=bundle.manifest.metrics,
    )
