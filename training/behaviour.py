"""The behaviour suite: hand-written cases per capability, after CheckList (Ribeiro et al. 2020).

A case asks for a minimum functionality (`expect` of one text), an invariance (named fields equal for text and variant)
or a direction (what the variant changes). No case may be used for training.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from fankui.engine import Tagger
from fankui.errors import FankuiError, describe
from fankui.tags import Tags


class BehaviourError(FankuiError):
    """A case is malformed."""


class Case(BaseModel):
    """One line of a capability's file."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: str
    type: Literal["minimum_functionality", "invariance", "direction"]
    text: str
    variant: str | None = None
    fields: tuple[str, ...] = ()
    expect: dict[str, Any] = {}


def read_cases(folder: Path) -> dict[str, list[Case]]:
    """Capability → its cases, from `CAPABILITY.jsonl` files. Raises BehaviourError naming file and line."""
    cases: dict[str, list[Case]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        cases[path.stem] = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                cases[path.stem].append(Case.model_validate_json(line))
            except ValidationError as error:
                raise BehaviourError(f"{path.name}, line {number}: {describe(error)}") from error
    if not cases:
        raise BehaviourError(f"There is no case in {folder}.")
    return cases


def case_texts(folder: Path) -> set[str]:
    """All texts and variants of the cases. Raises BehaviourError."""
    cases = chain.from_iterable(read_cases(folder).values())
    return {text for case in cases for text in (case.text, case.variant) if text is not None}


def facts(tags: Tags) -> dict[str, Any]:
    """What a case may ask about a prediction."""
    return {
        "polarity": tags.sentiment.polarity,
        "grade": tags.sentiment.grade,
        "causes": {cause.label for cause in tags.causes},
        "request": tags.request.label,
        "loyalty": tags.loyalty.label,
        "servqual": {item.label for item in tags.servqual},
        "demand": {item.label for item in tags.demand},
    }


def _holds(name: str, wanted: Any, found: dict[str, Any]) -> bool:
    if name == "causes":
        return bool(found["causes"] == set(wanted))
    head, _, relation = name.rpartition("_")
    if relation == "include":
        return bool(set(wanted) <= found[head])
    if relation == "exclude":
        return not set(wanted) & set(found[head])
    return bool(found[name] in wanted if isinstance(wanted, list) else found[name] == wanted)


def _moves(expect: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> bool:
    change = after["grade"] - before["grade"]
    grades = {"lower": change < 0, "higher": change > 0, "not_higher": change <= 0, "not_lower": change >= 0}
    added, removed = after["causes"] - before["causes"], before["causes"] - after["causes"]
    asked = (set(expect.get("adds", ())) <= added, set(expect.get("removes", ())) <= removed)
    return grades.get(expect.get("grade", ""), True) and all(asked)


def passes(case: Case, answer: Tags, variant: Tags | None) -> bool:
    """Whether the prediction of the case's text (and of its variant) is as the case asks."""
    found = facts(answer)
    if case.type == "minimum_functionality":
        return all(_holds(name, wanted, found) for name, wanted in case.expect.items())
    if variant is None:
        raise BehaviourError(f"{case.id} is of type {case.type} and needs a variant.")
    other = facts(variant)
    if case.type == "invariance":
        return all(found[name] == other[name] for name in case.fields)
    return _moves(case.expect, found, other)


def run_cases(tagger: Tagger, cases: Sequence[Case]) -> list[bool]:
    """Whether each case passes, in order."""
    texts = [case.text for case in cases] + [case.variant or case.text for case in cases]
    answers = [answer if isinstance(answer, Tags) else None for answer in tagger.tag(texts, evidence=False)]
    results = []
    for case, answer, variant in zip(cases, answers, answers[len(cases) :], strict=False):
        results.append(answer is not None and passes(case, answer, variant if case.variant else None))
    return results
