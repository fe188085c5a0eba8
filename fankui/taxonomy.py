"""The taxonomy: which heads the model has, which labels each head has, and what is known about them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fankui.errors import FankuiError, describe

HeadKind = Literal["ordinal", "single", "multi"]
Polarity = Literal["negative", "neutral", "positive"]
Gap = Literal["GAP1", "GAP2", "GAP3", "GAP4", "GAP5"]


class TaxonomyError(FankuiError):
    """The taxonomy file is missing, unreadable or inconsistent."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))


class Bilingual(_Frozen):
    """One phrase in Chinese and English."""

    zh: str = Field(min_length=1)
    en: str = Field(min_length=1)


class ServiceGap(_Frozen):
    """One of the five service-quality gaps (Parasuraman, Zeithaml, Berry 1985) and its usual remedy."""

    name: Bilingual
    remedy: Bilingual


class Label(_Frozen):
    """One answer a head can give. `gaps`, `wants`, `respond`, `never_say` guide agents where they are known."""

    id: str = Field(pattern=r"^[a-z][a-z_]*$")
    code: str = Field(min_length=1, max_length=1)
    name: Bilingual
    definition: Bilingual
    grade: int | None = Field(default=None, ge=1)
    polarity: Polarity | None = None
    gaps: tuple[Gap, ...] = ()
    wants: tuple[Bilingual, ...] = ()
    respond: tuple[Bilingual, ...] = ()
    never_say: tuple[Bilingual, ...] = ()


class Head(_Frozen):
    """One question put to every text. `field` is its name in a prediction; `evidence` asks for text spans."""

    id: str = Field(pattern=r"^[a-z][a-z_]*$")
    field: str = Field(pattern=r"^[a-z][a-z_]*$")
    kind: HeadKind
    evidence: bool = False
    name: Bilingual
    definition: Bilingual
    labels: tuple[Label, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for attribute in ("id", "code"):
            values = [getattr(label, attribute) for label in self.labels]
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise ValueError(f"head {self.id!r} uses the label {attribute} {twice[0]!r} twice")
        if self.kind == "ordinal":
            grades = [label.grade for label in self.labels]
            if grades != list(range(1, len(self.labels) + 1)):
                raise ValueError(f"head {self.id!r} is ordinal: its labels need the grades 1, 2, 3 … in order")
            if any(label.polarity is None for label in self.labels):
                raise ValueError(f"head {self.id!r} is ordinal: each label needs a polarity")
        if self.evidence and self.kind != "multi":
            raise ValueError(f"head {self.id!r} asks for evidence, which only a head of kind 'multi' can give")
        return self

    @cached_property
    def label_ids(self) -> tuple[str, ...]:
        """The labels' ids in the order of the model's outputs."""
        return tuple(label.id for label in self.labels)

    def index(self, label_id: str) -> int:
        """The position of a label. Raises TaxonomyError for an id that this head does not have."""
        try:
            return self.label_ids.index(label_id)
        except ValueError:
            known = ", ".join(self.label_ids)
            raise TaxonomyError(f"{label_id!r} is not a label of {self.id!r}; it has: {known}.") from None


class Taxonomy(_Frozen):
    """All heads, in the order of the model's outputs."""

    version: str = Field(min_length=1)
    gaps: dict[Gap, ServiceGap]
    heads: tuple[Head, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for attribute in ("id", "field"):
            values = [getattr(head, attribute) for head in self.heads]
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise ValueError(f"the head {attribute} {twice[0]!r} is used twice")
        kinds = {head.id: head.kind for head in self.heads}
        for required, kind in (("sentiment", "ordinal"), ("cause", "multi")):
            if kinds.get(required) != kind:
                raise ValueError(f"a head {required!r} of kind {kind!r} is required")
        for head in self.heads:
            for label in head.labels:
                for gap in label.gaps:
                    if gap not in self.gaps:
                        raise ValueError(f"label {label.id!r} points to {gap}, which `gaps` does not describe")
                if head.id == "cause" and not (label.gaps and label.wants and label.respond and label.never_say):
                    raise ValueError(f"cause {label.id!r} needs gaps, wants, respond and never_say")
        return self

    @classmethod
    def load(cls, path: Path | str) -> Taxonomy:
        """Read and validate a taxonomy file. Raises TaxonomyError with a sentence that names the fault."""
        try:
            return cls.parse(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise TaxonomyError(f"The taxonomy {path} cannot be read: {error}.") from error
        except TaxonomyError as error:
            raise TaxonomyError(f"The taxonomy {path} is not valid: {error}") from error

    @classmethod
    def parse(cls, source: str) -> Taxonomy:
        """Validate taxonomy YAML given as text. Raises TaxonomyError."""
        try:
            content = yaml.load(source, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            return cls.model_validate(content)
        except yaml.YAMLError as error:
            raise TaxonomyError(f"it is not YAML ({error}).") from error
        except ValidationError as error:
            raise TaxonomyError(describe(error)) from error

    @cached_property
    def sha256(self) -> str:
        """A hash of the content, independent of comments and layout."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def head(self, head_id: str) -> Head:
        """Raises TaxonomyError for an unknown head."""
        for head in self.heads:
            if head.id == head_id:
                return head
        raise TaxonomyError(f"There is no head {head_id!r}; there are: {', '.join(h.id for h in self.heads)}.")

    def slices(self) -> Iterator[tuple[Head, slice]]:
        """Each head with the columns it occupies in the model's logits, shape (batch, labels of all heads)."""
        start = 0
        for head in self.heads:
            yield head, slice(start, start + len(head.labels))
            start += len(head.labels)

    @property
    def width(self) -> int:
        """The number of labels of all heads together."""
        return sum(len(head.labels) for head in self.heads)
