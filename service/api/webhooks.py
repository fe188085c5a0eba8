"""Webhooks: who is told of new tickets, what was delivered, and what was not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, Row
from starlette.status import HTTP_204_NO_CONTENT

from fankui.taxonomy import Polarity, Taxonomy
from service import problem
from service.api import examples
from service.api.deps import JsonRoute, MayAdminister, PartsDep
from service.api.schemas import Identifier, Name
from service.problem import NO_WEBHOOK, Fault, Problem
from service.store import webhooks, writes
from service.store.database import Database
from service.store.webhooks import State
from service.ticketing import not_a_label
from service.webhooks import (
    LONGEST_URL,
    Sender,
    UnusableSecretError,
    UnusableUrlError,
    check_url,
    new_secret,
    signing_key,
)

_Labels = Annotated[list[Name], Field(min_length=1, max_length=50)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class WebhookFilters(_Request):
    """Which tickets a webhook is told of: those with one of the values of each filter. 筛选条件，各项同时满足。"""

    causes: _Labels | None = Field(default=None, description="Label ids of causes. 不满原因。")
    polarity: Annotated[list[Polarity], Field(min_length=1, max_length=3)] | None = Field(
        default=None, description="Polarities. 情感极性。"
    )
    grades: Annotated[list[int], Field(min_length=1, max_length=50)] | None = Field(
        default=None, description="Satisfaction grades. 满意度等级。"
    )
    request: _Labels | None = Field(default=None, description="Label ids of request types. 诉求类型。")
    loyalty: _Labels | None = Field(
        default=None, description="Label ids of loyalty; `churn` tells of customers about to leave. 忠诚度。"
    )
    needs_review: bool | None = Field(
        default=None, description="Whether a person should look, as in `GET /v1/tickets`. 是否待人工复核。"
    )


class NewWebhook(_Request):
    """Where to send events, and of which tickets. 新建推送。"""

    url: str = Field(
        description=f"Gets the events by POST; https, a public host, at most {LONGEST_URL:,} characters. 接收地址。"
    )
    secret: str | None = Field(
        default=None,
        description="Signs the events: `whsec_` and the base64 of 24 to 64 bytes. By default one is made. 签名密钥。",
    )
    filters: WebhookFilters = Field(default=WebhookFilters(), description="Without filters: all tickets. 缺省为全部。")


class WebhookAnswer(BaseModel):
    """A webhook. 推送。"""

    id: str
    url: str
    filters: WebhookFilters
    created_at: datetime


class CreatedWebhook(WebhookAnswer):
    """A new webhook."""

    secret: str = Field(description="Verifies the events; keep it, it is not shown again. 签名密钥，仅显示这一次。")


class WebhookList(BaseModel):
    """All webhooks. 全部推送。"""

    items: list[WebhookAnswer]


class DeliveryEntry(BaseModel):
    """An event on its way to a webhook. 投递记录。"""

    id: str = Field(description="The `webhook-id` of every attempt.")
    ticket_id: str
    state: State = Field(description="`dead`: all attempts failed, or the receiver answered 410. 状态。")
    attempts: int = Field(description="How often it was sent. 已尝试次数。")
    created_at: datetime
    due_at: datetime | None = Field(description="When it is sent next; null unless it waits. 下次发送时间。")
    last_error: str | None = Field(description="Why the last attempt failed. 最近一次失败原因。")


class DeliveryList(BaseModel):
    """A webhook's deliveries."""

    items: list[DeliveryEntry]


class Replayed(BaseModel):
    """What is sent again."""

    replayed: int = Field(description="How many dead deliveries wait again. 重新投递的条数。")


class PingResult(BaseModel):
    """How a receiver took a ping."""

    delivered: bool = Field(description="Whether it answered with a 2xx status. 是否成功。")
    status: int | None = Field(description="The HTTP status; null if none came. 接收方返回的状态码。")
    error: str | None = Field(description="What went wrong. 失败原因。")


_OF_ONE = problem.responses(*problem.OF_ANY_CALL, NO_WEBHOOK, problem.INVALID, problem.STORE_UNAVAILABLE)
WebhookId = Annotated[Identifier, Path(description="The webhook's id. 推送编号。")]

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], route_class=JsonRoute)


@router.post(
    "",
    operation_id="create_webhook",
    summary="Be told of new tickets 新建推送",
    description="Each newly classified ticket that passes the filters is sent as an event `ticket.classified`, signed "
    "after [Standard Webhooks](https://www.standardwebhooks.com); their libraries verify it. An event that is not "
    "answered with a 2xx status within `FANKUI_WEBHOOK_TIMEOUT_SECONDS` is sent again after 5 s, 5 min, 30 min, 2 h "
    "and so on for three days; 410 ends that. It may arrive twice: its `webhook-id` stays the same. Events need not "
    "arrive in order; `revision` tells which is newer.\n\n"
    "符合条件的新工单分类后以 `ticket.classified` 事件推送，按 Standard Webhooks 签名。未返回 2xx 时按 5 秒、5 分钟、"
    "30 分钟、2 小时……重试三天，返回 410 则停止。事件可能重复（`webhook-id` 不变），也可能乱序（以 `revision` 为准）。",
    response_description="The webhook with its secret, which is shown this once.",
    responses=examples.answer(examples.WEBHOOK | {"secret": examples.WEBHOOK_SECRET})
    | problem.responses(
        *problem.OF_ANY_CALL,
        problem.MALFORMED,
        problem.TOO_LARGE,
        problem.NOT_JSON,
        problem.INVALID,
        problem.NOT_READY,
        problem.STORE_UNAVAILABLE,
    ),
)
async def create_webhook(
    new: Annotated[NewWebhook, Body(openapi_examples=examples.NEW_WEBHOOK)],
    caller: MayAdminister,
    parts: PartsDep,
) -> CreatedWebhook:
    faults = list(_faults(new, parts.tagger.bundle.taxonomy, private=parts.settings.webhook_private_addresses))
    if faults:
        raise Problem.invalid(faults)
    filters = new.filters.model_dump(exclude_none=True)
    secret = new.secret or new_secret()
    now = datetime.now(UTC)

    def work(connection: Connection) -> Row[Any]:
        webhook = webhooks.add(connection, new.url, secret, filters, now)
        writes.record(connection, caller.key_id, "webhook.create", webhook.id, now)
        return webhook

    return CreatedWebhook(**_fields(await parts.database.write(work)), secret=secret)


@router.get(
    "",
    operation_id="list_webhooks",
    summary="All webhooks 全部推送",
    description="Oldest first, without their secrets.\n\n按创建时间排列，不含密钥。",
    response_description="The webhooks.",
    responses=examples.answer({"items": [examples.WEBHOOK]})
    | problem.responses(*problem.OF_ANY_CALL, problem.STORE_UNAVAILABLE),
)
async def list_webhooks(caller: MayAdminister, parts: PartsDep) -> WebhookList:
    found = await parts.database.read(webhooks.list_all)
    return WebhookList(items=[WebhookAnswer(**_fields(webhook)) for webhook in found])


@router.delete(
    "/{webhook_id}",
    operation_id="remove_webhook",
    summary="Remove a webhook 删除推送",
    description="With its deliveries, also those that wait.\n\n连同投递记录一并删除，待发事件不再发送。",
    status_code=HTTP_204_NO_CONTENT,
    response_description="It is removed.",
    responses=_OF_ONE,
)
async def remove_webhook(webhook_id: WebhookId, caller: MayAdminister, parts: PartsDep) -> None:
    def work(connection: Connection) -> bool:
        removed = webhooks.remove(connection, webhook_id)
        if removed:
            writes.record(connection, caller.key_id, "webhook.remove", webhook_id, datetime.now(UTC))
        return removed

    if not await parts.database.write(work):
        raise _no_webhook(webhook_id)


@router.get(
    "/{webhook_id}/deliveries",
    operation_id="list_deliveries",
    summary="What was delivered, and what was not 投递记录",
    description="Newest first; `state=dead` lists what was given up.\n\n按时间倒序；`state=dead` 列出已放弃的事件。",
    response_description="The webhook's deliveries.",
    responses=examples.answer({"items": [examples.DELIVERY]}) | _OF_ONE,
)
async def list_deliveries(
    webhook_id: WebhookId,
    caller: MayAdminister,
    parts: PartsDep,
    state: Annotated[State | None, Query(description="Only those in this state.")] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="How many deliveries.")] = 50,
) -> DeliveryList:
    await _find(parts.database, webhook_id)
    rows = await parts.database.read(lambda connection: webhooks.deliveries(connection, webhook_id, state, limit))
    return DeliveryList(
        items=[
            DeliveryEntry(
                id=row.id,
                ticket_id=row.ticket_id,
                state=row.state,
                attempts=row.attempts,
                created_at=row.created_at,
                due_at=row.due_at if row.state == "waiting" else None,
                last_error=row.last_error,
            )
            for row in rows
        ]
    )


@router.post(
    "/{webhook_id}/replay",
    operation_id="replay_deliveries",
    summary="Send dead deliveries again 重新投递",
    description="All that were given up for this webhook, with all attempts anew and their former `webhook-id`.\n\n"
    "将该推送所有已放弃的事件重新投递，重试次数清零，`webhook-id` 不变。",
    response_description="How many are sent again.",
    responses=examples.answer({"replayed": 3}) | _OF_ONE,
)
async def replay_deliveries(webhook_id: WebhookId, caller: MayAdminister, parts: PartsDep) -> Replayed:
    await _find(parts.database, webhook_id)
    now = datetime.now(UTC)

    def work(connection: Connection) -> int:
        writes.record(connection, caller.key_id, "webhook.replay", webhook_id, now)
        return webhooks.replay(connection, webhook_id, now)

    return Replayed(replayed=await parts.database.write(work))


@router.post(
    "/{webhook_id}/test",
    operation_id="test_webhook",
    summary="Send a ping now 发送测试事件",
    description="A signed event `ping`, sent once; it is not among the deliveries.\n\n"
    "立即发送一次已签名的 `ping` 事件，不计入投递记录。",
    response_description="How the receiver took it.",
    responses=examples.answer({"delivered": True, "status": 204, "error": None}) | _OF_ONE,
)
async def test_webhook(webhook_id: WebhookId, caller: MayAdminister, parts: PartsDep) -> PingResult:
    webhook = await _find(parts.database, webhook_id)
    now = datetime.now(UTC)
    await parts.database.write(
        lambda connection: writes.record(connection, caller.key_id, "webhook.test", webhook_id, now)
    )
    ping = webhooks.event("ping", now, {})
    reply = await Sender(parts.settings).send(webhooks.message_id(), webhook.url, webhook.secret, ping, now)
    return PingResult(delivered=reply.error is None, status=reply.status, error=reply.error)


def _fields(webhook: Row[Any]) -> dict[str, Any]:
    return {"id": webhook.id, "url": webhook.url, "filters": webhook.filters, "created_at": webhook.created_at}


async def _find(database: Database, webhook_id: str) -> Row[Any]:
    """The webhook. Raises Problem (404)."""
    found = await database.read(lambda connection: webhooks.find(connection, webhook_id))
    if found is None:
        raise _no_webhook(webhook_id)
    return found


def _no_webhook(webhook_id: str) -> Problem:
    return Problem(NO_WEBHOOK, f"There is no webhook {webhook_id!r}.")


def _faults(new: NewWebhook, taxonomy: Taxonomy, *, private: bool) -> Iterator[Fault]:
    """What is wrong with a new webhook beyond its shape."""
    try:
        check_url(new.url, private=private)
    except UnusableUrlError as error:
        yield Fault(field="url", message=str(error))
    try:
        if new.secret is not None:
            signing_key(new.secret)
    except UnusableSecretError as error:
        yield Fault(field="secret", message=str(error))
    heads = {head.field: head for head in taxonomy.heads}
    grades = [label.grade for label in heads["sentiment"].labels]
    for name, known in (
        ("causes", heads["causes"].label_ids),
        ("request", heads["request"].label_ids),
        ("loyalty", heads["loyalty"].label_ids),
        ("grades", grades),
    ):
        for value in getattr(new.filters, name) or ():
            if value not in known:
                yield Fault(field=f"filters.{name}", message=not_a_label(value, known))
