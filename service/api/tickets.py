"""Tickets: classified, stored, found again, corrected, erased."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Request, Response
from starlette.status import HTTP_204_NO_CONTENT

from fankui.taxonomy import Polarity, Taxonomy
from service import problem
from service.adapters import ADAPTERS, AdapterError
from service.api import answers, examples
from service.api.deps import MayReadTickets, MayReview, MayWriteTickets, PartsDep, unless_gone
from service.api.schemas import (
    Identifier,
    Name,
    NewCorrection,
    NewTicket,
    TicketAnswer,
    TicketPage,
    TicketWithHistory,
    Time,
)
from service.idempotency import IdempotentRoute
from service.problem import NO_ADAPTER, NO_TICKET, Fault, Problem
from service.settings import Settings
from service.store import tickets
from service.ticketing import BlankTicketError, LabelsError, not_a_label

_WRITING = problem.responses(
    *problem.OF_ANY_CALL,
    problem.MALFORMED,
    problem.SLOW_BODY,
    problem.CONFLICT,
    problem.TOO_LARGE,
    problem.NOT_JSON,
    problem.INVALID,
    problem.KEY_REUSED,
    problem.NOT_READY,
    problem.TOO_SLOW,
    problem.OVERLOADED,
    problem.STORE_UNAVAILABLE,
)
_READING = problem.responses(*problem.OF_ANY_CALL, problem.INVALID, problem.NOT_READY, problem.STORE_UNAVAILABLE)
TicketId = Annotated[Identifier, Path(description="The ticket's id. 工单编号。")]

router = APIRouter(prefix="/v1/tickets", tags=["tickets"], route_class=IdempotentRoute)
adapters = APIRouter(prefix="/v1/adapters", tags=["tickets"], route_class=IdempotentRoute)


@router.post(
    "",
    operation_id="post_ticket",
    summary="Classify and store a ticket 提交工单",
    description="Stored when answered. The same id with the same text answers what is stored, without being "
    "classified again; with another text it becomes a new revision, and the earlier one is kept.\n\n"
    "返回即已入库。同一编号、同一文本重复提交时返回已存结果；文本不同则形成新版本，旧版本保留。",
    response_model=TicketAnswer,
    response_description="The prediction, the ticket, and how to deal with its causes.",
    responses=examples.answer(examples.TICKET) | _WRITING,
)
async def post_ticket(
    new: Annotated[NewTicket, Body(openapi_examples=examples.NEW_TICKET)],
    request: Request,
    caller: MayWriteTickets,
    parts: PartsDep,
) -> Response:
    taxonomy = parts.tagger.bundle.taxonomy
    check_length(new.text, parts.settings)
    request.state.subject = new.id
    work = parts.ticketing.submit(
        caller.key_id,
        ticket_id=new.id,
        text=new.text,
        channel=new.channel,
        created_at=new.created_at,
        attributes=new.metadata,
    )
    try:
        stored = await unless_gone(request, work)
    except BlankTicketError as error:
        raise Problem.invalid([Fault(field="text", message=f"{error}.")]) from error
    return answers.response(answers.ticket(stored, taxonomy))


@adapters.post(
    "/{system}",
    operation_id="post_adapted_ticket",
    summary="Take a ticket as a helpdesk system sends it 接收工单系统推送",
    description="`zendesk`, `freshdesk`, or `generic` for the JSON of a 工单系统. The ticket's id gets the system's "
    "name in front (`zendesk:123`); otherwise as `POST /v1/tickets`.\n\n"
    "直接接收 Zendesk、Freshdesk 或通用工单系统的 JSON；编号前加系统名，其余同 `POST /v1/tickets`。",
    response_model=TicketAnswer,
    response_description="As of `POST /v1/tickets`.",
    responses=examples.answer(examples.TICKET) | _WRITING | problem.responses(NO_ADAPTER),
)
async def post_adapted_ticket(
    system: Annotated[Name, Path(description="Whose JSON it is.", json_schema_extra={"enum": sorted(ADAPTERS)})],
    payload: Annotated[dict[str, object], Body(openapi_examples=examples.ADAPTED)],
    request: Request,
    caller: MayWriteTickets,
    parts: PartsDep,
) -> Response:
    if system not in ADAPTERS:
        raise Problem(NO_ADAPTER, f"There is no adapter {system!r}; there are: {', '.join(sorted(ADAPTERS))}.")
    try:
        found = ADAPTERS[system](payload)
    except AdapterError as error:
        raise Problem.invalid([Fault(field=error.field, message=str(error))]) from error
    new = NewTicket(
        id=found.id, text=found.text, channel=found.channel, created_at=found.created_at, metadata=found.metadata
    )
    return await post_ticket(new, request, caller, parts)


@router.get(
    "",
    operation_id="list_tickets",
    summary="Find tickets 查询工单",
    description="Newest first. Filters go by the labels that hold: the model's, or those of the last correction.\n\n"
    "按时间倒序；筛选以当前成立的标签（模型结果或最近一次更正）为准。",
    response_model=TicketPage,
    response_description="A page of tickets.",
    responses=examples.answer({"items": [examples.TICKET], "next": "dDQx"}) | _READING,
)
async def list_tickets(
    caller: MayReadTickets,
    parts: PartsDep,
    cause: Annotated[Name | None, Query(description="Label id of a cause.")] = None,
    polarity: Annotated[Polarity | None, Query()] = None,
    grade: Annotated[int | None, Query(ge=1, le=100)] = None,
    request: Annotated[Name | None, Query(description="Label id of a request type.")] = None,
    needs_review: Annotated[bool | None, Query(description="Whether a person should still look.")] = None,
    channel: Annotated[Name | None, Query()] = None,
    since: Annotated[Time | None, Query(description="Sent by the customer then or later (ISO 8601).")] = None,
    until: Annotated[Time | None, Query(description="Sent by the customer before then.")] = None,
    q: Annotated[
        str | None,
        Query(max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$", description="All these words occur. 全文检索。"),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="Tickets a page.")] = 50,
    cursor: Annotated[str | None, Query(max_length=100, description="`next` of the page before.")] = None,
) -> Response:
    taxonomy = parts.tagger.bundle.taxonomy
    _check_filters(taxonomy, cause=cause, request=request)
    filters = tickets.Filters(
        cause=cause,
        polarity=polarity,
        grade=grade,
        request=request,
        needs_review=needs_review,
        channel=channel,
        since=since,
        until=until,
        words=tuple((q or "").split()),
    )
    before = answers.read_cursor(cursor) if cursor is not None else None
    found = await parts.database.read(
        lambda connection: tickets.search(connection, filters, before=before, limit=limit + 1)
    )
    return answers.response(answers.page(found, limit, taxonomy))


@router.get(
    "/{ticket_id:path}",
    operation_id="get_ticket",
    summary="One ticket with its history 单张工单及其历史",
    description="The newest revision with what the model said of it, the corrections, and the earlier revisions.\n\n"
    "最新版本及其分析结果、人工更正与历史版本。",
    response_model=TicketWithHistory,
    response_description="The ticket.",
    responses=examples.answer(examples.TICKET | {"history": []}) | _READING | problem.responses(NO_TICKET),
)
async def get_ticket(ticket_id: TicketId, caller: MayReadTickets, parts: PartsDep) -> Response:
    stored = await parts.database.read(lambda connection: tickets.find(connection, ticket_id))
    if stored is None:
        raise no_ticket(ticket_id)
    earlier = await parts.database.read(lambda connection: tickets.history(connection, stored.row.seq))
    return answers.response(answers.ticket_with_history(stored, earlier, parts.tagger.bundle.taxonomy))


@router.delete(
    "/{ticket_id:path}",
    operation_id="erase_ticket",
    summary="Erase a ticket 彻底删除工单",
    description="With its history, corrections and undelivered events; only the audit log keeps the id.\n\n"
    "连同历史版本、更正与待发通知一并删除；仅审计日志保留编号。",
    status_code=HTTP_204_NO_CONTENT,
    response_description="It is erased.",
    responses=problem.responses(*problem.OF_ANY_CALL, NO_TICKET, problem.INVALID, problem.STORE_UNAVAILABLE),
)
async def erase_ticket(ticket_id: TicketId, caller: MayWriteTickets, parts: PartsDep) -> None:
    if not await parts.ticketing.erase(caller.key_id, ticket_id):
        raise no_ticket(ticket_id)


@router.post(
    "/{ticket_id:path}/corrections",
    operation_id="correct_ticket",
    summary="Correct or confirm the labels 更正或确认标签",
    description="Stored beside the prediction, never over it. Without `labels` all are confirmed. It ends a review.\n\n"
    "更正与模型结果并存，不覆盖；不列标签表示确认无误；提交后复核结束。",
    response_model=TicketAnswer,
    response_description="The ticket with the labels that hold now.",
    responses=examples.answer(examples.TICKET) | _WRITING | problem.responses(NO_TICKET),
)
async def correct_ticket(
    ticket_id: TicketId,
    correction: Annotated[NewCorrection, Body(openapi_examples=examples.CORRECTION)],
    request: Request,
    caller: MayReview,
    parts: PartsDep,
) -> Response:
    request.state.subject = ticket_id
    try:
        stored = await parts.ticketing.correct(
            caller.key_id, ticket_id, by=correction.by, why=correction.why, labels=correction.labels
        )
    except LabelsError as error:
        raise Problem.invalid([Fault(field=error.field, message=str(error))]) from error
    if stored is None:
        raise no_ticket(ticket_id)
    return answers.response(answers.ticket(stored, parts.tagger.bundle.taxonomy))


def no_ticket(ticket_id: str) -> Problem:
    """The problem of a ticket that is not there."""
    return Problem(NO_TICKET, f"There is no ticket {ticket_id!r}: it was never sent, or it has been erased.")


def _check_filters(taxonomy: Taxonomy, **wanted: str | None) -> None:
    """Raises Problem (422) for labels that no ticket can have: an empty list would hide a slip of the pen."""
    faults = [
        Fault(field=name, message=not_a_label(label, taxonomy.head(name).label_ids))
        for name, label in wanted.items()
        if label is not None and label not in taxonomy.head(name).label_ids
    ]
    if faults:
        raise Problem.invalid(faults)


def check_length(text: str, settings: Settings) -> None:
    """Raises Problem (422) for a text that is too long."""
    if len(text) > settings.max_text_characters:
        message = f"The text has {len(text):,} characters; {settings.max_text_characters:,} are allowed."
        raise Problem.invalid([Fault(field="text", message=message)])
