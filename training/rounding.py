"""Training with the released model's rounding in place, so that it learns to live with it (Jacob et al. 2018)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from training.export import LARGE_TABLE

GROUP = 8
"""Texts whose activations share one scale, about as many as the engine tags in one call."""


def rounded_rows(table: Tensor) -> Tensor:
    """A matrix in signed 8 bits with a scale per row; gradients pass as if it were not rounded."""
    with torch.no_grad():
        scale = table.abs().amax(-1, keepdim=True).clamp(min=1e-8) / 127
        error = (table / scale).round() * scale - table
    return table + error


def rounded_activations(states: Tensor) -> Tensor:
    """States (batch, …) in unsigned 8 bits with a scale and a zero point per group of texts; gradients pass."""
    with torch.no_grad():
        exact, batch = states.float(), len(states)
        if missing := -batch % GROUP:
            exact = torch.cat([exact, exact[-1:].expand(missing, *exact.shape[1:])])
        groups = exact.reshape(len(exact) // GROUP, -1)
        low, high = groups.amin(1, keepdim=True).clamp(max=0), groups.amax(1, keepdim=True).clamp(min=0)
        scale = (high - low).clamp(min=1e-8) / 255
        zero = (-low / scale).round()
        whole = ((groups / scale).round() + zero).clamp(0, 255) - zero
        error = (whole * scale - groups).reshape(exact.shape)[:batch]
    return states + error.to(states.dtype)


class Rounding(TrainerCallback):
    """Rounds an encoder's matrix products and its large table in the last `share` of the steps, in place."""

    def __init__(self, encoder: PreTrainedModel, share: float) -> None:
        self.share = share
        self.on = False
        self.changed: list[nn.Module] = []
        for module in encoder.modules():
            if isinstance(module, nn.Linear):
                self._replace(module, self._product(module))
            elif isinstance(module, nn.Embedding) and module.num_embeddings >= LARGE_TABLE:
                self._replace(module, self._look_up(module))

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin when the share is reached."""
        self.on = state.global_step >= (1 - self.share) * state.max_steps

    def remove(self) -> None:
        """Give the encoder its exact layers back."""
        for module in self.changed:
            del module.forward

    def _replace(self, module: nn.Module, forward: Callable[[Tensor], Tensor]) -> None:
        module.forward = forward
        self.changed.append(module)

    def _product(self, layer: nn.Linear) -> Callable[[Tensor], Tensor]:
        def forward(states: Tensor) -> Tensor:
            if not self.on:
                return F.linear(states, layer.weight, layer.bias)
            return F.linear(rounded_activations(states), rounded_rows(layer.weight), layer.bias)

        return forward

    def _look_up(self, table: nn.Embedding) -> Callable[[Tensor], Tensor]:
        def forward(ids: Tensor) -> Tensor:
            rows = F.embedding(ids, table.weight, table.padding_idx)
            return rounded_rows(rows) if self.on else rows

        return forward
