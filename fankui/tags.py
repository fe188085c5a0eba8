"""What a prediction is: the one result type of the CLI, the API, the batch and the tests."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from fankui.taxonomy import Polarity


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class ScoredLabel(_Frozen):
    """A label and the calibrated probability that it holds."""

    label: str = Field(description="Label id of the taxonomy.")
    score: float = Field(ge=0, le=1, description="Calibrated probability that the label holds.")


class Sentiment(_Frozen):
    """The satisfaction grade."""

    label: str = Field(description="Label id of the taxonomy.")
    grade: int = Field(ge=1, description="1 (very dissatisfied) to 5 (very satisfied).")
    polarity: Polarity = Field(description="Grades 1–2 are negative, 3 neutral, 4–5 positive.")
    score: float = Field(ge=0, le=1, description="Calibrated probability of the grade.")


class Evidence(_Frozen):
    """A span of the text as sent that carries a cause; `end` is exclusive, both count characters."""

    start: int = Field(ge=0)
    end: int = Field(ge=1)
    text: str


class Cause(ScoredLabel):
    """A cause of dissatisfaction with the passages that state it."""

    evidence: tuple[Evidence, ...] = Field(default=(), description="Strongest passage first; may be empty.")


class Tags(BaseModel):
    """All that the model says about one text. Heads beyond these six appear under their own field.

    `causes: []` with a negative polarity means that no reason is stated.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, ScoredLabel | tuple[ScoredLabel, ...]]

    id: str | None = Field(default=None, description="The id sent with the text, echoed.")
    sentiment: Sentiment
    causes: tuple[Cause, ...] = Field(description="Strongest first.")
    request: ScoredLabel
    servqual: tuple[ScoredLabel, ...]
    demand: tuple[ScoredLabel, ...]
    loyalty: ScoredLabel
    needs_review: bool = Field(description="Whether the model is too unsure for this to be used unread.")
    model: str = Field(description="Version of the model that answered.")
    taxonomy: str = Field(description="Version of the taxonomy.")
    note: str | None = Field(
        default=None, description="Present only if something is unusual about the text, for instance no Chinese in it."
    )

    @model_serializer(mode="wrap")
    def _without_empty_note(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        if content.get("note") is None:
            content.pop("note", None)
        return content


class Untaggable(_Frozen):
    """Stands in the place of Tags for a text that shows nothing to classify."""

    id: str | None = None
    note: str
