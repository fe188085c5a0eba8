"""The taxonomy is data: it loads into typed objects, and a fault in it is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fankui import Taxonomy
from fankui.taxonomy import TaxonomyError

FILE = Path(__file__).parents[2] / "data" / "taxonomy.yaml"
TAXONOMY = Taxonomy.load(FILE)


def _changed(change: Any) -> str:
    content = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    change(content)
    return yaml.safe_dump(content, allow_unicode=True)


def test_the_six_heads_and_their_kinds_are_there() -> None:
    kinds = {head.id: (head.kind, len(head.labels)) for head in TAXONOMY.heads}
    assert kinds == {
        "sentiment": ("ordinal", 5),
        "cause": ("multi", 7),
        "request": ("single", 7),
        "servqual": ("multi", 5),
        "demand": ("multi", 6),
        "loyalty": ("single", 3),
    }


def test_every_cause_tells_an_agent_what_to_do() -> None:
    for label in TAXONOMY.head("cause").labels:
        assert label.gaps and label.wants and label.respond and label.never_say
        assert all(gap in TAXONOMY.gaps for gap in label.gaps)


def test_the_columns_of_the_heads_cover_the_logits_without_gap() -> None:
    columns = [column for _, s in TAXONOMY.slices() for column in range(s.start, s.stop)]
    assert columns == list(range(TAXONOMY.width))


def test_no_label_is_written_in_python_code() -> None:
    """Only the heads' ids that a prediction names as fields, and polarities, may stand in the runtime's code."""
    labels = {label.id for head in TAXONOMY.heads for label in head.labels} - {"none", "neutral", "report"}
    for folder in ("fankui", "service"):
        for file in (FILE.parents[1] / folder).rglob("*.py"):
            if file.name != "examples.py":  # example answers for the API's documentation
                source = file.read_text(encoding="utf-8")
                assert not [label for label in labels if f'"{label}"' in source], file


def test_the_hash_ignores_layout_but_not_content() -> None:
    same = Taxonomy.parse("# a comment\n" + FILE.read_text(encoding="utf-8"))
    other = Taxonomy.parse(_changed(lambda c: c.update(version="2")))
    assert same.sha256 == TAXONOMY.sha256 != other.sha256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["heads"][1]["labels"][0].pop("name"), r"heads\.1\.labels\.0\.name"),
        (lambda c: c["heads"][1]["labels"][1].update(id="unmet_expectation"), "uses the label id"),
        (lambda c: c["heads"][0]["labels"][0].update(grade=2), "grades 1, 2, 3"),
        (lambda c: c["heads"][0]["labels"][0].pop("polarity"), "needs a polarity"),
        (lambda c: c["heads"][2].update(evidence=True), "only a head of kind 'multi'"),
        (lambda c: c["heads"].pop(1), "a head 'cause' of kind 'multi' is required"),
        (lambda c: c["gaps"].pop("GAP4"), "points to GAP4"),
        (lambda c: c["heads"][1]["labels"][0].pop("never_say"), "needs gaps, wants, respond and never_say"),
        (lambda c: c["heads"][1].update(colour="red"), r"heads\.1\.colour"),
    ],
)
def test_a_faulty_taxonomy_is_refused_with_the_place_named(change: Any, message: str) -> None:
    with pytest.raises(TaxonomyError, match=message):
        Taxonomy.parse(_changed(change))


def test_a_file_that_is_not_yaml_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(TaxonomyError, match="not YAML"):
        Taxonomy.load(tmp_path / "t.yaml")
    with pytest.raises(TaxonomyError, match="cannot be read"):
        Taxonomy.load(tmp_path / "absent.yaml")


def test_an_unknown_label_or_head_is_answered_with_the_known_ones() -> None:
    with pytest.raises(TaxonomyError, match="it has: very_dissatisfied"):
        TAXONOMY.head("sentiment").index("furious")
    with pytest.raises(TaxonomyError, match="there are: sentiment"):
        TAXONOMY.head("mood")
