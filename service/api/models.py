"""The models that answer."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter

from fankui.bundle import Bundle, BundleError
from service import problem
from service.api import examples
from service.api.deps import MayAdminister, MayClassify, PartsDep
from service.api.schemas import Model, Models
from service.problem import UNUSABLE_MODEL, Problem
from service.store import writes

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get(
    "",
    operation_id="list_models",
    summary="The served model 当前模型",
    description="Version, age, size and measured quality of the model that answers.\n\n"
    "当前提供服务的模型：版本、生成时间、大小与评测指标。",
    response_description="The models, the current one marked.",
    responses=examples.answer(examples.MODELS)
    | problem.responses(*problem.OF_ANY_CALL, problem.NOT_READY, problem.STORE_UNAVAILABLE),
)
async def list_models(caller: MayClassify, parts: PartsDep) -> Models:
    return Models(models=[_describe(parts.tagger.bundle)])


@router.post(
    "/reload",
    operation_id="reload_model",
    summary="Load the model anew 重新加载模型",
    description="Loads the model that the settings or `models/CURRENT` name now. Requests go on being answered by the "
    "former one until then, and when the new one cannot be used. Each replica is told by itself; the signal SIGHUP "
    "does the same.\n\n加载当前指定的模型；完成之前及加载失败时旧模型继续服务。各副本分别执行，也可发送 SIGHUP 信号。",
    response_description="The models, the current one marked.",
    responses=examples.answer(examples.MODELS)
    | problem.responses(*problem.OF_ANY_CALL, UNUSABLE_MODEL, problem.NOT_READY, problem.STORE_UNAVAILABLE),
)
async def reload_model(caller: MayAdminister, parts: PartsDep) -> Models:
    try:
        version = await parts.inference.reload()
    except BundleError as error:
        raise Problem(UNUSABLE_MODEL, f"{error} The former model goes on answering.") from error
    now = datetime.now(UTC)
    await parts.database.write(
        lambda connection: writes.record(connection, caller.key_id, "model.reload", version, now)
    )
    return Models(models=[_describe(parts.tagger.bundle)])


def _describe(bundle: Bundle) -> Model:
    return Model(
        version=bundle.manifest.version,
        current=True,
        created=bundle.manifest.created,
        taxonomy=bundle.taxonomy.version,
        size_bytes=bundle.size,
        metrics=bundle.manifest.metrics,
    )
