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
from training.metrics import polarity_of

OWN_PENALTY = 0.5
"""Of a label's own scale and bias. 0.1 to 2 make no difference for the scale; a bias held by 2 leaves the causes of
reviews too sure (five-fold cross-validation on the calibration texts, as for the next)."""
CONTEXT_PENALTY = 20.0
"""10 to 40 make no difference."""
LEAST_THRESHOLD = 0.25
"""What is three times as likely wrong as right is not said, however rare the label."""


def fit_scaling(
    logits: NDArray[Any], gold: Flags, kind: HeadKind, context: NDArray[Any] | None = None
) -> HeadCalibration:
    """Scales, a bias per label and weights of the context that make the likelihood of gold highest.

    logits and gold are (texts, labels of the head), context is (texts, labels of all heads) or None. Labels that stand
    alone have a scale each, those of which one is chosen have one together. Scales are held near 1, biases and weights
    near 0 by a penalty, so that a label with few texts keeps its own logits (Kull et al. 2019).
    """
    scores, labels = logits.astype(np.float64), logits.shape[1]
    others = np.zeros((len(scores), 0)) if context is None else context.astype(np.float64)
    spread = others.std(0) + 1e-9
    others = others / spread
    scales = labels if kind == "multi" else 1
    own = scales + labels

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scale, bias, weights = np.exp(parameters[:scales]), parameters[scales:own], parameters[own:]
        scaled = scores * scale + bias + others @ weights.reshape(labels, -1).T
        if kind == "multi":
            error = np.logaddexp(0, np.where(gold, -scaled, scaled)).sum()
            slope = expit(scaled) - gold
        else:
            error = (logsumexp(scaled, 1) - (scaled * gold).sum(1)).sum()
            slope = softmax(scaled, 1) - gold
        error += (penalty * np.square(parameters)).sum()
        gradient = (
            (slope * scores).sum(0).reshape(scales, -1).sum(1) * scale,
            slope.sum(0),
            (slope.T @ others).ravel(),
        )
        return float(error), np.concatenate(gradient) + 2 * penalty * parameters

    limits = [(np.log(0.2), np.log(5.0))] * scales + [(-3.0, 3.0)] * (labels + labels * others.shape[1])
    penalty = np.repeat([OWN_PENALTY, CONTEXT_PENALTY], [own, len(limits) - own])
    found = minimize(loss, np.zeros(len(limits)), jac=True, method="L-BFGS-B", bounds=limits).x
    temperature, bias = np.exp(-found[:scales]).round(4).tolist(), found[scales:own].round(4).tolist()
    weights = np.round(found[own:].reshape(labels, -1) / spread, 4)
    return HeadCalibration(
        temperature=tuple(temperature) if kind == "multi" else temperature[0],
        bias=tuple(bias),
        context=tuple(tuple(row.tolist()) for row in weights) if others.shape[1] else (),
    )


def fit_thresholds(probability: Floats) -> tuple[float, ...]:
    """Per label half of the best F1 that the probabilities, (texts, labels), promise: the threshold that reaches it.

    That holds for calibrated probabilities (Lipton et al. 2014) and follows chance less than the threshold of best F1
    on the labels themselves, above all for rare ones.
    """
    likeliest_first = -np.sort(-probability.astype(np.float64), axis=0)
    stated = np.arange(1, len(probability) + 1)[:, None]
    promised = 2 * likeliest_first.cumsum(0) / (stated + likeliest_first.sum(0))
    return tuple(np.maximum(promised.max(0) / 2, LEAST_THRESHOLD).round(3).tolist())


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
            thresholds = fit_thresholds(probability[:, columns])
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
