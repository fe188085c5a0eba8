"""A smaller student that learns from the labels and from a fine-tuned teacher's answers to unlabelled texts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetDict, concatenate_datasets
from numpy.typing import NDArray

from fankui.taxonomy import Taxonomy
from training.dataset import spread
from training.folds import NO_FOLD, answers, folds_of
from training.model import MultiHeadClassifier, keep_layers, keep_units
from training.recipe import Distillation
from training.train import fit
from training.trainer import pad, prepare

log = logging.getLogger(__name__)

_SAMPLE = 1_000
"""Texts on which the strength of feed-forward units is measured."""


def unseen_texts(dataset: DatasetDict) -> Dataset:
    """The unlabelled texts and fragments that are not among the train texts: domain, input_ids, length."""
    train = set(dataset["train"]["id"][:])
    unlabelled = dataset["unlabelled"].filter(lambda id_: id_ not in train, input_columns="id")
    parts = [unlabelled, *([dataset["fragments"]] if "fragments" in dataset else [])]
    return concatenate_datasets([part.select_columns(["domain", "input_ids", "length"]) for part in parts])


def with_answers(
    teachers: Sequence[Path], rows: Dataset, folds: NDArray[np.int64], pad_id: int, max_tokens: int
) -> Dataset:
    """The rows with a column `soft`: the mean of the teachers' logits, (labels)."""
    ids = rows["input_ids"][:]
    given = [answers(folder, ids, folds, pad_id, max_tokens) for folder in teachers]
    return rows.add_column("soft", list(np.mean(given, 0)))


def distil(
    begin: Path,
    teachers: Sequence[Path],
    train: Dataset,
    unseen: Dataset,
    dev: Dataset,
    taxonomy: Taxonomy,
    options: Distillation,
    pad_id: int,
    folder: Path,
    *,
    folds: int,
    seed: int,
) -> tuple[MultiHeadClassifier, dict[str, float]]:
    """The student, which begins as the classifier in `begin`, and its best dev scores (uncalibrated).

    `unseen`: texts (columns domain, input_ids, length) that the teachers were not trained on. `folds`: how many parts
    the train texts have of which a teacher may have left out one. An interrupted run in the same folder is continued.
    """
    columns = ["input_ids", "targets", "known", "length"]
    if options.max_labelled:
        train = train.select(spread(train["domain"][:], options.max_labelled))
    rows = train.select_columns(columns)
    if options.max_texts and len(unseen):
        chosen = unseen.select(spread(unseen["domain"][:], options.max_texts))
        none, nothing = [0.0] * taxonomy.width, [0.0] * len(taxonomy.heads)
        extra = Dataset.from_dict(
            {
                "input_ids": chosen["input_ids"][:],
                "targets": [none] * len(chosen),
                "known": [nothing] * len(chosen),
                "length": chosen["length"][:],
            }
        )
        rows = concatenate_datasets([rows, extra.cast(rows.features)])
    answered = folder / "answers"
    if answered.exists():
        rows = Dataset.load_from_disk(str(answered))
    else:
        parts = np.full(len(rows), NO_FOLD)
        if folds:
            parts[: len(train)] = folds_of(train["id"][:], folds)
        rows = with_answers(teachers, rows, parts, pad_id, options.max_tokens)
        rows.save_to_disk(answered)
    log.info("distillation: %d labelled texts and %d others", len(train), len(rows) - len(train))
    student = MultiHeadClassifier.load(begin)
    keep_layers(student.encoder, options.layers)
    if options.feed_forward:
        sample = rows["input_ids"][:_SAMPLE]
        batches = (
            pad([ids[: options.max_tokens] for ids in sample[start : start + options.batch_size]], pad_id)
            for start in range(0, len(sample), options.batch_size)
        )
        keep_units(student.encoder, batches, options.feed_forward)
    prepare(student.encoder)
    scores = fit(student, rows, dev, taxonomy, options, pad_id, folder / "fit", seed=seed)
    return student, scores
