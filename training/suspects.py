"""Labels that are probably wrong: those that predictions made without them contradict (confident learning)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.multilabel_classification.filter import find_label_issues as find_multilabel_issues
from datasets import load_from_disk
from numpy.typing import NDArray
from sklearn.model_selection import KFold

from fankui.decisions import Decider, Flags, Floats, neutral_calibration
from fankui.engine import Tagger
from fankui.taxonomy import Taxonomy
from training.baseline import TfidfBaseline
from training.evaluate import bundle_logits
from training.recipe import Recipe

FOLDS = 5


@dataclass(frozen=True, slots=True)
class Suspect:
    """One head of one text; `given` are its labels, `likelier` those that the prediction would give."""

    row: int
    head: str
    given: tuple[str, ...]
    likelier: tuple[str, ...]


def cross_validated(texts: Sequence[str], targets: NDArray[np.float32], taxonomy: Taxonomy) -> Floats:
    """Probabilities of the TF-IDF baseline for each text from a fit without it, (texts, labels of all heads)."""
    probability = np.empty((len(texts), taxonomy.width), np.float32)
    decider = Decider(taxonomy, neutral_calibration(taxonomy))
    for fit, rest in KFold(FOLDS, shuffle=True, random_state=0).split(targets):
        baseline = TfidfBaseline(taxonomy).fit([texts[i] for i in fit], targets[fit])
        probability[rest] = decider.probabilities(baseline.logits([texts[i] for i in rest]))
    return probability


def suspects(gold: Flags, probability: Floats, chosen: Flags, taxonomy: Taxonomy) -> Iterator[Suspect]:
    """The labels to read again, most doubtful first within each head, by cleanlab (Northcutt et al. 2021).

    gold, probability, chosen: (texts, labels of all heads); the predictions must not have been trained on gold.
    """
    for head, columns in taxonomy.slices():
        given, likely = gold[:, columns], probability[:, columns].astype(np.float64)
        if head.kind == "multi":
            labels = [np.flatnonzero(row).tolist() for row in given]
            rows = find_multilabel_issues(labels, likely, return_indices_ranked_by="self_confidence")
        else:
            rows = find_label_issues(given.argmax(1), likely, return_indices_ranked_by="self_confidence")
        for row in rows:
            answer = chosen[row, columns]
            if (answer != given[row]).any():
                names = [tuple(np.array(head.label_ids)[flags].tolist()) for flags in (given[row], answer)]
                yield Suspect(int(row), head.id, names[0], names[1])


def write_suspects(run_folder: Path, source: str, model: Path | None, output: Path) -> int:
    """Write the suspects of one source of a run's training labels with their texts as JSON lines; returns how many."""
    recipe = Recipe.model_validate_json((run_folder / "recipe.json").read_text(encoding="utf-8"))
    taxonomy = Taxonomy.load(recipe.data.taxonomy)
    labelled = load_from_disk(str(run_folder / "dataset"))["train"]
    # Each text once: a second copy (`ticket_copies`) would be fitted on while the first is predicted.
    first = {record: row for row, record in reversed([*enumerate(labelled["id"][:])])}
    sources = labelled["source"][:]
    labelled = labelled.select(sorted(row for row in first.values() if sources[row] == source))
    texts, targets = labelled["text"][:], np.asarray(labelled["targets"][:], np.float32)
    if model:
        tagger = Tagger.load(model)
        decider = Decider(taxonomy, tagger.bundle.manifest.calibration)
        probability = decider.probabilities(bundle_logits(tagger, texts))
    else:
        decider = Decider(taxonomy, neutral_calibration(taxonomy))
        probability = cross_validated(texts, targets, taxonomy)
    found = list(suspects(targets > 0.5, probability, decider.choose(probability), taxonomy))
    with output.open("w", encoding="utf-8") as file:
        for suspect in found:
            row = {"id": labelled[suspect.row]["id"], "head": suspect.head, "given": suspect.given}
            row |= {"likelier": suspect.likelier, "text": texts[suspect.row]}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return len(found)
