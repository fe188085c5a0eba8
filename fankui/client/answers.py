"""What the service answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from fankui.tags import ScoredLabel, Tags, Untaggable
from fankui.taxonomy import Bilingual, Polarity


class _Answer(BaseModel):
    """Fields that this version does not know are left out, so that a newer service can be talked to."""

    model_config = ConfigDict(frozen=True)


class Prediction(Tags):
    """What the model says about one text. Fields beyond those of Tags are labels where they look so, else as sent."""

    __pydantic_extra__: dict[
        str, Annotated[ScoredLabel | tuple[ScoredLabel, ...] | Any, Field(union_mode="left_to_right")]
    ]


class HeldLabels(_Answer):
    """The labels that hold: the model's, or those of the last correction."""

    grade: int
    polarity: Polarity
    request: str
    causes: tuple[str, ...]


class Correction(_Answer):
    """What a person said of a ticket."""

    revision: int
    by: str
    why: str | None
    labels: dict[str, str | tuple[str, ...]]
    at: datetime


class Review(_Answer):
    """Why a person should look at a ticket (`uncertain`, `sample`; None: no need), and who has claimed it."""

    reason: str | None
    claimed_by: str | None
    claimed_until: datetime | None


class Guidance(_Answer):
    """How to deal with a cause."""

    cause: str
    name: Bilingual
    wants: tuple[Bilingual, ...]
    respond: tuple[Bilingual, ...]
    never_say: tuple[Bilingual, ...]


class Ticket(Prediction):
    """A stored ticket: the model's prediction, and what is known of the ticket."""

    id: str
    revision: int
    text: str
    channel: str | None
    metadata: dict[str, Any]
    created_at: datetime
    received_at: datetime
    classified_at: datetime
    labels: HeldLabels
    corrections: tuple[Correction, ...]
    review: Review
    guidance: tuple[Guidance, ...]


class EarlierRevision(_Answer):
    """A text that a ticket had before."""

    revision: int
    text: str
    prediction: Prediction
    classified_at: datetime


class TicketWithHistory(Ticket):
    """A ticket with its earlier revisions, oldest first."""

    history: tuple[EarlierRevision, ...]


class TicketPage(_Answer):
    """A part of a list; `next` is the `cursor` of the next page, None on the last one."""

    items: tuple[Ticket, ...]
    next: str | None


class Finding(_Answer):
    """A passage of a draft that had better not be sent; `end` is exclusive, both count characters as sent."""

    kind: str
    start: int
    end: int
    text: str
    severity: str
    why: Bilingual
    better: Bilingual


class Model(_Answer):
    """A model that the service can answer with."""

    version: str
    current: bool
    created: datetime
    taxonomy: str
    size_bytes: int
    metrics: dict[str, Any]


class Readiness(_Answer):
    """The service can answer, with the model of this version."""

    status: str
    model: str


class Results(_Answer):
    """What a batch gives, in its order."""

    results: tuple[Prediction | Untaggable, ...]


class Items(_Answer):
    """Tickets that wait for a person."""

    items: tuple[Ticket, ...]


class Findings(_Answer):
    """What is wrong with a draft."""

    findings: tuple[Finding, ...]


class Models(_Answer):
    """The models that there are."""

    models: tuple[Model, ...]


class Fault(_Answer):
    """What is wrong with one field of a request."""

    field: str
    message: str


class Problem(_Answer):
    """Why a request was refused (RFC 9457)."""

    type: str
    title: str
    detail: str = ""
    errors: tuple[Fault, ...] | None = None
