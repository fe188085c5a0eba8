"""The behaviour suite itself is sound: enough cases, well formed, unseen in training, and judged right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fankui import Tagger, Taxonomy

behaviour = pytest.importorskip("training.behaviour")
ROOT = Path(__file__).parents[2]
CASES = behaviour.read_cases(Path(__file__).parent / "cases")


def test_there_are_enough_cases_with_distinct_ids_and_what_their_type_needs() -> None:
    members = [case for cases in CASES.values() for case in cases]
    assert len(members) >= 400 and len(CASES) == 21
    assert len({case.id for case in members}) == len(members)
    for case in members:
        assert (case.variant is None) == (case.type == "minimum_functionality"), case.id
        assert case.fields if case.type == "invariance" else case.expect, case.id


def test_every_label_that_a_case_names_exists() -> None:
    taxonomy = Taxonomy.load(ROOT / "data/taxonomy.yaml")
    known = {label.id for head in taxonomy.heads for label in head.labels}
    known |= {label.polarity for head in taxonomy.heads for label in head.labels} | {"lower", "higher"}
    known |= {"not_lower", "not_higher", 1, 2, 3, 4, 5}
    for case in (case for cases in CASES.values() for case in cases):
        for wanted in case.expect.values():
            assert set(wanted if isinstance(wanted, list) else [wanted]) <= known, case.id


def test_no_case_is_a_training_text() -> None:
    lines = (ROOT / "data/tickets/train.jsonl").read_text(encoding="utf-8").splitlines()
    texts = {json.loads(line)["text"] for line in lines}
    assert not texts & {case.text for cases in CASES.values() for case in cases}


def test_a_case_passes_and_fails_by_what_the_model_says(tagger: Tagger) -> None:
    (tags,) = tagger.tag(["说好三天到货,十天了还没发"])
    opposite = {"negative": "positive", "positive": "negative", "neutral": "positive"}[tags.sentiment.polarity]

    def case(**more: object) -> object:
        return behaviour.Case.model_validate({"id": "c", "text": "说好三天到货,十天了还没发", **more})

    right = case(type="minimum_functionality", expect={"polarity": tags.sentiment.polarity})
    wrong = case(type="minimum_functionality", expect={"polarity": opposite})
    same = case(type="invariance", variant="说好三天到货,十天了还没发", fields=["polarity", "causes"])
    lower = case(type="direction", variant="说好三天到货,十天了还没发", expect={"grade": "lower"})
    assert behaviour.run_cases(tagger, [right, wrong, same, lower]) == [True, False, True, False]
    with pytest.raises(behaviour.BehaviourError, match="needs a variant"):
        behaviour.run_cases(tagger, [case(type="invariance", fields=["grade"])])
