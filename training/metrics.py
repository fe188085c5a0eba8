"""Scores of decisions against gold labels; both are 0/1 matrices in the layout of the model's logits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fankui.decisions import Calibration, Decider, Flags, Floats, neutral_calibration
from fankui.taxonomy import Taxonomy

Scores = dict[str, float]
HEADLINES = (
    "cause.micro_f1", "cause.macro_f1", "cause.exact", "polarity.accuracy", "sentiment.qwk", "request.accuracy",
    "servqual.micro_f1", "demand.micro_f1", "loyalty.macro_f1",
)  # fmt: skip
"""What the product is judged by."""


def polarity_of(flags: Flags, taxonomy: Taxonomy) -> NDArray[np.int64]:
    """The polarity of each text as a number: the position of its name among the ordinal head's polarities."""
    head, columns = next((h, c) for h, c in taxonomy.slices() if h.id == "sentiment")
    names = polarity_names(taxonomy)
    of_grade = np.array([names.index(str(label.polarity)) for label in head.labels])
    return np.asarray(of_grade[flags[:, columns].argmax(1)])


def polarity_names(taxonomy: Taxonomy) -> list[str]:
    """What the numbers of `polarity_of` stand for."""
    return list(dict.fromkeys(str(label.polarity) for label in taxonomy.head("sentiment").labels))


def micro_f1(gold: Flags, chosen: Flags) -> float:
    """F1 over all labels' decisions together; NaN when there is nothing to find and nothing found."""
    hits = int((gold & chosen).sum())
    total = int(gold.sum() + chosen.sum())
    return 2 * hits / total if total else float("nan")


def label_f1(gold: Flags, chosen: Flags) -> NDArray[np.float64]:
    """F1 of each label, (labels,); NaN for a label that is in neither matrix."""
    total = gold.sum(0) + chosen.sum(0)
    with np.errstate(invalid="ignore"):
        return np.asarray(2 * (gold & chosen).sum(0) / total, np.float64)


def macro_f1(gold: Flags, chosen: Flags) -> float:
    """Mean F1 of the labels that occur in gold."""
    seen = gold.any(0)
    return float(label_f1(gold, chosen)[seen].mean()) if seen.any() else float("nan")


def quadratic_weighted_kappa(gold: NDArray[np.int64], answers: NDArray[np.int64], grades: int) -> float:
    """Agreement of grades 0 … grades-1 weighed by squared distance (Cohen 1968); NaN when all are one grade."""
    observed = np.zeros((grades, grades))
    np.add.at(observed, (gold, answers), 1)
    expected = np.outer(observed.sum(1), observed.sum(0)) / max(1, len(gold))
    distance = np.subtract.outer(np.arange(grades), np.arange(grades)) ** 2
    chance = float((distance * expected).sum())
    return 1 - float((distance * observed).sum()) / chance if chance else float("nan")


def score(gold: Flags, chosen: Flags, taxonomy: Taxonomy) -> Scores:
    """The headline numbers of each head, named `head.measure`."""
    result: Scores = {}
    for head, columns in taxonomy.slices():
        g, c = gold[:, columns], chosen[:, columns]
        if head.kind == "multi":
            result[f"{head.id}.micro_f1"] = micro_f1(g, c)
            result[f"{head.id}.macro_f1"] = macro_f1(g, c)
            result[f"{head.id}.exact"] = float((g == c).all(1).mean())
            continue
        answers, truth = c.argmax(1), g.argmax(1)
        result[f"{head.id}.accuracy"] = float((answers == truth).mean())
        if head.kind == "ordinal":
            same = polarity_of(gold, taxonomy) == polarity_of(chosen, taxonomy)
            result["polarity.accuracy"] = float(same.mean())
            result[f"{head.id}.qwk"] = quadratic_weighted_kappa(truth, answers, len(head.labels))
        else:
            result[f"{head.id}.macro_f1"] = macro_f1(g, c)
    return result


def selection_score(scores: Scores) -> float:
    """One number to pick a checkpoint by: what the product is judged by, equally weighed."""
    known = [scores[name] for name in HEADLINES if name in scores and not np.isnan(scores[name])]
    return float(np.mean(known))


def score_logits(
    logits: NDArray[Any], targets: NDArray[Any], taxonomy: Taxonomy, calibration: Calibration | None = None
) -> Scores:
    """`score` of what the logits decide; without a calibration with neutral thresholds."""
    chosen = Decider(taxonomy, calibration or neutral_calibration(taxonomy)).decide(logits)
    return score(np.asarray(targets) > 0.5, chosen, taxonomy)


def expected_calibration_error(confidence: Floats, correct: Flags, bins: int = 10) -> float:
    """Mean gap between stated confidence and share correct over equal-width bins (Guo et al. 2017)."""
    if not len(confidence):
        return 0.0
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = [abs(float(confidence[index == b].sum()) - int(correct[index == b].sum())) for b in range(bins)]
    return sum(gaps) / len(confidence)
