"""What goes in and comes out over HTTP, beyond `fankui.tags`."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from fankui.tags import Tags, Untaggable
from service.settings import MOST_ITEMS, Settings

_LONGEST = Settings.model_fields["max_text_characters"].default
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def _encodable(text: Any) -> Any:
    """Halves of surrogate pairs (a cut emoji) become U+FFFD, one for one: no answer could quote them."""
    return _LONE_SURROGATE.sub("\ufffd", text) if isinstance(text, str) else text


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Feedback(_Request):
    """One piece of customer feedback. 一条顾客反馈。"""

    text: Annotated[
        str,
        BeforeValidator(_encodable),
        Field(description=f"The feedback as the customer wrote it, at most {_LONGEST:,} characters. 顾客原文。"),
    ]
    id: str | None = Field(
        default=None,
        min_length=1,
        max_length=128,
        pattern=r"^[^\x00-\x1f\x7f-\x9f]+$",
        description="Your name for it, echoed in the answer. 可选编号，原样返回。",
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
