"""Stand-off labels (record id + hash + labels) and the project's own tickets (with texts)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fankui.errors import FankuiError
from fankui.taxonomy import Head, Taxonomy, TaxonomyError
from training.corpora import Record

ROUNDS = ("train.jsonl", "train_2.jsonl", "train_3.jsonl", "train_4.jsonl")
"""The files of training labels, one an annotation round."""

Labels = dict[str, tuple[int, ...]]
"""Head id → indices of the labels that hold: one for single and ordinal heads, any number for multi heads."""


class AnnotationError(FankuiError):
    """Labels are malformed or do not fit the texts."""


@dataclass(frozen=True, slots=True)
class Example:
    """A text with its labels. `source` is the kind of text and the file: `annotations/train`, `tickets/dev` …"""

    id: str
    text: str
    domain: str
    labels: Labels
    source: str


def _indices(head: Head, value: Any) -> tuple[int, ...]:
    if head.kind == "multi":
        if not isinstance(value, list):
            raise TaxonomyError(f"{head.id!r} needs a list of labels.")
        return tuple(sorted({head.index(str(item)) for item in value}))
    if head.kind == "ordinal" and isinstance(value, int):
        if not 1 <= value <= len(head.labels):
            raise TaxonomyError(f"{head.id!r} needs a grade from 1 to {len(head.labels)}.")
        return (value - 1,)
    return (head.index(str(value)),)


def parse_labels(taxonomy: Taxonomy, labels: dict[str, Any]) -> Labels:
    """Labels as stored ({"sentiment": 2, "cause": [...], …}) as indices. Heads may be missing (not labelled).

    Raises TaxonomyError for an unknown head or label.
    """
    return {name: _indices(taxonomy.head(name), value) for name, value in labels.items()}


def _lines(path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, json.loads(line)
    except (OSError, ValueError) as error:
        raise AnnotationError(f"{path} cannot be read as JSON lines: {error}.") from error


def read_hashes(*paths: Path) -> dict[str, str]:
    """Record id → hash, of all stand-off labels in the files."""
    return {row["id"]: row["sha256"] for path in paths for _, row in _lines(path)}


def read_corrections(path: Path) -> dict[str, dict[str, Any]]:
    """Record id → corrected labels (only the heads that change); empty when the file does not exist."""
    if not path.exists():
        return {}
    return {row["id"]: row["labels"] for _, row in _lines(path)}


def join(
    path: Path, records: dict[str, Record], taxonomy: Taxonomy, corrections: dict[str, dict[str, Any]] | None = None
) -> tuple[list[Example], int]:
    """Labels joined with their texts; also how many labels have no text in `records`.

    Raises AnnotationError when a text is not the one that was labelled, or a label does not exist.
    """
    examples: list[Example] = []
    absent = 0
    for number, row in _lines(path):
        record = records.get(row["id"])
        if record is None:
            absent += 1
            continue
        if record.sha256 != row["sha256"]:
            raise AnnotationError(f"{path.name}, line {number}: the text of {row['id']} is not the one labelled.")
        stored = row["labels"] | (corrections or {}).get(row["id"], {})
        examples.append(_example(path, number, record.id, record.text, record.domain, stored, taxonomy))
    return examples, absent


def read_tickets(path: Path, taxonomy: Taxonomy) -> list[Example]:
    """The project's own labelled texts: {"id", "text", "industry", "form", "labels"} a line. Raises AnnotationError."""
    return [
        _example(path, number, row["id"], row["text"], f"ticket_{row['industry']}", row["labels"], taxonomy)
        for number, row in _lines(path)
    ]


def read_corrected(path: Path, taxonomy: Taxonomy) -> list[Example]:
    """Tickets with the labels that people gave them, as `fankui db corrections` writes them: {"id", "text", "labels"}.

    The labels are by field of a prediction. Raises AnnotationError.
    """
    heads = {head.field: head.id for head in taxonomy.heads}
    examples = []
    for number, row in _lines(path):
        if not isinstance(row, dict) or not {"id", "text", "labels"} <= set(row):
            raise AnnotationError(f"{path.name}, line {number}: it needs id, text and labels.")
        labels = {heads.get(field, field): value for field, value in row["labels"].items()}
        examples.append(_example(path, number, row["id"], row["text"], "corrected", labels, taxonomy, "corrected"))
    return examples


def _example(
    path: Path,
    number: int,
    record_id: str,
    text: str,
    domain: str,
    labels: dict[str, Any],
    taxonomy: Taxonomy,
    kind: str | None = None,
) -> Example:
    try:
        source = f"{kind or path.parent.name}/{path.stem}"
        return Example(record_id, text, domain, parse_labels(taxonomy, labels), source)
    except TaxonomyError as error:
        raise AnnotationError(f"{path.name}, line {number} ({record_id}): {error}") from error
