"""The release gate: whether a candidate may replace the current model, by both models' answers to the same texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import load_from_disk

from fankui.bundle import CURRENT, find_bundle
from fankui.decisions import Decider, Flags
from fankui.engine import Tagger
from fankui.errors import FankuiError
from fankui.taxonomy import Taxonomy
from fankui.text import normalise
from training.annotations import read_corrected
from training.behaviour import read_cases, run_cases
from training.dataset import MEASURED, targets
from training.evaluate import bundle_logits
from training.metrics import HEADLINES, Scores, score

LEAST_BEHAVIOUR = 0.85
"""Share of the behaviour suite that any released model passes."""
MOST_BEHAVIOUR_LOST = 0.02
"""So much less of it than the current model: nine of 452 cases; rounding alone has moved it by two."""
_INTERVAL = (0.5, 99.5)
"""Percentiles. Some twenty scores are looked at: at 95 % one in a few candidates would be refused by chance."""
RESAMPLES = 1000


class GateError(FankuiError):
    """There is nothing to compare on."""


@dataclass(frozen=True, slots=True)
class Row:
    """A score of both models on some texts, from 0 to 1; `interval`: 99 % of the difference, if it is known."""

    texts: str
    score: str
    current: float
    candidate: float
    interval: tuple[float, float] | None = None

    def __str__(self) -> str:
        chance = "" if self.interval is None else f"  ({self.interval[0]:+.3f} – {self.interval[1]:+.3f})"
        difference = f"{self.candidate - self.current:+.3f}"
        return f"{self.texts:14}{self.score:20}{self.current:8.3f}{self.candidate:11.3f}{difference:>9}{chance}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the two models compare, and what speaks against the candidate."""

    rows: tuple[Row, ...]
    objections: tuple[str, ...]

    def table(self) -> str:
        """For people."""
        head = f"{'texts':14}{'score':20}{'current':>8}{'candidate':>11}{'change':>9}  (99 % by chance of the texts)"
        return "\n".join([head, *map(str, self.rows)])


def judge(run: Path, models: Path, *, cases: Path, corrected: Sequence[Path] = ()) -> Verdict:
    """Hold the bundle of a run against the current model of a models folder.

    Both answer the run's texts that are only measured on, and the corrected tickets in the files. Objections: a score
    is lower by more than the choice of the texts explains (the whole 99 % interval of the difference, a paired
    bootstrap, is below 0), or the behaviour suite fares badly. Raises FankuiError for files that cannot be read.
    """
    candidate = Tagger.load(run / "bundle")
    current = Tagger.load(find_bundle(models)) if (models / CURRENT).is_file() else None
    taxonomy = candidate.bundle.taxonomy
    rows: list[Row] = []
    objections: list[str] = []
    if current and _labels(current.bundle.taxonomy) == _labels(taxonomy):  # Others cannot be told apart by scores.
        for name, texts, gold in _labelled(run, corrected, taxonomy):
            rows += _compared(name, gold, _decided(current, texts), _decided(candidate, texts), taxonomy)
    objections += [
        f"{row.texts}: {row.score} falls from {row.current:.3f} to {row.candidate:.3f}."
        for row in rows
        if row.interval and row.interval[1] < 0
    ]
    now = _behaviour(candidate, cases)
    before = _behaviour(current, cases) if current else now
    rows.append(Row("behaviour", "cases passed", before, now))
    if now < LEAST_BEHAVIOUR:
        objections.append(f"It passes {now:.1%} of the behaviour suite; {LEAST_BEHAVIOUR:.0%} are asked.")
    elif now < before - MOST_BEHAVIOUR_LOST:
        objections.append(f"It passes {now:.1%} of the behaviour suite, the current model {before:.1%}.")
    return Verdict(tuple(rows), tuple(objections))


def _labelled(run: Path, corrected: Sequence[Path], taxonomy: Taxonomy) -> Iterator[tuple[str, list[str], Flags]]:
    """Name, normalised texts and labels, (texts, labels of all heads), of each set to compare on."""
    folder = run / "dataset"
    if not folder.exists():
        raise GateError(f"There is no data set in {run} to compare the models on; run the step `dataset` first.")
    dataset = load_from_disk(str(folder))
    for name in MEASURED:
        if name in dataset:
            yield name, list(dataset[name]["text"][:]), np.asarray(dataset[name]["targets"][:], np.float32) > 0.5
    for path in corrected:
        examples = read_corrected(path, taxonomy)
        if examples:
            gold = np.array([targets(example, taxonomy) for example in examples]) > 0.5
            yield path.stem, [normalise(example.text).text for example in examples], gold


def _labels(taxonomy: Taxonomy) -> list[tuple[str, tuple[str, ...]]]:
    return [(head.id, head.label_ids) for head in taxonomy.heads]


def _decided(tagger: Tagger, texts: Sequence[str]) -> Flags:
    decider = Decider(tagger.bundle.taxonomy, tagger.bundle.manifest.calibration)
    return decider.decide(bundle_logits(tagger, texts))


def _compared(name: str, gold: Flags, current: Flags, candidate: Flags, taxonomy: Taxonomy) -> list[Row]:
    before, after = score(gold, current, taxonomy), score(gold, candidate, taxonomy)
    generator = np.random.default_rng(0)
    changes: list[Scores] = []
    for _ in range(RESAMPLES):
        rows = generator.integers(0, len(gold), len(gold))
        theirs, ours = score(gold[rows], current[rows], taxonomy), score(gold[rows], candidate[rows], taxonomy)
        changes.append({score_name: ours[score_name] - theirs[score_name] for score_name in ours})
    result = []
    for measure in HEADLINES:
        if measure in after:
            low, high = np.nanpercentile([change[measure] for change in changes], _INTERVAL)
            result.append(Row(name, measure, before[measure], after[measure], (float(low), float(high))))
    return result


def _behaviour(tagger: Tagger, cases: Path) -> float:
    """Share of the behaviour suite that a model passes."""
    results = [good for members in read_cases(cases).values() for good in run_cases(tagger, members)]
    return sum(results) / len(results)
