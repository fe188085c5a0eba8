"""From a model's logits to calibrated probabilities and to the labels that hold."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, PositiveFloat

from fankui.taxonomy import Head, Taxonomy

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]


class HeadCalibration(BaseModel):
    """How one head's logits become probabilities and labels.

    Logits are divided by `temperature`, one for all labels or one each, and moved by `bias` (temperature and vector
    scaling, Guo et al. 2017) and by the logits of all heads times `context` (the off-diagonal part of matrix scaling,
    Kull et al. 2019): a cause, say, makes a service dimension likelier. A label of a multi-label head holds at or above
    its threshold. Temperatures, `bias` and `thresholds` are in the order of the head's labels, `context` is (the head's
    labels, labels of all heads); no bias and no context is 0, no threshold 0.5.
    """

    model_config = ConfigDict(frozen=True)
    temperature: PositiveFloat | tuple[PositiveFloat, ...] = 1.0
    bias: tuple[float, ...] = ()
    context: tuple[tuple[float, ...], ...] = ()
    thresholds: tuple[float, ...] = ()


Calibration = dict[str, HeadCalibration]


def neutral_calibration(taxonomy: Taxonomy) -> Calibration:
    """Temperature 1 and thresholds 0.5 everywhere: a model before calibration."""
    return {
        head.id: HeadCalibration(thresholds=(0.5,) * len(head.labels) if head.kind == "multi" else ())
        for head in taxonomy.heads
    }


def polarities(head: Head) -> tuple[tuple[str, ...], Floats]:
    """The polarities in the order of the grades, and which grade has which, (grades, polarities) of 0 and 1."""
    names = tuple(dict.fromkeys(str(label.polarity) for label in head.labels))
    return names, np.array([[label.polarity == name for name in names] for label in head.labels], np.float32)


class Decider:
    """A calibration, laid out over the logits' columns so that deciding costs few array operations."""

    def __init__(self, taxonomy: Taxonomy, calibration: Calibration) -> None:
        slices = list(taxonomy.slices())
        self._scale = np.zeros((taxonomy.width, taxonomy.width), np.float32)
        self._bias = np.zeros(taxonomy.width, np.float32)
        self._thresholds = np.full(taxonomy.width, np.inf, np.float32)
        """Above any probability where one label of the head is chosen instead."""
        for head, columns in slices:
            self._scale[columns, columns] = np.eye(len(head.labels)) / calibration[head.id].temperature
            if calibration[head.id].context:
                self._scale[:, columns] += np.array(calibration[head.id].context, np.float32).T
            if calibration[head.id].bias:
                self._bias[columns] = calibration[head.id].bias
            if head.kind == "multi":
                self._thresholds[columns] = calibration[head.id].thresholds or 0.5
        self._starts = np.array([columns.start for _, columns in slices])
        self._head_of = np.repeat(np.arange(len(slices)), [len(head.labels) for head, _ in slices])
        self._multi = np.isfinite(self._thresholds)
        self._single = [columns for head, columns in slices if head.kind == "single"]
        self._ordinal = [(columns, polarities(head)[1]) for head, columns in slices if head.kind == "ordinal"]
        places = {head.id: columns for head, columns in slices}
        self._sentiment, self._cause = places["sentiment"], places["cause"]
        self._polarities = polarities(taxonomy.head("sentiment"))[1]

    def probabilities(self, logits: NDArray[Any]) -> Floats:
        """Calibrated probabilities, same shape as logits (texts, labels of all heads)."""
        scaled = logits.astype(np.float32) @ self._scale + self._bias
        alone = 1 / (1 + np.exp(-scaled.clip(-60, 60)))
        exponents = np.exp(scaled - np.maximum.reduceat(scaled, self._starts, 1)[:, self._head_of])
        together = exponents / np.add.reduceat(exponents, self._starts, 1)[:, self._head_of]
        answer: Floats = np.where(self._multi, alone, together)
        return answer

    def choose(self, probability: Floats) -> Flags:
        """Which labels hold, (texts, labels of all heads).

        An ordinal head answers the likeliest grade of the likeliest polarity, so that its grade and polarity agree.
        """
        chosen: Flags = probability >= self._thresholds
        rows = np.arange(len(probability))
        for columns in self._single:
            chosen[rows, columns.start + probability[:, columns].argmax(1)] = True
        for columns, polarity in self._ordinal:
            grades = probability[:, columns]
            inside = polarity.T[(grades @ polarity).argmax(1)]
            chosen[rows, columns.start + (grades + inside).argmax(1)] = True
        return chosen

    def decide(self, logits: NDArray[Any]) -> Flags:
        """Which labels hold by the logits; both (texts, labels of all heads)."""
        return self.choose(self.probabilities(logits))

    def confidences(self, probability: Floats, chosen: Flags) -> dict[str, Floats]:
        """How sure the model is, per text: of the `polarity`, and that the set of `causes` is exactly right.

        The second takes the causes as independent given the text.
        """
        causes = probability[:, self._cause]
        exact = np.where(chosen[:, self._cause], causes, 1 - causes).prod(1)
        return {"polarity": (probability[:, self._sentiment] @ self._polarities).max(1), "causes": exact}
