"""The pipeline trains, exports, calibrates and evaluates a real, tiny model (built once in conftest.py)."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from datasets import Dataset, DatasetDict, concatenate_datasets, load_from_disk
from typer.testing import CliRunner

from fankui import Tagger, Tags
from fankui.bundle import Bundle
from fankui.engine import SLOW_FUSION
from training.ablation import Plan, Variant, ablate
from training.cli import app
from training.dataset import build_dataset
from training.distil import unseen_texts
from training.encoder import load_encoder
from training.folds import folds_of
from training.model import MultiHeadClassifier
from training.pipeline import PipelineError, Run, run_step
from training.recipe import Finetuning, Recipe
from training.registry import install
from training.train import predict

ROOT = Path(__file__).parents[2]


def test_a_run_ends_in_a_bundle_that_loads_and_answers(tiny_bundle: Path, tagger: Tagger) -> None:
    manifest = Bundle.load(tiny_bundle).manifest
    assert manifest.version == "0.0.1"
    (tags,) = tagger.tag(["说好三天到货,十天了还没发,气死人了"], ids=["T-1"])
    assert isinstance(tags, Tags)
    assert tags.id == "T-1"
    assert tags.model == "0.0.1"


def test_training_learns_more_than_guessing_the_commonest_label(tiny_run: Path) -> None:
    report = json.loads((tiny_run / "report" / "report.json").read_text(encoding="utf-8"))
    labels = report["tickets_dev"]["labels"]
    grades = [row["support"] for row in labels if row["head"] == "sentiment"]
    commonest_polarity = max(grades[0] + grades[1], grades[2], grades[3] + grades[4]) / sum(grades)
    assert report["tickets_dev"]["scores"]["polarity.accuracy"] > commonest_polarity


def test_the_report_stands_beside_the_model_card_in_the_bundle(tiny_bundle: Path) -> None:
    card = (tiny_bundle / "README.md").read_text(encoding="utf-8")
    assert "fankui train run tiny.yaml" in card
    assert "TF-IDF baseline" in card
    report = (tiny_bundle / "report.md").read_text(encoding="utf-8")
    assert "int8 against torch" in report
    assert "SnowNLP" in report
    for picture in re.findall(r"\]\((pictures/[^)]+)\)", report):
        assert "<svg" in (tiny_bundle / picture).read_text(encoding="utf-8")


def test_the_student_has_fewer_layers_and_its_teachers_heads(tiny_run: Path) -> None:
    teacher, student = MultiHeadClassifier.load(tiny_run / "classifier"), MultiHeadClassifier.load(tiny_run / "student")
    assert student.encoder.config.num_hidden_layers == 1 < teacher.encoder.config.num_hidden_layers
    assert student.heads == teacher.heads


def test_an_ablation_scores_every_variant_once_and_continues(tiny_run: Path, tmp_path: Path) -> None:
    plan = Plan(
        layers=(0,),
        texts=100,
        finetuning=Finetuning(epochs=1, learning_rate=1e-3, max_tokens=64),
        variants=(Variant(name="as planned"), Variant(name="focal loss", finetuning={"focal_gamma": 2.0})),
    )
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    recipe = Recipe.model_validate_json((run / "recipe.json").read_text(encoding="utf-8"))
    rows = ablate(run, recipe, plan, run / "ablation.json")
    assert [row["name"] for row in rows] == ["as planned", "focal loss"]
    assert all(0 <= row["tickets_dev"]["polarity.accuracy"] <= 1 for row in rows)
    written = (run / "ablation.json").read_text(encoding="utf-8")
    ablate(run, recipe, plan, run / "ablation.json")
    assert (run / "ablation.json").read_text(encoding="utf-8") == written


def test_the_fusions_that_pay_are_in_the_bundle_and_the_one_that_does_not_is_not(tiny_bundle: Path) -> None:
    exported = {node.op_type for node in onnx.load(str(tiny_bundle / "model.onnx")).graph.node}
    assert {"QAttention", "BiasGelu", "LayerNormalization"} <= exported
    assert "SkipLayerNormalization" not in exported


def test_the_runtime_would_join_the_layer_norms_again_but_for_what_the_engine_forbids(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    found = []
    for forbidden in ([], [SLOW_FUSION]):
        options = ort.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / f"{len(forbidden)}.onnx")
        options.log_severity_level = 3
        model = str(tiny_bundle / "model.onnx")
        ort.InferenceSession(model, options, providers=["CPUExecutionProvider"], disabled_optimizers=forbidden)
        nodes = onnx.load(options.optimized_model_filepath).graph.node
        found.append("SkipLayerNormalization" in {node.op_type for node in nodes})
    assert found == [True, False]


def test_int8_and_torch_agree(tiny_run: Path) -> None:
    parity = json.loads((tiny_run / "report" / "report.json").read_text(encoding="utf-8"))["torch"]
    assert parity["polarity"] >= 0.95
    assert parity["causes"] >= 0.9


def test_a_finished_step_is_skipped_and_a_run_folder_keeps_to_its_recipe(tiny_run: Path, tiny_recipe: Path) -> None:
    recipe = Recipe.load(tiny_recipe)
    before = (tiny_run / "classifier" / "heads.safetensors").stat().st_mtime_ns
    run_step(Run.open(recipe, tiny_run), "fit")
    assert (tiny_run / "classifier" / "heads.safetensors").stat().st_mtime_ns == before
    with pytest.raises(PipelineError, match="another recipe"):
        Run.open(recipe.model_copy(update={"seed": 99}), tiny_run)


def test_a_step_without_its_input_names_the_step_to_run_first(tiny_recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="run the step `distil` first"):
        run_step(Run.open(Recipe.load(tiny_recipe), tmp_path / "empty"), "export")


def test_a_step_done_again_goes_on_from_nothing(tiny_recipe: Path, tmp_path: Path) -> None:
    run = Run.open(Recipe.load(tiny_recipe), tmp_path / "run")
    for name in ("classifier", "folds/0", "checkpoints/fit-0", "checkpoints/distil-1"):
        (run.folder / name).mkdir(parents=True)
    (run.folder / "checkpoints" / "fit-0.json").write_text("{}", encoding="utf-8")
    run_step(run, "fit")  # It is there, so nothing happens.
    with pytest.raises(PipelineError, match="run the step"):
        run_step(run, "fit", again=True)
    left = {str(path.relative_to(run.folder)) for path in run.folder.rglob("*")} - {"recipe.json"}
    assert left == {"checkpoints", "checkpoints/distil-1"}


def test_publishing_makes_a_version_current(tiny_bundle: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    assert install(tiny_bundle, models) == models / "0.0.1"
    assert (models / "CURRENT").read_text(encoding="utf-8").strip() == "0.0.1"
    assert Tagger.load(models, threads=1).bundle.manifest.version == "0.0.1"


@pytest.mark.parametrize("path", [ROOT / "training/recipes" / name for name in ("quick.yaml", "release.yaml")], ids=str)
def test_the_recipes_at_hand_are_valid_and_use_the_corpora_where_the_readme_puts_them(path: Path) -> None:
    assert str(Recipe.load(path).data.corpora) == "data/corpora"
    assert "fankui train corpora -o data/corpora" in (path.parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_ablation_plan_at_hand_names_real_options() -> None:
    plan = Plan.load(ROOT / "training/recipes/ablation.yaml")
    for variant in plan.variants:
        Finetuning.model_validate(plan.finetuning.model_dump() | variant.finetuning)


def test_students_also_learn_from_texts_that_their_teachers_have_not_seen(tiny_run: Path) -> None:
    dataset = load_from_disk(str(tiny_run / "dataset"))
    unseen = unseen_texts(dataset)
    seen = {tuple(ids) for name in ("train", "tickets_dev") for ids in dataset[name]["input_ids"]}
    assert len(unseen) == len(dataset["fragments"]) > 30
    assert not seen & {tuple(ids) for ids in unseen["input_ids"]}
    answered = Dataset.load_from_disk(str(tiny_run / "checkpoints" / "distil-1" / "answers"))
    assert [any(known) for known in answered["known"]] == [True] * 40 + [False] * (len(answered) - 40)
    assert len(answered) > 70


def test_a_text_is_answered_by_the_classifier_that_was_not_trained_on_it(tiny_run: Path) -> None:
    answered = Dataset.load_from_disk(str(tiny_run / "checkpoints" / "distil-1" / "answers"))
    dataset = load_from_disk(str(tiny_run / "dataset"))
    fold = dict(zip(map(tuple, dataset["train"]["input_ids"]), folds_of(dataset["train"]["id"][:], 2), strict=True))
    pad_id = int(MultiHeadClassifier.load(tiny_run / "classifier").encoder.config.pad_token_id)
    rows = [tuple(ids) for ids in answered["input_ids"]]
    each = [
        predict(MultiHeadClassifier.load(tiny_run / "folds" / str(n)), rows, pad_id, max_tokens=64, half=True)
        for n in range(2)
    ]
    soft = np.array(answered["soft"])
    assert {fold[ids] for ids in rows[:40]} == {0, 1}
    assert np.allclose(soft[:40], [each[fold[ids]][i] for i, ids in enumerate(rows[:40])], atol=0.1)
    assert np.allclose(soft[40:], np.mean(each, 0)[40:], atol=0.1)
    assert not np.allclose(each[0], each[1], atol=0.5)


def test_a_round_can_only_learn_from_what_there_is(tiny_recipe: Path) -> None:
    content = Recipe.load(tiny_recipe).model_dump()
    with pytest.raises(ValueError, match="needs at least two folds"):
        Recipe.model_validate(content | {"folds": 0})
    content["distillation"][0]["teachers"] = [1]
    with pytest.raises(ValueError, match="round 1 cannot learn from round 1"):
        Recipe.model_validate(content)


def test_texts_never_to_be_trained_on_are_in_no_split_however_they_are_written(tiny_run: Path) -> None:
    recipe = Recipe.model_validate_json((tiny_run / "recipe.json").read_text(encoding="utf-8"))
    tokenizer = load_encoder(str(tiny_run / "encoder")).tokenizer
    (first, *rest) = load_from_disk(str(tiny_run / "dataset"))["train"]["text"]
    spread_out = f"  {first}\n"
    dataset = build_dataset(recipe.data, tokenizer, with_words=False, never_train_on=[spread_out])
    assert first not in set(dataset["train"]["text"])
    assert set(dataset["train"]["text"]) == set(rest) - {first}
    ids = tuple(tokenizer.encode(first).ids)
    assert ids not in {tuple(row) for name in ("unlabelled", "fragments") for row in dataset[name]["input_ids"]}


def test_doubtful_training_labels_are_listed_once_with_their_texts(tiny_run: Path, tmp_path: Path) -> None:
    dataset = load_from_disk(str(tiny_run / "dataset"))
    DatasetDict({"train": concatenate_datasets([dataset["train"]] * 2)}).save_to_disk(tmp_path / "dataset")
    shutil.copy(tiny_run / "recipe.json", tmp_path)
    for model in (None, tiny_run / "bundle"):
        command = ["suspects", str(tmp_path), "tickets/train"] + (["--model", str(model)] if model else [])
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        rows = [json.loads(line) for line in (tmp_path / "suspects.jsonl").read_text(encoding="utf-8").splitlines()]
        assert rows
        assert len({(row["id"], row["head"]) for row in rows}) == len(rows)
        assert all(row["text"] and row["given"] != row["likelier"] for row in rows)
