"""What others say of the same texts: SnowNLP's sentiment, in the same run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from snownlp import SnowNLP

from fankui.decisions import Flags

NEGATIVE, POSITIVE = 0.4, 0.6
"""Below and above these of SnowNLP's probability of a positive text it counts as negative or positive."""


def snownlp_probabilities(texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """SnowNLP's probability that each text is positive, (texts,)."""
    return np.array([float(SnowNLP(text).sentiments) for text in texts])


def snownlp_polarity(texts: Sequence[str], gold: Sequence[str]) -> dict[str, float]:
    """Accuracy of SnowNLP on the three polarities, and on the texts that are not neutral with its best cut of 0.5."""
    started = time.perf_counter()
    positive = snownlp_probabilities(texts)
    seconds = time.perf_counter() - started
    answer = np.where(positive < NEGATIVE, "negative", np.where(positive > POSITIVE, "positive", "neutral"))
    truth = np.array(gold)
    clear: Flags = truth != "neutral"
    binary = np.where(positive >= 0.5, "positive", "negative")
    return {
        "texts": len(truth),
        "polarity": float((answer == truth).mean()),
        "clear": float((binary == truth)[clear].mean()),
        "texts_per_second": len(truth) / seconds,
    }
