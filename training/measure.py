"""All that is measured of a finished bundle, in one run: itself, its teacher, the baselines, the behaviour suite.

Writes the report (JSON and Markdown), the pictures and the model card into the bundle.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict, concatenate_datasets, load_from_disk

from fankui.bundle import write_manifest
from fankui.decisions import Decider
from fankui.engine import Tagger
from fankui.taxonomy import Taxonomy
from training import pictures
from training.baseline import TfidfBaseline
from training.behaviour import read_cases, run_cases
from training.calibrate import fit_calibration
from training.comparison import snownlp_polarity
from training.dataset import MEASURED
from training.evaluate import (
    Answers,
    answer,
    bundle_logits,
    certainty,
    confusions,
    evaluate_split,
    evidence_check,
    public_accuracy,
)
from training.export import parity
from training.metrics import polarity_names, polarity_of, score
from training.model import MultiHeadClassifier
from training.recipe import Recipe
from training.report import markdown, model_card
from training.train import predict

PICTURES = "pictures"
COMPARED = ("cause.micro_f1", "polarity.accuracy")


def _gold(split: Dataset) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.asarray(split["targets"][:], np.float32) > 0.5


def _torch(folder: Path, split: Dataset, pad_id: int, max_tokens: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return predict(MultiHeadClassifier.load(folder), split["input_ids"][:], pad_id, max_tokens=max_tokens)


def _against_torch(
    folders: dict[str, Path], tagger: Tagger, dataset: DatasetDict, calibration_texts: Dataset
) -> dict[str, Any]:
    """int8 beside the float32 models it comes from (the student and its teacher), each with its own calibration.

    Only texts that fit into one window count, since torch reads no other.
    """
    taxonomy, manifest = tagger.bundle.taxonomy, tagger.bundle.manifest
    splits = [dataset[name] for name in MEASURED if name in dataset]
    short = concatenate_datasets(splits).filter(lambda n: n <= manifest.max_tokens, input_columns="length")
    decider = Decider(taxonomy, manifest.calibration)
    ours = decider.decide(bundle_logits(tagger, short["text"][:]))
    cause = next(columns for head, columns in taxonomy.slices() if head.id == "cause")
    result: dict[str, Any] = {"texts": len(short), "int8": _compared(ours, short, taxonomy)}
    for name, folder in folders.items():
        fitting = _torch(folder, calibration_texts, manifest.pad_id, manifest.max_tokens)
        calibration = fit_calibration(fitting, _gold(calibration_texts), taxonomy)
        logits = _torch(folder, short, manifest.pad_id, manifest.max_tokens)
        result[name] = _compared(Decider(taxonomy, calibration).decide(logits), short, taxonomy)
        if name == "float32":
            same = decider.decide(logits)
            result["causes"] = parity(same[:, cause], ours[:, cause])
            result["polarity"] = float((polarity_of(same, taxonomy) == polarity_of(ours, taxonomy)).mean())
    return result


def _compared(chosen: np.ndarray[Any, Any], split: Dataset, taxonomy: Taxonomy) -> dict[str, float]:
    scores = score(_gold(split), chosen, taxonomy)
    return {name: float(scores[name]) for name in COMPARED}


def _draw(answers: Answers, taxonomy: Taxonomy, split: str, folder: Path) -> None:
    sure = certainty(answers, taxonomy)
    pictures.reliability({"causes": sure.stated, "polarity": sure.polarity}, folder / f"{split}-reliability.svg")
    pictures.risk_coverage({"causes": sure.causes, "polarity": sure.polarity}, folder / f"{split}-risk-coverage.svg")
    counts = confusions(answers, taxonomy)
    for head in taxonomy.heads:
        if head.id in ("sentiment", "cause", "request"):
            extra = (["(none)"], ["(none)"]) if head.kind == "multi" else ([], [])
            rows, columns = [*head.label_ids, *extra[0]], [*head.label_ids, *extra[1]]
            pictures.confusion(counts[head.id], rows, columns, folder / f"{split}-confusion-{head.id}.svg")


def _behaviour(tagger: Tagger, cases: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for capability, members in read_cases(cases).items():
        results = run_cases(tagger, members)
        failed = [case for case, good in zip(members, results, strict=True) if not good]
        found[capability] = {
            "passed": sum(results),
            "cases": len(results),
            "failures": [
                {
                    "text": case.text,
                    "variant": case.variant,
                    "asked": case.expect or {"unchanged": list(case.fields)},
                }
                for case in failed
                if len(case.text) <= 120
            ][:2],
        }
    return found


def write_report(run: Path, released: Path, recipe: Recipe, command: str, *, cases: Path) -> dict[str, Any]:
    """Measure the bundle in `run`, write report, pictures and model card into it; returns the report."""
    bundle = run / "bundle"
    tagger, dataset = Tagger.load(bundle), load_from_disk(str(run / "dataset"))
    taxonomy, manifest = tagger.bundle.taxonomy, tagger.bundle.manifest
    train = dataset["train"]
    chosen_on = dataset["calibration"] if "calibration" in dataset else dataset["tickets_dev"]
    baseline = TfidfBaseline(taxonomy).fit(train["text"][:], np.asarray(train["targets"][:], np.float32))
    baseline_calibration = fit_calibration(baseline.logits(chosen_on["text"][:]), _gold(chosen_on), taxonomy)
    report: dict[str, Any] = {"version": manifest.version, "baseline": {}, "snownlp": {}, "sources": {}}
    for name in train["source"][:]:
        report["sources"][name] = report["sources"].get(name, 0) + 1
    names = polarity_names(taxonomy)
    (bundle / PICTURES).mkdir(exist_ok=True)
    for name in (split for split in MEASURED if split in dataset):
        texts = dataset[name]["text"][:]
        answers = answer(bundle_logits(tagger, texts), dataset[name], taxonomy, manifest.calibration)
        report[name] = evaluate_split(answers, taxonomy, manifest.review)
        theirs = answer(baseline.logits(texts), dataset[name], taxonomy, baseline_calibration)
        report["baseline"][name] = evaluate_split(theirs, taxonomy, {}, detailed=False)
        report["snownlp"][name] = snownlp_polarity(
            texts, [names[number] for number in polarity_of(answers.gold, taxonomy)]
        )
        _draw(answers, taxonomy, name, bundle / PICTURES)
    report["evidence"] = evidence_check(
        tagger, [t for name in MEASURED if name in dataset for t in dataset[name]["text"]]
    )
    folders = {"float32": released} | ({"teacher": run / "classifier"} if recipe.distillation else {})
    report["torch"] = _against_torch(folders, tagger, dataset, chosen_on)
    if "public_test" in dataset:
        report["public"] = public_accuracy(tagger, dataset["public_test"])
    if cases.exists():
        report["behaviour"] = _behaviour(tagger, cases)
    for name in ("fit", "distil", "pretrain", "ablation"):
        if (found := run / f"{name}.json").exists():
            report[name] = json.loads(found.read_text(encoding="utf-8"))
    folder = run / "report"
    folder.mkdir(exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")
    (bundle / "report.md").write_text(markdown(report, taxonomy), encoding="utf-8")
    data = {name: value for name, value in manifest.data.items() if name != "recipe"}
    (bundle / "README.md").write_text(model_card(report, data, recipe, command), encoding="utf-8")
    metrics = {name: report[name]["scores"] for name in MEASURED if name in report}
    write_manifest(bundle, manifest.model_copy(update={"metrics": metrics}))
    return report
