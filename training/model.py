"""The classifier: one encoder, one set of label logits per taxonomy head, and evidence from the same pass."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedModel

from fankui.taxonomy import HeadKind, Taxonomy

Pooling = Literal["mean_max", "label_attention", "both"]
_MASKED = -1e4  # below any attention score, within float16


@dataclass(frozen=True, slots=True)
class HeadShape:
    """One head's place in the logits: columns [start, end)."""

    id: str
    kind: HeadKind
    start: int
    end: int
    evidence: bool


def head_shapes(taxonomy: Taxonomy) -> tuple[HeadShape, ...]:
    """The heads in the order of the logits."""
    return tuple(HeadShape(h.id, h.kind, s.start, s.stop, h.evidence) for h, s in taxonomy.slices())


class LabelAttention(nn.Module):
    """Each label attends to its own tokens (Mullenbach et al. 2018, CAML, with a linear score).

    A label's logit is the sum over tokens of attention × value, so that each token's share can be read off.
    """

    def __init__(self, hidden: int, labels: int) -> None:
        super().__init__()
        self.attention = nn.Linear(hidden, labels)
        self.value = nn.Linear(hidden, labels)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """states (batch, tokens, hidden), mask (batch, tokens) → shares (batch, tokens, labels)."""
        scores = self.attention(states).float() + (1 - mask[..., None].float()) * _MASKED
        shares: Tensor = scores.softmax(1) * self.value(states).float()
        return shares


class HashedBigrams(nn.Module):
    """A wide path: mean of embeddings of hashed token bigrams (Joulin et al. 2017), straight to the logits."""

    def __init__(self, buckets: int, labels: int) -> None:
        super().__init__()
        self.buckets = buckets
        self.table = nn.Embedding(buckets, labels)
        nn.init.zeros_(self.table.weight)

    def forward(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """input_ids, mask (batch, tokens) → (batch, labels)."""
        ids = (input_ids[:, :-1] * 31_337 + input_ids[:, 1:]) % self.buckets
        weight = mask[:, 1:, None].float()
        mean: Tensor = (self.table(ids) * weight).sum(1) / weight.sum(1).clamp(min=1)
        return mean


class MultiHeadClassifier(nn.Module):
    """Encoder + heads. Logits of all heads stand side by side, (batch, labels of all heads)."""

    def __init__(
        self,
        encoder: PreTrainedModel,
        heads: Sequence[HeadShape],
        *,
        pooling: Pooling = "both",
        dropout: float = 0.1,
        bigram_buckets: int = 0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = tuple(heads)
        self.pooling = pooling
        width, hidden = self.heads[-1].end, encoder.config.hidden_size
        self.dropout = nn.Dropout(dropout)
        # Evidence needs label attention; without it only the evidence heads' columns get one.
        self.label_attention = LabelAttention(hidden, width)
        self.linear = nn.Linear(2 * hidden, width) if pooling != "label_attention" else None
        self.bigrams = HashedBigrams(bigram_buckets, width) if bigram_buckets else None
        evidence = [head for head in self.heads if head.evidence]
        self.evidence_columns = [column for head in evidence for column in range(head.start, head.end)]
        attended = torch.zeros(width)
        attended[self.evidence_columns if pooling == "mean_max" else slice(None)] = 1
        self.register_buffer("attended", attended, persistent=False)
        self.attended: Tensor

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """input_ids, attention_mask (batch, tokens) → logits (batch, labels), evidence (batch, tokens, causes).

        evidence holds each token's share in the logit of each label of the heads that give evidence.
        """
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        states = self.dropout(states)
        shares = self.label_attention(states, attention_mask)
        logits = shares.sum(1) * self.attended
        if self.linear is not None:
            mask = attention_mask[..., None].to(states.dtype)
            mean = (states * mask).sum(1) / mask.sum(1)
            highest = (states + (1 - mask) * _MASKED).amax(1)
            logits = logits + self.linear(self.dropout(torch.cat([mean, highest], -1))).float()
        if self.bigrams is not None:
            logits = logits + self.bigrams(input_ids, attention_mask)
        return logits, shares[..., self.evidence_columns]

    def save(self, folder: Path) -> None:
        """Write encoder, heads and shape; `load` reads them."""
        self.encoder.save_pretrained(folder / "encoder")
        heads = {k: v.contiguous() for k, v in self.state_dict().items() if not k.startswith("encoder.")}
        save_file(heads, folder / "heads.safetensors")
        shape = {
            "heads": [asdict(head) for head in self.heads],
            "pooling": self.pooling,
            "dropout": self.dropout.p,
            "bigram_buckets": self.bigrams.buckets if self.bigrams else 0,
        }
        (folder / "classifier.json").write_text(json.dumps(shape, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> MultiHeadClassifier:
        """The classifier that `save` wrote, in evaluation mode."""
        shape = json.loads((folder / "classifier.json").read_text(encoding="utf-8"))
        shape["heads"] = [HeadShape(**head) for head in shape["heads"]]
        config = AutoConfig.from_pretrained(folder / "encoder")
        model = AutoModel.from_pretrained(folder / "encoder", config=config, dtype=torch.float32, **_no_pooler(config))
        classifier = cls(model, **shape)
        classifier.load_state_dict(load_file(folder / "heads.safetensors"), strict=False)
        return classifier.eval()


def _no_pooler(config: object) -> dict[str, bool]:
    return {"add_pooling_layer": False} if getattr(config, "model_type", "") == "bert" else {}


def keep_layers(encoder: PreTrainedModel, layers: Sequence[int]) -> PreTrainedModel:
    """Reduce a BERT-like encoder, in place, to the layers named (0-based), in that order."""
    body = cast(nn.Module, encoder.encoder)
    stack = cast(nn.ModuleList, body.layer)
    body.layer = nn.ModuleList([stack[i] for i in layers])
    encoder.config.num_hidden_layers = len(layers)
    return encoder


@torch.no_grad()
def keep_units(encoder: PreTrainedModel, batches: Iterable[dict[str, Tensor]], count: int) -> PreTrainedModel:
    """Reduce the feed-forward part of each layer of a BERT-like encoder, in place, to its `count` strongest units.

    A unit is as strong as the norm of its activations on the batches (input_ids, attention_mask) times the norm of its
    outgoing weights, the measure of Wanda (Sun et al. 2023) for whole units.
    """
    stack = cast(Any, encoder.encoder).layer
    energy = [torch.zeros(layer.intermediate.dense.out_features) for layer in stack]

    def watch(total: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, inputs: cast(None, total.add_(inputs[0].float().square().sum((0, 1))))

    watching = [
        layer.output.dense.register_forward_pre_hook(watch(total)) for layer, total in zip(stack, energy, strict=True)
    ]
    encoder.train(False)
    for batch in batches:
        encoder(**batch)
    for handle in watching:
        handle.remove()
    for layer, total in zip(stack, energy, strict=True):
        grow, shrink = layer.intermediate.dense, layer.output.dense
        kept = (total.sqrt() * shrink.weight.norm(dim=0)).topk(count).indices.sort().values
        layer.intermediate.dense = _linear(grow.weight[kept], grow.bias[kept])
        layer.output.dense = _linear(shrink.weight[:, kept], shrink.bias)
    encoder.config.intermediate_size = count
    return encoder


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data.copy_(weight)
    layer.bias.data.copy_(bias)
    return layer
