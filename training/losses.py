"""The loss of a multi-head classifier, from logits and targets to one number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from training.model import HeadShape


@dataclass(frozen=True, slots=True)
class LossOptions:
    """See `training.recipe.Finetuning` for each option's meaning and source."""

    head_weights: dict[str, float] = field(default_factory=dict)
    focal_gamma: float = 0.0
    negative_gamma: float = 0.0
    label_smoothing: float = 0.0
    ordinal_weight: float = 0.0


def class_weights(targets: Tensor, heads: Sequence[HeadShape], power: float) -> Tensor:
    """Weight of each label, (labels,): inverse frequency to `power`, within 1/5 … 5.

    For multi-label heads it weighs the positive term (negatives ÷ positives), for others the label's examples.
    """
    count = targets.sum(0).clamp(min=1)
    weights = torch.ones_like(count)
    for head in heads:
        columns = slice(head.start, head.end)
        odds = (len(targets) - count[columns]).clamp(min=1) / count[columns]
        balanced = count[columns].sum() / (count[columns] * (head.end - head.start))
        weights[columns] = (odds if head.kind == "multi" else balanced) ** power
    return weights.clamp(0.2, 5.0)


def head_loss(logits: Tensor, targets: Tensor, head: HeadShape, weights: Tensor, options: LossOptions) -> Tensor:
    """Loss per example, (batch,). Targets are 0/1 or probabilities, (batch, labels of the head)."""
    if head.kind == "multi":
        smooth = targets * (1 - options.label_smoothing) + options.label_smoothing / 2
        loss = F.binary_cross_entropy_with_logits(logits, smooth, pos_weight=weights, reduction="none")
        if options.focal_gamma:
            probability = logits.sigmoid()
            miss = targets * (1 - probability) + (1 - targets) * probability
            loss = loss * miss**options.focal_gamma
        if options.negative_gamma:
            loss = loss * torch.where(targets > 0.5, 1.0, logits.sigmoid() ** options.negative_gamma)
        return loss.sum(-1)
    smooth = targets * (1 - options.label_smoothing) + options.label_smoothing / targets.shape[-1]
    loss = -(smooth * logits.log_softmax(-1) * weights).sum(-1)
    if head.kind == "ordinal" and options.ordinal_weight:
        distance = (logits.softmax(-1).cumsum(-1) - targets.cumsum(-1)).square().sum(-1)
        loss = loss + options.ordinal_weight * distance
    return loss


def multi_head_loss(
    logits: Tensor,
    targets: Tensor,
    known: Tensor,
    heads: Sequence[HeadShape],
    weights: Tensor,
    options: LossOptions,
) -> Tensor:
    """Mean over the batch of the weighted sum of the heads' losses; `known` (batch, heads) masks unlabelled heads."""
    total = logits.new_zeros(())
    for number, head in enumerate(heads):
        columns = slice(head.start, head.end)
        loss = head_loss(logits[:, columns], targets[:, columns], head, weights[columns], options)
        total = total + options.head_weights.get(head.id, 1.0) * (loss * known[:, number]).mean()
    return total


def distillation_loss(
    logits: Tensor, teacher: Tensor, heads: Sequence[HeadShape], head_weights: Mapping[str, float], temperature: float
) -> Tensor:
    """Cross entropy of the teacher's softened answers (batch, labels), weighted sum of heads, mean over the batch."""
    total = logits.new_zeros(())
    for head in heads:
        ours = logits[:, head.start : head.end] / temperature
        theirs = teacher[:, head.start : head.end] / temperature
        if head.kind == "multi":
            loss = F.binary_cross_entropy_with_logits(ours, theirs.sigmoid(), reduction="none").sum(-1)
        else:
            loss = -(theirs.softmax(-1) * ours.log_softmax(-1)).sum(-1)
        total = total + head_weights.get(head.id, 1.0) * temperature**2 * loss.mean()
    return total


def divergence(first: Tensor, second: Tensor, heads: Sequence[HeadShape]) -> Tensor:
    """Symmetric KL between two sets of logits, summed over heads, mean over the batch (R-Drop)."""
    total = first.new_zeros(())
    for head in heads:
        a, b = first[:, head.start : head.end], second[:, head.start : head.end]
        if head.kind == "multi":
            p, q = a.sigmoid(), b.sigmoid()
            total = total + ((p - q) * (a - b)).sum(-1).mean() / 2
        else:
            p, q = a.log_softmax(-1), b.log_softmax(-1)
            total = total + ((p.exp() - q.exp()) * (p - q)).sum(-1).mean() / 2
    return total


def marginal_loss(logits: Tensor, allowed: Tensor) -> Tensor:
    """-log of the probability that the softmax gives to the allowed labels (batch, labels), mean over the batch."""
    log_probabilities = logits.log_softmax(-1).masked_fill(~allowed.bool(), float("-inf"))
    return -torch.logsumexp(log_probabilities, -1).mean()
