"""From a model's logits to calibrated probabilities and to the labels that hold."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from fankui.taxonomy import Head, Taxonomy

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]


class HeadCalibration(BaseModel):
    """How one head's logits become probabilities and labels.

    Logits are divided by `temperature` and moved by `bias` (temperature and vector scaling, Guo et al. 2017). A label
    of a multi-label head holds at or above its threshold. Both tuples are in the order of the head's labels; no bias
    is 0.
    """

    model_config = ConfigDict(frozen=True)
    temperature: float = Field(default=1.0, gt=0)
    bias: tuple[float, ...] = ()
    thresholds: tuple[float, ...] = ()


Calibration = dict[str, HeadCalibration]


def neutral_calibration(taxonomy: Taxonomy) -> Calibration:
    """Temperature 1 and thresholds 0.5 everywhere: a model before calibration."""
    return {
        head.id: HeadCalibration(thresholds=(0.5,) * len(head.labels) if head.kind == "multi" else ())
        for head in taxonomy.heads
    }


def probabilities(logits: NDArray[Any], taxonomy: Taxonomy, calibration: Calibration) -> Floats:
    """Calibrated probabilities, same shape as logits (texts, labels of all heads)."""
    result = np.empty(logits.shape, np.float32)
    for head, columns in taxonomy.slices():
        scaled = logits[:, columns].astype(np.float32) / calibration[head.id].temperature
        if calibration[head.id].bias:
            scaled += np.asarray(calibration[head.id].bias, np.float32)
        if head.kind == "multi":
            result[:, columns] = 1 / (1 + np.exp(-scaled.clip(-60, 60)))
        else:
            exponents = np.exp(scaled - scaled.max(1, keepdims=True))
            result[:, columns] = exponents / exponents.sum(1, keepdims=True)
    return result


def polarity_probabilities(grades: Floats, head: Head) -> tuple[tuple[str, ...], Floats]:
    """The polarities in the order of the grades, and (texts, polarities) sums of the grades' probabilities."""
    names = tuple(dict.fromkeys(str(label.polarity) for label in head.labels))
    sums = [grades[:, [label.polarity == name for label in head.labels]].sum(1) for name in names]
    return names, np.stack(sums, 1)


def decide(probability: Floats, taxonomy: Taxonomy, calibration: Calibration) -> Flags:
    """Which labels hold, (texts, labels of all heads).

    An ordinal head answers the likeliest grade of the likeliest polarity, so that its grade and polarity agree.
    """
    chosen = np.zeros(probability.shape, bool)
    rows = np.arange(len(probability))
    for head, columns in taxonomy.slices():
        scores = probability[:, columns]
        if head.kind == "multi":
            chosen[:, columns] = scores >= np.asarray(calibration[head.id].thresholds, np.float32)
            continue
        if head.kind == "ordinal":
            names, sums = polarity_probabilities(scores, head)
            best = sums.argmax(1)
            inside = np.array([[label.polarity == name for label in head.labels] for name in names])
            scores = np.where(inside[best], scores, -1)
        chosen[rows, columns.start + scores.argmax(1)] = True
    return chosen


def confidences(probability: Floats, chosen: Flags, taxonomy: Taxonomy) -> dict[str, Floats]:
    """How sure the model is, per text: of the `polarity`, and that the set of `causes` is exactly right.

    The second takes the causes as independent given the text.
    """
    columns = {head.id: columns for head, columns in taxonomy.slices()}
    _, polarities = polarity_probabilities(probability[:, columns["sentiment"]], taxonomy.head("sentiment"))
    causes = probability[:, columns["cause"]]
    exact = np.where(chosen[:, columns["cause"]], causes, 1 - causes).prod(1)
    return {"polarity": polarities.max(1), "causes": exact}
