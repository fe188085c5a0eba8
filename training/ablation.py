"""What each choice is worth: a small model trained once per variant, everything else equal.

The small model (few layers, a part of the texts) stands for the large one, whose every variant would cost hours.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict, load_from_disk
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from transformers import set_seed

from fankui.decisions import Decider, Flags
from fankui.taxonomy import Taxonomy
from training.calibrate import fit_calibration
from training.encoder import load_encoder
from training.metrics import score
from training.model import MultiHeadClassifier, keep_layers
from training.recipe import Finetuning, Recipe, read_yaml
from training.train import fit, new_classifier, predict

log = logging.getLogger(__name__)

REPORTED = ("cause.micro_f1", "cause.macro_f1", "polarity.accuracy", "sentiment.qwk", "request.accuracy")


class Variant(BaseModel):
    """One row of the table: what differs from the plan's own settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    finetuning: dict[str, Any] = {}
    encoder: str = "pretrained"
    without: tuple[str, ...] = ()
    texts: int | None = None
    seed: int | None = None


class Plan(BaseModel):
    """Which layers of the encoder and how many texts stand for the whole, and the variants."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    layers: tuple[int, ...]
    texts: int
    finetuning: Finetuning
    variants: tuple[Variant, ...]

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Raises RecipeError with a sentence that names the field."""
        return read_yaml(cls, path)


def _rows(dataset: DatasetDict, variant: Variant, count: int, seed: int) -> Dataset:
    """A fixed random part of the training texts, without the sources that the variant leaves out."""
    train = dataset["train"].shuffle(seed=seed)
    train = train.filter(lambda source: source not in variant.without, input_columns="source")
    return train.select(range(min(count, len(train))))


def _answers(
    classifier: MultiHeadClassifier, split: Dataset, pad_id: int, max_tokens: int
) -> tuple[NDArray[np.float32], Flags]:
    logits = predict(classifier, split["input_ids"][:], pad_id, max_tokens=max_tokens, half=True)
    return logits, np.asarray(split["targets"][:], np.float32) > 0.5


def _measure(run: Path, recipe: Recipe, plan: Plan, variant: Variant, folder: Path) -> dict[str, Any]:
    dataset, taxonomy = load_from_disk(str(run / "dataset")), Taxonomy.load(recipe.data.taxonomy)
    options = Finetuning.model_validate(plan.finetuning.model_dump() | variant.finetuning)
    seed = recipe.seed if variant.seed is None else variant.seed
    set_seed(seed)
    encoder = load_encoder(str(run / variant.encoder))
    keep_layers(encoder.model, plan.layers)
    classifier = new_classifier(encoder, taxonomy, options)
    chosen_on = dataset["calibration"] if "calibration" in dataset else dataset["tickets_dev"]
    train = _rows(dataset, variant, variant.texts or plan.texts, seed)
    started = time.time()
    fit(classifier, train, chosen_on, taxonomy, options, encoder.pad_id, folder, seed=seed)
    minutes = (time.time() - started) / 60
    row: dict[str, Any] = {"name": variant.name, "texts": len(train), "minutes": round(minutes, 1)}
    calibration = fit_calibration(*_answers(classifier, chosen_on, encoder.pad_id, options.max_tokens), taxonomy)
    for name in (split for split in ("dev", "tickets_dev") if split in dataset):
        logits, gold = _answers(classifier, dataset[name], encoder.pad_id, options.max_tokens)
        chosen = Decider(taxonomy, calibration).decide(logits)
        scores = score(gold, chosen, taxonomy)
        row[name] = {reported: round(float(scores[reported]), 4) for reported in REPORTED}
    return row


def ablate(run: Path, recipe: Recipe, plan: Plan, output: Path) -> list[Mapping[str, Any]]:
    """Train and score every variant of the plan on a run's data set and encoder; returns the rows of the table.

    Rows are written to `output` (JSON) as they are done, and not done again.
    """
    rows: list[Mapping[str, Any]] = json.loads(output.read_text(encoding="utf-8")) if output.exists() else []
    for variant in plan.variants:
        if any(row["name"] == variant.name for row in rows):
            continue
        rows.append(_measure(run, recipe, plan, variant, output.parent / "ablation" / variant.name.replace(" ", "-")))
        output.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
        log.info("ablation: %s", rows[-1])
    return rows
