"""The baseline that every model is measured against: jieba words and characters, TF-IDF, logistic regression."""

from __future__ import annotations

from collections.abc import Sequence

import jieba
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import hstack, spmatrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from fankui.taxonomy import Taxonomy


class TfidfBaseline:
    """One logistic regression per label (multi) or head (others) on TF-IDF of words and character 1–3-grams."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.taxonomy = taxonomy
        self.words = TfidfVectorizer(analyzer=jieba.lcut, min_df=2, sublinear_tf=True, ngram_range=(1, 1))
        self.characters = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), min_df=3, sublinear_tf=True)
        self.models: list[LogisticRegression | None] = []

    def _features(self, texts: Sequence[str], fit: bool = False) -> spmatrix:
        parts = [
            vectoriser.fit_transform(texts) if fit else vectoriser.transform(texts)
            for vectoriser in (self.words, self.characters)
        ]
        return hstack(parts).tocsr()

    def fit(self, texts: Sequence[str], targets: NDArray[np.float32]) -> TfidfBaseline:
        """texts (n), targets 0/1 (n, labels of all heads)."""
        features = self._features(texts, fit=True)
        self.models = []
        for head, columns in self.taxonomy.slices():
            gold = targets[:, columns]
            answers = [gold[:, i] > 0.5 for i in range(gold.shape[1])] if head.kind == "multi" else [gold.argmax(1)]
            for answer in answers:
                model = LogisticRegression(
                    C=8.0, max_iter=60, class_weight="balanced" if head.kind == "multi" else None
                )
                self.models.append(model.fit(features, answer) if len(np.unique(answer)) > 1 else None)
        return self

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(texts, labels of all heads), to be calibrated like the model's own; a label never seen has −10."""
        features = self._features(texts)
        out = np.full((len(texts), self.taxonomy.width), -10.0, np.float32)
        models = iter(self.models)
        for head, columns in self.taxonomy.slices():
            if head.kind == "multi":
                for column in range(columns.start, columns.stop):
                    if (model := next(models)) is not None:
                        out[:, column] = model.decision_function(features)
            elif (model := next(models)) is not None:
                scores = model.predict_log_proba(features)
                for i, label in enumerate(model.classes_):
                    out[:, columns.start + int(label)] = scores[:, i]
        return out
