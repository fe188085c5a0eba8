"""What a bundle is worth: scores with confidence intervals, calibration, evidence, next to the TF-IDF baseline.

Everything is measured on the bundle as it is served (int8, ONNX Runtime), not on the torch model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from fankui.decisions import Calibration, Decider, Flags, Floats, polarities
from fankui.engine import Tagger
from fankui.tags import Tags
from fankui.taxonomy import Taxonomy
from training.metrics import Scores, expected_calibration_error, label_f1, polarity_of, score

RESAMPLES = 1000
_CHUNK = 512


@dataclass(frozen=True, slots=True)
class Answers:
    """Logits, calibrated probabilities and decisions of a set of texts, with the gold labels; all (texts, labels).

    sure: the confidence in `polarity` and `causes` of each text.
    """

    logits: NDArray[np.float32]
    probability: Floats
    chosen: Flags
    sure: dict[str, Floats]
    gold: Flags
    domains: tuple[str, ...]


def bundle_logits(tagger: Tagger, texts: Sequence[str]) -> NDArray[np.float32]:
    """The served model's logits for normalised texts, (texts, labels of all heads)."""
    rows = []
    for start in range(0, len(texts), _CHUNK):
        encodings = tagger.tokenizer.encode_batch(list(texts[start : start + _CHUNK]))
        rows += [reading.logits for reading in tagger.read(encodings)]
    return np.stack(rows)


def answer(logits: NDArray[Any], split: Dataset, taxonomy: Taxonomy, calibration: Calibration) -> Answers:
    """Decisions for a labelled split from its logits."""
    decider = Decider(taxonomy, calibration)
    probability = decider.probabilities(logits)
    gold = np.asarray(split["targets"][:], np.float32) > 0.5
    chosen = decider.choose(probability)
    sure = decider.confidences(probability, chosen)
    return Answers(logits, probability, chosen, sure, gold, tuple(split["domain"][:]))


def intervals(gold: Flags, chosen: Flags, taxonomy: Taxonomy, *, resamples: int = RESAMPLES) -> dict[str, list[float]]:
    """95 % percentile bootstrap intervals (Efron 1979) of every score, over texts."""
    generator = np.random.default_rng(0)
    samples: list[Scores] = []
    for _ in range(resamples):
        rows = generator.integers(0, len(gold), len(gold))
        samples.append(score(gold[rows], chosen[rows], taxonomy))
    return {
        name: [round(float(q), 4) for q in np.nanpercentile([s[name] for s in samples], [2.5, 97.5])]
        for name in samples[0]
    }


def per_label(answers: Answers, taxonomy: Taxonomy, *, resamples: int = RESAMPLES) -> list[dict[str, Any]]:
    """Precision, recall, F1 with its interval, support and threshold-free mean score of every label."""
    generator = np.random.default_rng(0)
    n = len(answers.gold)
    draws = [generator.integers(0, n, n) for _ in range(resamples)]
    with np.errstate(invalid="ignore"):
        spread = np.nanpercentile([label_f1(answers.gold[d], answers.chosen[d]) for d in draws], [2.5, 97.5], axis=0)
    rows = []
    f1 = label_f1(answers.gold, answers.chosen)
    for head, columns in taxonomy.slices():
        for label, column in zip(head.labels, range(columns.start, columns.stop), strict=True):
            hit = int((answers.gold[:, column] & answers.chosen[:, column]).sum())
            support, predicted = int(answers.gold[:, column].sum()), int(answers.chosen[:, column].sum())
            rows.append(
                {
                    "head": head.id,
                    "label": label.id,
                    "precision": hit / predicted if predicted else None,
                    "recall": hit / support if support else None,
                    "f1": None if np.isnan(f1[column]) else float(f1[column]),
                    "interval": [None if np.isnan(v) else round(float(v), 4) for v in spread[:, column]],
                    "support": support,
                    "predicted": predicted,
                }
            )
    return rows


def per_domain(answers: Answers, taxonomy: Taxonomy, *, least: int = 10) -> dict[str, Any]:
    """The headline scores within each domain of at least `least` texts."""
    domains = np.array(answers.domains)
    result = {}
    for domain in sorted(set(answers.domains)):
        rows = domains == domain
        if rows.sum() >= least:
            scores = score(answers.gold[rows], answers.chosen[rows], taxonomy)
            names = ("cause.micro_f1", "cause.exact", "polarity.accuracy", "request.accuracy")
            result[domain] = {"texts": int(rows.sum())} | {name: scores[name] for name in names}
    return result


@dataclass(frozen=True, slots=True)
class Certainty:
    """What the model said of its own answers, and whether they were right.

    stated: one entry per cause that it states; polarity and causes: one entry per text, `causes` for the whole set.
    Each is (confidence, correct).
    """

    stated: tuple[Floats, Flags]
    polarity: tuple[Floats, Flags]
    causes: tuple[Floats, Flags]


def certainty(answers: Answers, taxonomy: Taxonomy) -> Certainty:
    """Confidences next to whether the answers were right."""
    cause = next(columns for head, columns in taxonomy.slices() if head.id == "cause")
    chosen, gold = answers.chosen[:, cause], answers.gold[:, cause]
    right = polarity_of(answers.gold, taxonomy) == polarity_of(answers.chosen, taxonomy)
    return Certainty(
        (answers.probability[:, cause][chosen], gold[chosen]),
        (answers.sure["polarity"], right),
        (answers.sure["causes"], (gold == chosen).all(1)),
    )


def calibration_report(answers: Answers, taxonomy: Taxonomy, review: dict[str, float]) -> dict[str, Any]:
    """Calibration errors, and what the review limits leave: coverage and how often the rest is right."""
    sure = certainty(answers, taxonomy)
    accepted = (sure.polarity[0] >= review["polarity"]) & (sure.causes[0] >= review["causes"])
    return {
        "cause_ece": expected_calibration_error(*sure.stated),
        "polarity_ece": expected_calibration_error(*sure.polarity),
        "coverage": float(accepted.mean()),
        "accepted_polarity_accuracy": float(sure.polarity[1][accepted].mean()) if accepted.any() else None,
        "accepted_causes_exact": float(sure.causes[1][accepted].mean()) if accepted.any() else None,
    }


def confusions(answers: Answers, taxonomy: Taxonomy) -> dict[str, NDArray[np.int_]]:
    """Counts (annotated, predicted) per head; for multi-label heads over label pairs.

    There a row counts the texts that miss the label, by what they were given instead, and on the diagonal those that
    have it; the last column is a label missed with nothing wrong given, the last row one given with none missed.
    """
    result: dict[str, NDArray[np.int_]] = {}
    for head, columns in taxonomy.slices():
        gold, chosen = answers.gold[:, columns].astype(int), answers.chosen[:, columns].astype(int)
        if head.kind != "multi":
            result[head.id] = gold.T @ chosen
            continue
        missed, wrong = gold & ~chosen & 1, chosen & ~gold & 1
        counts = np.zeros((len(head.labels) + 1,) * 2, int)
        counts[:-1, :-1] = missed.T @ wrong + np.diag((gold & chosen).sum(0))
        counts[:-1, -1] = missed[wrong.sum(1) == 0].sum(0)
        counts[-1, :-1] = wrong[missed.sum(1) == 0].sum(0)
        result[head.id] = counts
    return result


def evidence_check(tagger: Tagger, texts: Sequence[str]) -> dict[str, Any]:
    """How often taking the evidence out of the text lowers the cause's probability.

    Texts of which nothing would be left are not counted.
    """
    taxonomy, calibration = tagger.bundle.taxonomy, tagger.bundle.manifest.calibration
    head, columns = next((h, c) for h, c in taxonomy.slices() if h.id == "cause")
    without: list[str] = []
    original: list[int] = []
    cause: list[int] = []
    stated = spanned = 0
    for i, tags in enumerate(tagger.tag(list(texts))):
        for item in tags.causes if isinstance(tags, Tags) else ():
            stated += 1
            spanned += bool(item.evidence)
            rest = texts[i]
            for span in sorted(item.evidence, key=lambda span: -span.start):
                rest = rest[: span.start] + rest[span.end :]
            if item.evidence and any(character.isalnum() for character in rest):
                without.append(rest)
                original.append(i)
                cause.append(columns.start + head.index(item.label))
    if not without:
        return {"causes": stated, "with_evidence": spanned, "checked": 0, "lowered": None}
    decider = Decider(taxonomy, calibration)
    before = decider.probabilities(bundle_logits(tagger, texts))[original, cause]
    after = decider.probabilities(bundle_logits(tagger, without))[range(len(cause)), cause]
    return {
        "causes": stated,
        "with_evidence": spanned,
        "checked": len(without),
        "lowered": float((after < before).mean()),
        "mean_drop": float((before - after).mean()),
    }


def public_accuracy(tagger: Tagger, public: Dataset) -> dict[str, Any]:
    """Positive/negative accuracy on the native labels of the public test part, per corpus.

    The two polarities are compared with each other; the neutral grade takes no part.
    """
    taxonomy = tagger.bundle.taxonomy
    head, columns = next((h, c) for h, c in taxonomy.slices() if h.id == "sentiment")
    logits = bundle_logits(tagger, public["text"][:])
    grades = Decider(taxonomy, tagger.bundle.manifest.calibration).probabilities(logits)[:, columns]
    names, of_grade = polarities(head)
    sums = grades @ of_grade
    positive = sums[:, names.index("positive")] > sums[:, names.index("negative")]
    gold = np.array([max(native) >= len(head.labels) // 2 + 1 for native in public["native"][:]])
    domains = np.array(public["domain"][:])
    return {
        str(domain): {
            "texts": int((domains == domain).sum()),
            "accuracy": float((positive == gold)[domains == domain].mean()),
        }
        for domain in sorted(set(domains))
    }


def evaluate_split(
    answers: Answers, taxonomy: Taxonomy, review: dict[str, float], *, detailed: bool = True
) -> dict[str, Any]:
    """All numbers of one labelled split."""
    report: dict[str, Any] = {"texts": len(answers.gold), "scores": score(answers.gold, answers.chosen, taxonomy)}
    if detailed:
        report["intervals"] = intervals(answers.gold, answers.chosen, taxonomy)
        report["labels"] = per_label(answers, taxonomy)
        report["domains"] = per_domain(answers, taxonomy)
        report["calibration"] = calibration_report(answers, taxonomy, review)
    return report
