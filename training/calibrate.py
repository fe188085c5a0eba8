"""Temperatures, thresholds and review limits, chosen on calibration texts that the model was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logsumexp, softmax

from fankui.decisions import Calibration, Decider, Flags, Floats, HeadCalibration
from fankui.taxonomy import HeadKind, Taxonomy
from training.metrics import micro_f1, polarity_of

_THRESHOLDS = np.arange(0.25, 0.76, 0.01)
BIAS_PENALTY = 2.0
CONTEXT_PENALTY = 20.0
"""10 to 40 make no difference (five-fold cross-validation on the calibration texts)."""
_ENOUGH = 40
"""A label with fewer positive texts takes the head's common threshold: its own would follow chance."""


def fit_scaling(
    logits: NDArray[Any], gold: Flags, kind: HeadKind, context: NDArray[Any] | None = None
) -> HeadCalibration:
    """One scale, a bias per label and weights of the context that make the likelihood of gold highest.

    logits and gold are (texts, labels of the head), context is (texts, labels of all heads) or None. Biases and
    weights are held near 0 by a penalty, so that a label with few texts keeps its own logits (Kull et al. 2019).
    """
    scores, labels = logits.astype(np.float64), logits.shape[1]
    others = np.zeros((len(scores), 0)) if context is None else context.astype(np.float64)
    spread = others.std(0) + 1e-9
    others = others / spread

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scale, bias = np.exp(parameters[0]), parameters[1 : labels + 1]
        weights = parameters[labels + 1 :].reshape(labels, -1)
        scaled = scores * scale + bias + others @ weights.T
        if kind == "multi":
            error = np.logaddexp(0, np.where(gold, -scaled, scaled)).sum()
            slope = expit(scaled) - gold
        else:
            error = (logsumexp(scaled, 1) - (scaled * gold).sum(1)).sum()
            slope = softmax(scaled, 1) - gold
        error += BIAS_PENALTY * np.square(bias).sum() + CONTEXT_PENALTY * np.square(weights).sum()
        gradient = (
            [(slope * scores).sum() * scale],
            slope.sum(0) + 2 * BIAS_PENALTY * bias,
            (slope.T @ others + 2 * CONTEXT_PENALTY * weights).ravel(),
        )
        return float(error), np.concatenate(gradient)

    limits = [(np.log(0.2), np.log(5.0)), *[(-3.0, 3.0)] * (labels + labels * others.shape[1])]
    found = minimize(loss, np.zeros(len(limits)), jac=True, method="L-BFGS-B", bounds=limits).x
    rounded = np.round(found[labels + 1 :].reshape(labels, -1) / spread, 4)
    return HeadCalibration(
        temperature=round(float(np.exp(-found[0])), 4),
        bias=tuple(round(float(value), 4) for value in found[1 : labels + 1]),
        context=tuple(tuple(row.tolist()) for row in rounded) if others.shape[1] else (),
    )


def fit_thresholds(probability: Floats, gold: Flags) -> tuple[float, ...]:
    """Per label the threshold of best F1; for rare labels the one that is best for all labels together."""
    common = max(_THRESHOLDS, key=lambda t: micro_f1(gold, probability >= t))
    chosen = []
    for label in range(gold.shape[1]):
        positive = gold[:, [label]]
        best = common
        if positive.sum() >= _ENOUGH:
            scores = [micro_f1(positive, probability[:, [label]] >= t) for t in _THRESHOLDS]
            # the middle of the plateau around the best score rather than its first point
            plateau = _THRESHOLDS[np.array(scores) >= max(scores) - 0.003]
            best = plateau[np.abs(plateau - np.median(plateau)).argmin()]
        chosen.append(round(float(best), 3))
    return tuple(chosen)


def fit_calibration(logits: NDArray[Any], gold: Flags, taxonomy: Taxonomy) -> Calibration:
    """All heads' scaling and thresholds from logits and gold, both (texts, labels of all heads).

    A head that gives evidence gets no context: its passages explain its own logits only.
    """
    calibration: Calibration = {
        head.id: fit_scaling(logits[:, columns], gold[:, columns], head.kind, None if head.evidence else logits)
        for head, columns in taxonomy.slices()
    }
    probability = Decider(taxonomy, calibration).probabilities(logits)
    for head, columns in taxonomy.slices():
        if head.kind == "multi":
            thresholds = fit_thresholds(probability[:, columns], gold[:, columns])
            calibration[head.id] = calibration[head.id].model_copy(update={"thresholds": thresholds})
    return calibration


def least_confidence(confidence: Floats, correct: Flags, precision: float) -> float:
    """The lowest limit above which at least `precision` of the answers are correct; 1.01 when there is none."""
    order = np.argsort(-confidence)
    running = np.cumsum(correct[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(running >= precision)
    return round(float(confidence[order[good[-1]]]), 4) if len(good) else 1.01


def fit_review(
    logits: NDArray[Any],
    gold: Flags,
    sources: Sequence[str],
    taxonomy: Taxonomy,
    calibration: Calibration,
    precision: dict[Any, float],
) -> dict[str, float]:
    """The least confidence in polarity and in causes that needs no review, for the asked precision of each.

    The precision holds for the texts of each source by themselves (reviews, tickets): nobody has their mixture.
    """
    decider = Decider(taxonomy, calibration)
    probability = decider.probabilities(logits)
    chosen = decider.choose(probability)
    sure = decider.confidences(probability, chosen)
    cause = next(columns for head, columns in taxonomy.slices() if head.id == "cause")
    correct = {
        "polarity": polarity_of(gold, taxonomy) == polarity_of(chosen, taxonomy),
        "causes": (gold[:, cause] == chosen[:, cause]).all(1),
    }
    groups = [np.array(sources) == source for source in sorted(set(sources))]
    return {
        name: max(least_confidence(sure[name][rows], right[rows], precision[name]) for rows in groups)
        for name, right in correct.items()
    }
