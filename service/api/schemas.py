"""What goes in and comes out over HTTP, beyond `fankui.tags`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from fankui.tags import Tags, Untaggable
from fankui.taxonomy import Bilingual, Polarity
from service.settings import MOST_ITEMS, Settings

_LONGEST = Settings.model_fields["max_text_characters"].default
_UNSTORABLE = re.compile("[\ud800-\udfff\\x00]")


def _encodable(text: Any) -> Any:
    """Halves of surrogate pairs (a cut emoji) and NUL become U+FFFD, one for one: no answer could quote them, and no
    database keeps them."""
    return _UNSTORABLE.sub("\ufffd", text) if isinstance(text, str) else text


def _plausible(time: datetime) -> datetime:
    if not datetime(1970, 1, 2, tzinfo=UTC) <= time < datetime(2200, 1, 1, tzinfo=UTC):
        raise ValueError("the year must be from 1970 to 2199")
    return time


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


_NO_CONTROL = r"^[^\x00-\x1f\x7f-\x9f]+$"
Text = Annotated[str, BeforeValidator(_encodable)]
Identifier = Annotated[str, Field(min_length=1, max_length=128, pattern=_NO_CONTROL)]
# It becomes a part of paths, where clients and proxies take `%C3%B4`, however it is escaped, for `ô`.
NewIdentifier = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^%\x00-\x1f\x7f-\x9f]+$")]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=_NO_CONTROL)]
Time = Annotated[AwareDatetime, AfterValidator(_plausible)]
_Scalar = (
    Annotated[str, BeforeValidator(_encodable), Field(max_length=1000)]
    | Annotated[bool, Field(strict=True)]
    | Annotated[int, Field(strict=True, ge=-(2**53), le=2**53)]
    | Annotated[float, Field(strict=True, allow_inf_nan=False)]
    | None
)
Metadata = Annotated[
    dict[Name, _Scalar | Annotated[list[_Scalar], Field(max_length=50)]],
    Field(max_length=50, description="What else you know of it: numbers, strings of up to 1,000 characters, lists."),
]


class Feedback(_Request):
    """One piece of customer feedback. 一条顾客反馈。"""

    text: Annotated[
        Text,
        Field(description=f"The feedback as the customer wrote it, at most {_LONGEST:,} characters. 顾客原文。"),
    ]
    id: Identifier | None = Field(
        default=None, description="Your name for it, echoed in the answer. 可选编号，原样返回。"
    )


class Batch(_Request):
    """Several pieces of feedback. 一批顾客反馈。"""

    items: list[Feedback] = Field(
        min_length=1, max_length=MOST_ITEMS, description="The texts; each `id` may occur once. 编号不可重复。"
    )


class BatchResult(BaseModel):
    """The answers to a batch."""

    results: list[Tags | Untaggable] = Field(
        description="One result an item, in the order of the items. A text that shows nothing to classify (empty, only "
        "blanks) has a result without `sentiment`, whose `note` says why. 与请求顺序一致；无法分类的文本只返回 note。"
    )


class Model(BaseModel):
    """A model and what is known about it."""

    version: str = Field(description="Version, as in the `model` field of every answer.")
    current: bool = Field(description="Whether it is the one that answers.")
    created: datetime = Field(description="When it was built.")
    taxonomy: str = Field(description="Version of the taxonomy that it speaks.")
    size_bytes: int = Field(description="Size of its files together.")
    metrics: dict[str, Any] = Field(description="Its scores on held-out data, as its builder measured them.")


class Models(BaseModel):
    """The models that this service can answer with."""

    models: list[Model]


class Health(BaseModel):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """The service can answer."""

    status: Literal["ready"] = "ready"
    model: str = Field(description="Version of the model that answers.")


class NewTicket(_Request):
    """A ticket to be classified and stored. 一张工单。"""

    id: Annotated[NewIdentifier, Field(description="Your number of the ticket, without `%`. 工单编号。")]
    text: Annotated[Text, Field(description=f"What the customer says, at most {_LONGEST:,} characters. 顾客原文。")]
    channel: Name | None = Field(default=None, description="Where it came in, for instance `hotline`. 渠道。")
    created_at: Time | None = Field(default=None, description="When the customer sent it, with offset. 顾客提交时间。")
    metadata: Metadata = {}


class Guidance(BaseModel):
    """How to deal with a cause. 应对建议。"""

    cause: str = Field(description="Label id of the cause.")
    name: Bilingual
    wants: tuple[Bilingual, ...] = Field(description="What the customer wants. 顾客想要什么。")
    respond: tuple[Bilingual, ...] = Field(description="How to respond. 怎样回应。")
    never_say: tuple[Bilingual, ...] = Field(description="What never to say. 绝不能说的话。")


class HeldLabels(BaseModel):
    """The labels that hold, and by which tickets are found: the model's, or those of the last correction."""

    grade: int
    polarity: Polarity
    request: str
    causes: list[str]


class CorrectionEntry(BaseModel):
    """What a person said. 人工更正。"""

    revision: int = Field(description="The revision of the ticket that was corrected.")
    by: str
    why: str | None
    labels: dict[str, str | list[str]] = Field(description="Right labels by field of the prediction.")
    at: datetime


class ReviewState(BaseModel):
    """Whether a person should look at a ticket. 是否待人工复核。"""

    reason: Literal["uncertain", "sample"] | None = Field(
        description="`uncertain`: the model is not sure; `sample`: a check of sure answers; null: no review is due."
    )
    claimed_by: str | None
    claimed_until: datetime | None


class TicketAnswer(Tags):
    """A stored ticket: the model's prediction, as `POST /v1/classify` gives it, and what is known of the ticket."""

    revision: int = Field(description="1, and one more for each new text under the same id.")
    text: str = Field(description="The text as stored; personal data masked, if the service is set so.")
    channel: str | None
    metadata: dict[str, Any]
    created_at: datetime
    received_at: datetime
    classified_at: datetime
    labels: HeldLabels
    corrections: list[CorrectionEntry]
    review: ReviewState
    guidance: list[Guidance] = Field(description="For each cause that holds. 每个成立原因的应对建议。")


class EarlierRevision(BaseModel):
    """A text that the ticket had before. 历史版本。"""

    revision: int
    text: str
    prediction: dict[str, Any]
    classified_at: datetime


class TicketWithHistory(TicketAnswer):
    """A ticket with its earlier revisions."""

    history: list[EarlierRevision]


class TicketPage(BaseModel):
    """A part of a list."""

    items: list[TicketAnswer]
    next: str | None = Field(description="Send it as `cursor` for the next page; null on the last one.")


class NewCorrection(_Request):
    """What the labels should be. 人工更正。"""

    by: Annotated[Name, Field(description="Who says so. 更正人。")]
    labels: dict[Name, Name | Annotated[list[Name], Field(max_length=20)]] = Field(
        default={},
        max_length=20,
        description="Right labels by field of the prediction (`causes` a list, `sentiment` one label …); fields left "
        "out are confirmed as they are. 按预测字段给出正确标签；未列出的字段视为确认无误。",
    )
    why: Annotated[Text, Field(max_length=2000)] | None = Field(default=None, description="Why. 理由。")


class ReviewPage(BaseModel):
    """What waits for a person."""

    items: list[TicketAnswer]


class Claim(_Request):
    """Who wants to review, and how many. 认领。"""

    by: Annotated[Name, Field(description="Who reviews. 复核人。")]
    limit: int = Field(default=1, ge=1, le=50, description="How many tickets.")


class Release(_Request):
    """Who gives a review back. 放弃认领。"""

    by: Annotated[Name, Field(description="Who had claimed it. 复核人。")]


class Draft(_Request):
    """An agent's draft. 客服回复草稿。"""

    text: Annotated[Text, Field(min_length=1, max_length=_LONGEST, description="The draft. 回复草稿。")]
    ticket_id: Identifier | None = Field(
        default=None, description="The ticket it answers; its causes tell what else not to say. 所回复的工单。"
    )
