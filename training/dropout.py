"""Dropout that is cheap on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

POOL = 1 << 22
"""Random numbers that are drawn once; every mask is a stretch of them from a random place."""


class PooledDropout(nn.Module):
    """Dropout whose masks are stretches of one random pool: on a CPU, drawing each anew took a quarter of a step."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        keep = torch.rand(POOL) >= p
        self.register_buffer("pool", (keep / (1 - p)).to(torch.bfloat16), persistent=False)
        self.pool: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """A share p of the numbers set to 0, the others scaled so that the mean stays."""
        if not self.training or self.p == 0:
            return x
        size = x.numel()
        if size >= POOL:
            return nn.functional.dropout(x, self.p)
        start = int(torch.randint(POOL - size, ()))
        return x * self.pool[start : start + size].view(x.shape)


def make_cheap(module: nn.Module) -> None:
    """Replace every nn.Dropout below `module`, in place."""
    for name, child in module.named_children():
        if isinstance(child, nn.Dropout):
            setattr(module, name, PooledDropout(child.p))
        else:
            make_cheap(child)
