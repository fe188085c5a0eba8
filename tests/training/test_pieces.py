"""Small parts of training that stand alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from transformers import BertConfig, BertModel

from fankui.decisions import Decider, neutral_calibration
from fankui.taxonomy import Taxonomy
from training.comparison import snownlp_polarity
from training.dataset import spread
from training.datasheet import datasheet, distinct
from training.dropout import POOL, PooledDropout, make_cheap
from training.evaluate import Answers, confusions
from training.export import OPSET, split_layer_norms
from training.losses import distillation_loss
from training.model import head_shapes, keep_units
from training.suspects import suspects

ROOT = Path(__file__).parents[2]
TAXONOMY = Taxonomy.load(ROOT / "data/taxonomy.yaml")


@pytest.mark.parametrize("size", [1000, POOL + 1])
def test_dropout_sets_the_asked_share_to_zero_and_keeps_the_mean(size: int) -> None:
    out = PooledDropout(0.25)(torch.ones(size))
    assert float((out == 0).float().mean()) == pytest.approx(0.25, abs=0.06)
    assert float(out.mean()) == pytest.approx(1, abs=0.08)


def test_dropout_does_nothing_in_evaluation_and_replaces_every_other_dropout() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Sequential(torch.nn.Dropout(0.5)))
    make_cheap(model)
    assert not any(isinstance(module, torch.nn.Dropout) for module in model.modules())
    model.eval()
    x = torch.randn(3, 4)
    assert torch.equal(model(x), model[0](x))


def test_units_that_say_nothing_are_dropped_and_the_answer_stays() -> None:
    encoder = BertModel(
        BertConfig(vocab_size=50, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12)
    )
    for layer in encoder.encoder.layer:
        layer.output.dense.weight.data[:, torch.randperm(12)[:5]] = 0
    encoder.eval()
    batch = {"input_ids": torch.randint(0, 50, (4, 9)), "attention_mask": torch.ones(4, 9, dtype=torch.long)}
    before = encoder(**batch).last_hidden_state
    keep_units(encoder, [batch], 7)
    assert encoder.encoder.layer[0].intermediate.dense.out_features == encoder.config.intermediate_size == 7
    assert torch.allclose(encoder(**batch).last_hidden_state, before, atol=1e-6)


def test_labels_that_the_predictions_contradict_are_found() -> None:
    generator = np.random.default_rng(0)
    decider = Decider(TAXONOMY, neutral_calibration(TAXONOMY))
    true = decider.decide(generator.normal(0, 2, (600, TAXONOMY.width)))
    probability = decider.probabilities(true * 6.0 - 3 + generator.normal(0, 0.5, true.shape))
    gold, wrong = true.copy(), range(0, 600, 30)
    cause, request = (columns for head, columns in TAXONOMY.slices() if head.id in ("cause", "request"))
    for row in wrong:
        gold[row, cause.start] ^= True
        gold[row, request] = np.roll(gold[row, request], 1)
    found = list(suspects(gold, probability, decider.choose(probability), TAXONOMY))
    for head in ("cause", "request"):
        rows = {item.row for item in found if item.head == head}
        assert rows <= set(wrong)
        assert len(rows) >= 0.9 * len(wrong)
    first = next(item for item in found if item.head == "request")
    assert first.given != first.likelier == (TAXONOMY.head("request").label_ids[true[first.row, request].argmax()],)


def test_texts_are_taken_from_all_domains_in_turn_until_one_is_empty() -> None:
    assert spread(["a", "a", "a", "b", "a", "c"], 4) == [0, 3, 5, 1]
    assert spread(["a"], 10) == [0]


def test_a_students_loss_is_least_where_it_answers_as_its_teacher() -> None:
    teacher = torch.randn(8, TAXONOMY.width) * 3
    heads = head_shapes(TAXONOMY)
    same = distillation_loss(teacher, teacher, heads, {}, 2.0)
    other = distillation_loss(teacher + torch.randn_like(teacher), teacher, heads, {}, 2.0)
    assert same < other


def test_a_confusion_counts_hits_on_the_diagonal_and_lonely_misses_at_the_edge() -> None:
    cause = next(columns for head, columns in TAXONOMY.slices() if head.id == "cause")
    gold, chosen = np.zeros((3, TAXONOMY.width), bool), np.zeros((3, TAXONOMY.width), bool)
    gold[:, cause.start] = True
    chosen[0, cause.start] = True  # right; the second is missed, the third taken for the next label
    chosen[2, cause.start + 1] = True
    counts = confusions(Answers(np.zeros(gold.shape), np.zeros(gold.shape), chosen, {}, gold, ("x",) * 3), TAXONOMY)[
        "cause"
    ]
    assert (counts[0, 0], counts[0, -1], counts[0, 1], counts[-1, 1]) == (1, 1, 1, 0)


def test_snownlp_tells_a_plain_good_text_from_a_plain_bad_one() -> None:
    found = snownlp_polarity(["质量太差，非常失望，退货", "非常好，很满意，推荐"], ["negative", "positive"])
    assert found["clear"] == 1
    assert found["texts"] == 2


def test_the_datasheet_counts_what_is_in_the_files() -> None:
    sheet = datasheet(ROOT / "data/tickets")
    assert sum(sheet["forms"].values()) == sum(sheet["texts"].values()) > 5_000
    assert sheet["industries"] >= 20
    assert min(sheet["causes"].values()) >= 700
    assert sheet["distinct_4"] >= 0.75
    assert distinct(["aaaaaaaa"]) == pytest.approx(0.2)


def test_split_layer_norms_compute_the_same() -> None:
    size, float32 = 8, onnx.TensorProto.FLOAT
    generator = np.random.default_rng(3)
    constants = {name: generator.normal(size=size).astype(np.float32) for name in ("weight", "bias", "offset")}
    skip = {"domain": "com.microsoft", "epsilon": 1e-5}
    nodes = [
        onnx.helper.make_node(
            "SkipLayerNormalization", ["x", "y", "weight", "bias", "offset"], ["middle"], "first", **skip
        ),
        onnx.helper.make_node("SkipLayerNormalization", ["middle", "y", "weight", "bias"], ["z"], "second", **skip),
    ]
    shape = ["batch", "tokens", size]
    graph = onnx.helper.make_graph(
        nodes,
        "norms",
        [onnx.helper.make_tensor_value_info(name, float32, shape) for name in ("x", "y")],
        [onnx.helper.make_tensor_value_info("z", float32, shape)],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [onnx.helper.make_opsetid("", OPSET), onnx.helper.make_opsetid("com.microsoft", 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    inputs = {name: generator.normal(size=(2, 3, size)).astype(np.float32) for name in ("x", "y")}

    def answer() -> np.ndarray:
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        found: np.ndarray = session.run(["z"], inputs)[0]
        return found

    before = answer()
    split_layer_norms(model.graph)
    assert [node.op_type for node in model.graph.node] == [
        "Add",
        "Add",
        "LayerNormalization",
        "Add",
        "LayerNormalization",
    ]
    assert answer() == pytest.approx(before, abs=1e-5)
