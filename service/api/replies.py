"""Checking an agent's draft before it is sent."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body
from pydantic import BaseModel

from fankui.replies import Finding
from fankui.taxonomy import Bilingual
from service import problem
from service.api import answers, examples
from service.api.deps import JsonRoute, MayReadTickets, PartsDep
from service.api.schemas import Draft
from service.api.tickets import check_length, no_ticket
from service.problem import NO_TICKET
from service.store import tickets

router = APIRouter(prefix="/v1/replies", tags=["replies"], route_class=JsonRoute)


class Checked(BaseModel):
    """What is wrong with a draft; nothing, if there are no findings. 检查结果。"""

    findings: list[Finding]


@router.post(
    "/check",
    operation_id="check_reply",
    summary="Check an agent's draft 检查客服回复",
    description="Warns of what should never be said and of typical handling errors, with the passage and a better way "
    "to put it.\n\n提示草稿中不该说的话和常见处理失误，指出位置并给出更好的说法。",
    response_description="The findings, in the order of the draft.",
    responses=examples.answer(examples.CHECKED)
    | problem.responses(
        *problem.OF_ANY_CALL,
        problem.MALFORMED,
        problem.SLOW_BODY,
        NO_TICKET,
        problem.TOO_LARGE,
        problem.NOT_JSON,
        problem.INVALID,
        problem.NOT_READY,
        problem.STORE_UNAVAILABLE,
    ),
)
async def check_reply(
    draft: Annotated[Draft, Body(openapi_examples=examples.DRAFT)],
    caller: MayReadTickets,
    parts: PartsDep,
) -> Checked:
    taxonomy = parts.tagger.bundle.taxonomy
    check_length(draft.text, parts.settings)
    never_say: list[tuple[str, Bilingual]] = []
    if draft.ticket_id is not None:
        ticket_id = draft.ticket_id
        stored = await parts.database.read(lambda connection: tickets.find(connection, ticket_id))
        if stored is None:
            raise no_ticket(ticket_id)
        for advice in answers.guidance(stored.causes, taxonomy):
            never_say += [(advice.cause, phrase) for phrase in advice.never_say]
    return Checked(findings=list(parts.reply_rules.check(draft.text, never_say=never_say)))
