"""Training with 8-bit rounding in place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn
from transformers import BertConfig, BertModel, TrainerControl, TrainerState, TrainingArguments

from training.rounding import GROUP, Rounding, rounded_activations, rounded_rows


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_rounding_is_that_of_the_engine(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer, states = nn.Linear(48, 32), torch.randn(GROUP, 5, 48) * 3 + 1
    torch.onnx.export(layer, (states,), str(tmp_path / "exact.onnx"), input_names=["x"], dynamo=False)
    quantize_dynamic(tmp_path / "exact.onnx", tmp_path / "int8.onnx", weight_type=QuantType.QInt8, per_channel=True)
    (theirs,) = onnxruntime.InferenceSession(tmp_path / "int8.onnx").run(None, {"x": states.numpy()})
    ours = nn.functional.linear(rounded_activations(states), rounded_rows(layer.weight), layer.bias)
    exact = layer(states)
    assert np.abs(ours.detach().numpy() - theirs).max() < 0.2 * (exact - ours).abs().max().item()


def test_gradients_pass_as_if_nothing_were_rounded() -> None:
    table, states = torch.randn(6, 4, requires_grad=True), torch.randn(3, 2, 4, requires_grad=True)
    (rounded_rows(table).sum() + rounded_activations(states).sum()).backward()
    assert table.grad is not None
    assert states.grad is not None
    assert torch.equal(table.grad, torch.ones_like(table))
    assert torch.equal(states.grad, torch.ones_like(states))


def test_an_encoder_rounds_in_its_last_steps_only_and_is_given_back_exact(tmp_path: Path) -> None:
    config = BertConfig(
        vocab_size=2000, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    encoder = BertModel(config, add_pooling_layer=False).eval()
    ids = torch.randint(5, 2000, (3, 7))
    exact = encoder(ids).last_hidden_state
    rounding, arguments = Rounding(encoder, 0.25), TrainingArguments(str(tmp_path), use_cpu=True)
    answers = []
    for step in (0, 74, 75, 99):
        rounding.on_step_begin(arguments, TrainerState(global_step=step, max_steps=100), TrainerControl())
        answers.append(bool(torch.equal(encoder(ids).last_hidden_state, exact)))
    assert answers == [True, True, False, False]
    rounding.remove()
    assert torch.equal(encoder(ids).last_hidden_state, exact)
