"""One tiny but real bundle for all tests: a small random encoder, trained and exported by the pipeline itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fankui import Tagger

ROOT = Path(__file__).parents[1]
TRAIN_TEXTS, DEV_TEXTS = 800, 150


def _first_lines(source: Path, target: Path, count: int) -> list[str]:
    lines = source.read_text(encoding="utf-8").splitlines()[:count]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [json.loads(line)["text"] for line in lines]


def _tiny_encoder(folder: Path, texts: list[str]) -> None:
    """A two-layer BERT with random weights and a Unigram tokenizer trained on the texts."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertModel, set_seed

    from fankui.text import normalise

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.UnigramTrainer(vocab_size=4000, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator([normalise(text).text for text in texts], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    set_seed(1)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=96, max_position_embeddings=128, pad_token_id=1,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))


TINY_FINETUNING = {"epochs": 12, "patience": 12, "learning_rate": 3e-3, "batch_size": 32, "max_tokens": 64}


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe file for a tiny encoder and a few hundred of the project's own tickets."""
    pytest.importorskip("torch", reason="building a model needs the training packages")
    folder = tmp_path_factory.mktemp("tiny")
    texts = _first_lines(ROOT / "data/tickets/train.jsonl", folder / "tickets/train.jsonl", TRAIN_TEXTS)
    _first_lines(ROOT / "data/tickets/dev.jsonl", folder / "tickets/dev.jsonl", DEV_TEXTS)
    annotations = folder / "annotations"
    annotations.mkdir()
    for name in ("train.jsonl", "dev.jsonl"):
        (annotations / name).write_text("", encoding="utf-8")
    _tiny_encoder(folder / "encoder", texts)
    recipe = {
        "encoder": str(folder / "encoder"),
        "data": {
            "taxonomy": str(ROOT / "data/taxonomy.yaml"),
            "annotations": str(annotations),
            "tickets": str(folder / "tickets"),
            "fragments": 60,
        },
        "pretraining": {"epochs": 1, "learning_rate": 1e-3, "batch_size": 64, "max_tokens": 64},
        "finetuning": TINY_FINETUNING,
        "folds": 2,
        "distillation": [
            TINY_FINETUNING | {"epochs": 2, "layers": [0], "teachers": ["folds"], "max_texts": 50, "max_labelled": 40},
            TINY_FINETUNING
            | {"epochs": 8, "layers": [0], "feed_forward": 72, "teachers": ["folds", 1], "rounded": 0.2},
        ],
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe), encoding="utf-8")  # JSON is YAML
    return path


@pytest.fixture(scope="session")
def tiny_run(tiny_recipe: Path) -> Path:
    """The folder of a finished pipeline run."""
    from training.pipeline import STEPS, Run, run_step
    from training.recipe import Recipe

    folder = tiny_recipe.parent / "run"
    run = Run.open(Recipe.load(tiny_recipe), folder, version="0.0.1", command="fankui train run tiny.yaml")
    for name in STEPS:
        run_step(run, name)
    return folder


@pytest.fixture(scope="session")
def tiny_bundle(tiny_run: Path) -> Path:
    """A real bundle folder. Copy it before changing anything in it."""
    return tiny_run / "bundle"


@pytest.fixture(scope="session")
def tagger(tiny_bundle: Path) -> Tagger:
    """The tiny bundle, loaded."""
    return Tagger.load(tiny_bundle, threads=1)
