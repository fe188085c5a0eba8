"""Classifiers that each leave out a part of the train texts, so that these too are answered by one that is new to them.

A model's answers to its own training texts say little more than their labels do (see `training.fragments`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from training.model import MultiHeadClassifier
from training.train import predict

NO_FOLD = -1
"""The fold of a text that no classifier was trained on."""


def folds_of(ids: Sequence[str], count: int) -> NDArray[np.int64]:
    """For each id the number of the classifier that is not trained on it, 0 … count - 1, by hash; (ids,)."""
    return np.array([crc32(id_.encode()) % count for id_ in ids], np.int64)


def answers(
    teacher: Path, input_ids: Sequence[Sequence[int]], folds: NDArray[np.int64], pad_id: int, max_tokens: int
) -> NDArray[np.float32]:
    """Logits (texts, labels) of a classifier's folder, or of a folder of classifiers 0, 1, 2 … that leave out folds.

    The latter answer a text of their folds by the one that has not seen it, other texts by their mean.
    """
    alone = not (teacher / "0").exists()
    members = [teacher] if alone else sorted(teacher.iterdir(), key=lambda folder: int(folder.name))
    total, count = np.zeros(0, np.float32), np.zeros((len(input_ids), 1), np.float32)
    for number, folder in enumerate(members):
        rows = np.flatnonzero(alone | (folds == number) | (folds == NO_FOLD))
        classifier = MultiHeadClassifier.load(folder)
        logits = predict(classifier, [input_ids[i] for i in rows.tolist()], pad_id, max_tokens=max_tokens, half=True)
        if not number:
            total = np.zeros((len(input_ids), logits.shape[1]), np.float32)
        total[rows] += logits
        count[rows] += 1
    return total / count
