"""The taxonomy: what the labels in an answer mean."""

from __future__ import annotations

from fastapi import APIRouter

from fankui.taxonomy import Taxonomy
from service import problem
from service.api import examples
from service.api.deps import MayClassify, PartsDep

router = APIRouter(prefix="/v1/taxonomy", tags=["taxonomy"])


@router.get(
    "",
    operation_id="get_taxonomy",
    summary="The taxonomy of the loaded model 标签体系",
    description="All heads and labels with their Chinese and English names and definitions; for each cause the "
    "service-quality gaps behind it, what the customer wants, how to respond and what never to say.\n\n"
    "全部维度与标签的中英文名称和定义；每个不满原因还附有服务质量差距、顾客诉求、应对方式与禁语。",
    response_description="The taxonomy.",
    responses=examples.answer(examples.TAXONOMY)
    | problem.responses(*problem.OF_ANY_CALL, problem.NOT_READY, problem.STORE_UNAVAILABLE),
)
async def get_taxonomy(caller: MayClassify, parts: PartsDep) -> Taxonomy:
    return parts.tagger.bundle.taxonomy
