"""What needs a person: the queue, claimed and released so that no two people review the same."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Body, Query, Response
from sqlalchemy import Connection
from starlette.status import HTTP_204_NO_CONTENT

from service import problem
from service.api import answers, examples
from service.api.deps import MayReview, PartsDep
from service.api.schemas import Claim, Release, ReviewPage
from service.api.tickets import TicketId
from service.idempotency import IdempotentRoute
from service.problem import NOT_CLAIMED, Problem
from service.store import reviews, writes

_WRITING = problem.responses(
    *problem.OF_ANY_CALL,
    problem.MALFORMED,
    problem.SLOW_BODY,
    problem.TOO_LARGE,
    problem.NOT_JSON,
    problem.CONFLICT,
    problem.INVALID,
    problem.KEY_REUSED,
    problem.NOT_READY,
    problem.STORE_UNAVAILABLE,
)

router = APIRouter(prefix="/v1/reviews", tags=["reviews"], route_class=IdempotentRoute)


@router.get(
    "",
    operation_id="list_reviews",
    summary="What waits for a person 待复核队列",
    description="Tickets that the model is unsure of, and a sample of those that it is sure of; of each cause in turn "
    "the least sure. Claimed ones are left out.\n\n"
    "模型没有把握的工单，以及抽查样本；各原因轮流排列，最没把握的在前；已被认领的不列。",
    response_model=ReviewPage,
    response_description="The queue's beginning.",
    responses=examples.answer({"items": [examples.TICKET]})
    | problem.responses(*problem.OF_ANY_CALL, problem.INVALID, problem.NOT_READY, problem.STORE_UNAVAILABLE),
)
async def list_reviews(
    caller: MayReview,
    parts: PartsDep,
    limit: Annotated[int, Query(ge=1, le=200, description="How many tickets.")] = 50,
) -> Response:
    now = datetime.now(UTC)
    found = await parts.database.read(lambda connection: reviews.queue(connection, now, limit=limit))
    return answers.response({"items": [answers.ticket(stored, parts.tagger.bundle.taxonomy) for stored in found]})


@router.post(
    "/claim",
    operation_id="claim_reviews",
    summary="Claim reviews 认领复核",
    description="The next ones of the queue are yours for a while (`FANKUI_CLAIM_MINUTES`); a correction ends the "
    "review, after that time others get it.\n\n领取队列中的下一批；更正即完成，超时未完成则退回队列。",
    response_model=ReviewPage,
    response_description="What you claimed; empty when nothing waits.",
    responses=examples.answer({"items": [examples.TICKET]}) | _WRITING,
)
async def claim_reviews(
    claim: Annotated[Claim, Body(openapi_examples=examples.CLAIM)],
    caller: MayReview,
    parts: PartsDep,
) -> Response:
    taxonomy = parts.tagger.bundle.taxonomy
    now = datetime.now(UTC)
    taken = await parts.database.write(
        lambda connection: reviews.claim(connection, claim.by, now, parts.settings.claim_minutes, limit=claim.limit)
    )
    return answers.response({"items": [answers.ticket(stored, taxonomy) for stored in taken]})


@router.post(
    "/{ticket_id:path}/release",
    operation_id="release_review",
    summary="Give a claimed review back 放弃认领",
    description="The ticket is in the queue again at once, for anyone.\n\n工单立即回到队列，他人可认领。",
    status_code=HTTP_204_NO_CONTENT,
    response_description="It is in the queue again.",
    responses=_WRITING | problem.responses(NOT_CLAIMED, problem.CONFLICT),
)
async def release_review(
    ticket_id: TicketId,
    release: Annotated[Release, Body(openapi_examples=examples.RELEASE)],
    caller: MayReview,
    parts: PartsDep,
) -> None:
    def work(connection: Connection) -> bool:
        released = reviews.release(connection, ticket_id, release.by)
        if released:
            writes.record(connection, caller.key_id, "review.release", ticket_id, datetime.now(UTC))
        return released

    if not await parts.database.write(work):
        raise Problem(NOT_CLAIMED, f"{release.by!r} has not claimed the ticket {ticket_id!r}.")
