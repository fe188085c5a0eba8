"""A model is published only if it is no worse than the one in use, or on purpose."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fankui import Tagger, Tags, Taxonomy
from fankui.bundle import Bundle, Manifest, write_manifest
from training.cli import app
from training.gate import GateError, judge
from training.registry import install

TEXTS = ["说好三天到货,十天了还没发", "客服一直不理人", "用两天就坏了", "很好,还会再来", "请问怎么退货", "菜太咸了"]


@pytest.fixture
def models(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A models folder whose current version is the tiny model."""
    install(tiny_bundle, tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """A run with another version of the same model."""
    folder = tmp_path / "run"
    shutil.copytree(tiny_run / "bundle", folder / "bundle")
    shutil.copytree(tiny_run / "dataset", folder / "dataset")
    changed(folder, version="0.0.2")
    return folder


@pytest.fixture
def cases(tagger: Tagger, tmp_path: Path) -> Path:
    """A behaviour suite that the tiny model passes."""
    return suite(tmp_path, [(text, polarity(tagger, text)) for text in TEXTS])


def polarity(tagger: Tagger, text: str) -> str:
    (tags,) = tagger.tag([text])
    assert isinstance(tags, Tags)
    return tags.sentiment.polarity


def suite(folder: Path, asked: list[tuple[str, str]]) -> Path:
    lines = [
        {"id": f"c-{n}", "type": "minimum_functionality", "text": text, "expect": {"polarity": polarity}}
        for n, (text, polarity) in enumerate(asked)
    ]
    (folder / "cases").mkdir(exist_ok=True)
    (folder / "cases" / "some.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return folder / "cases"


def changed(run: Path, **fields: object) -> None:
    write_manifest(run / "bundle", Bundle.load(run / "bundle").manifest.model_copy(update=fields))


def spoilt(run: Path) -> None:
    """States every cause and no grade but the best."""
    calibration = dict(Bundle.load(run / "bundle").manifest.calibration)
    labels = len(calibration["cause"].thresholds)
    calibration["cause"] = calibration["cause"].model_copy(update={"thresholds": (0.0,) * labels})
    calibration["sentiment"] = calibration["sentiment"].model_copy(update={"bias": (0.0, 0.0, 0.0, 0.0, 99.0)})
    changed(run, calibration=calibration)


def corrected(tagger: Tagger, folder: Path) -> Path:
    """Tickets whose labels are what the tiny model says."""
    lines = []
    for tags, text in zip(tagger.tag(TEXTS), TEXTS, strict=True):
        assert isinstance(tags, Tags)
        labels = {
            "sentiment": tags.sentiment.label,
            "causes": [cause.label for cause in tags.causes],
            "request": tags.request.label,
            "servqual": [item.label for item in tags.servqual],
            "demand": [item.label for item in tags.demand],
            "loyalty": tags.loyalty.label,
        }
        lines += [{"id": f"{text}-{n}", "text": text, "labels": labels} for n in range(5)]
    path = folder / "corrected.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def publish(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["publish", *map(str, arguments)])


def test_a_model_that_answers_alike_may_replace_the_current_one(run: Path, models: Path, cases: Path) -> None:
    verdict = judge(run, models, cases=cases)
    assert verdict.objections == ()
    assert {row.texts for row in verdict.rows} == {"tickets_dev", "behaviour"}
    assert all(row.candidate == row.current for row in verdict.rows if row.candidate == row.candidate)
    done = publish(run, "--models", models, "--cases", cases)
    assert (done.exit_code, (models / "CURRENT").read_text(encoding="utf-8").strip()) == (0, "0.0.2")
    assert "cause.micro_f1" in done.output


def test_a_worse_one_is_not_published_unless_told_to(
    run: Path, models: Path, cases: Path, tagger: Tagger, tmp_path: Path
) -> None:
    spoilt(run)
    theirs = corrected(tagger, tmp_path)
    verdict = judge(run, models, cases=cases, corrected=[theirs])
    assert any(
        objection.startswith("corrected: polarity.accuracy falls from 1.000") for objection in verdict.objections
    )
    assert any("behaviour suite" in objection for objection in verdict.objections)
    refused = publish(run, "--models", models, "--cases", cases, "--corrected", theirs)
    assert refused.exit_code == 1
    assert "--anyway" in refused.output
    assert sorted(path.name for path in models.iterdir()) == ["0.0.1", "CURRENT"]
    assert publish(run, "--models", models, "--cases", cases, "--anyway").exit_code == 0
    assert (models / "CURRENT").read_text(encoding="utf-8").strip() == "0.0.2"


def test_the_first_model_is_held_against_the_behaviour_suite_alone(run: Path, tmp_path: Path, tagger: Tagger) -> None:
    wrong = {"positive": "negative", "negative": "positive", "neutral": "positive"}
    cases = suite(tmp_path, [(text, wrong[polarity(tagger, text)]) for text in TEXTS])
    verdict = judge(run, tmp_path / "models", cases=cases)
    assert [row.score for row in verdict.rows] == ["cases passed"]
    assert verdict.objections == ("It passes 0.0% of the behaviour suite; 85% are asked.",)


def test_a_model_with_other_labels_is_held_against_the_behaviour_suite_alone(
    run: Path, models: Path, cases: Path
) -> None:
    bundle = run / "bundle"
    taxonomy = bundle / "taxonomy.yaml"
    named = taxonomy.read_text(encoding="utf-8")
    taxonomy.write_text(named.replace("{id: apology,", "{id: excuse,"), encoding="utf-8")
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    manifest["taxonomy_sha256"] = Taxonomy.load(taxonomy).sha256
    write_manifest(bundle, Manifest.model_validate(manifest))
    assert {row.texts for row in judge(run, models, cases=cases).rows} == {"behaviour"}


def test_a_run_without_texts_to_compare_on_is_told(run: Path, models: Path, cases: Path) -> None:
    shutil.rmtree(run / "dataset")
    with pytest.raises(GateError, match="step `dataset`"):
        judge(run, models, cases=cases)
