"""Classifying feedback: one text, or a batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Body, Request, Response

from fankui.tags import Tags, Untaggable
from service import problem
from service.api import examples
from service.api.deps import JsonRoute, MayClassify, PartsDep, unless_gone
from service.api.schemas import Batch, BatchResult, Feedback
from service.problem import Fault, Problem
from service.settings import MOST_ITEMS, Settings

_PROBLEMS = problem.responses(
    *problem.OF_ANY_CALL,
    problem.MALFORMED,
    problem.SLOW_BODY,
    problem.TOO_LARGE,
    problem.NOT_JSON,
    problem.INVALID,
    problem.NOT_READY,
    problem.TOO_SLOW,
    problem.OVERLOADED,
    problem.STORE_UNAVAILABLE,
)

router = APIRouter(prefix="/v1/classify", tags=["classify"], route_class=JsonRoute)


@router.post(
    "",
    operation_id="classify",
    summary="Classify one text 分析一条反馈",
    description="Causes of dissatisfaction with their evidence, the satisfaction grade, the request and more for one "
    "text. Offsets count Unicode characters of the text as sent (an emoji outside the basic plane is one).\n\n"
    "返回不满原因及其依据、满意度等级、诉求等。偏移量按所发送原文的 Unicode 字符计算。",
    response_model=Tags,
    response_description="What the model says about the text.",
    responses=examples.answer(examples.TAGS) | _PROBLEMS,
)
async def classify(
    feedback: Annotated[Feedback, Body(openapi_examples=examples.FEEDBACK)],
    request: Request,
    caller: MayClassify,
    parts: PartsDep,
) -> Response:
    _check([feedback], [""], parts.settings)
    (result,) = await unless_gone(request, parts.inference.tag([feedback.text], [feedback.id]))
    if isinstance(result, Untaggable):
        raise Problem.invalid([Fault(field="text", message=result.note)])
    parts.metrics.tags(result)
    return _json(result)


@router.post(
    "/batch",
    operation_id="classify_batch",
    summary=f"Classify up to {MOST_ITEMS} texts 批量分析",
    description="The same for several texts at once; one result an item, in order. A blank text is marked and hinders "
    "no other; any other fault refuses the whole batch and names the item.\n\n"
    "一次分析多条，结果与请求顺序一致；空白文本只作标记，不影响其他条目。",
    response_model=BatchResult,
    response_description="One result an item, in order.",
    responses=examples.answer(examples.BATCH_RESULT) | _PROBLEMS,
)
async def classify_batch(
    batch: Annotated[Batch, Body(openapi_examples=examples.BATCH)],
    request: Request,
    caller: MayClassify,
    parts: PartsDep,
) -> Response:
    _check(batch.items, [f"items.{position}." for position in range(len(batch.items))], parts.settings)
    work = parts.inference.tag([item.text for item in batch.items], [item.id for item in batch.items])
    results = await unless_gone(request, work)
    for result in results:
        if isinstance(result, Tags):
            parts.metrics.tags(result)
    return _json(BatchResult.model_construct(results=results))


def _json(answer: Tags | BatchResult) -> Response:
    """The answer, serialised once: FastAPI would validate our own objects again."""
    return Response(answer.model_dump_json(), media_type="application/json")


def _check(items: Sequence[Feedback], prefixes: Sequence[str], settings: Settings) -> None:
    """Hold the items against the limits of the settings. Raises Problem (422) naming each field at fault."""
    if len(items) > settings.max_batch_items:
        message = f"There are {len(items)} items; {settings.max_batch_items} are allowed."
        raise Problem.invalid([Fault(field="items", message=message)])
    faults = []
    times = Counter(item.id for item in items if item.id is not None)
    for item, prefix in zip(items, prefixes, strict=True):
        if len(item.text) > settings.max_text_characters:
            message = f"The text has {len(item.text):,} characters; {settings.max_text_characters:,} are allowed."
            faults.append(Fault(field=f"{prefix}text", message=message))
        if item.id is not None and times[item.id] > 1:
            message = f"The id {item.id!r} names {times[item.id]} items; each needs its own."
            faults.append(Fault(field=f"{prefix}id", message=message))
    if faults:
        raise Problem.invalid(faults)
