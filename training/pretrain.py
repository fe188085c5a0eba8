"""What happens to the encoder before it meets the annotations: masked words and the corpora's own labels."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from transformers import PreTrainedModel, Trainer

from training.encoder import Encoder
from training.losses import marginal_loss
from training.recipe import Pretraining
from training.trainer import arguments, pad, prepare, resume_point

log = logging.getLogger(__name__)
_IGNORED = -100
_WHOLE = 0.3


class MaskedWords:
    """Collator of whole-word masking: of the chosen words 80 % masked, 10 % random pieces, 10 % left as they are.

    Three rows in ten are left whole, so that the native labels are also learned from complete texts.
    """

    def __init__(self, encoder: Encoder, options: Pretraining, grades: int, seed: int) -> None:
        self.pad_id = encoder.pad_id
        known = (encoder.tokenizer.token_to_id(token) for token in ("<mask>", "[MASK]"))
        self.mask_id = next(token for token in known if token is not None)
        self.vocabulary = encoder.model.config.vocab_size
        self.options = options
        self.grades = grades
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Rows of `input_ids`, `native`, `words` → input_ids, attention_mask, labels (−100 where no word is asked),
        grades (batch, grades), 1 where the native label allows the grade."""
        batch = pad([row["input_ids"][: self.options.max_tokens] for row in rows], self.pad_id)
        batch["grades"] = torch.zeros(len(rows), self.grades)
        for i, row in enumerate(rows):
            batch["grades"][i, row["native"]] = 1
        return self._mask(batch, rows) if self.options.masked_share else batch

    def _mask(self, batch: dict[str, Tensor], rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        ids = batch["input_ids"]
        words = torch.full_like(ids, -1)
        for i, row in enumerate(rows[: len(rows) - int(_WHOLE * len(rows))]):
            kept = row["words"][: self.options.max_tokens]
            words[i, : len(kept)] = torch.tensor(kept)
        chance = torch.rand((len(rows), int(words.max()) + 2), generator=self.generator)
        chosen = (chance.gather(1, words.clamp(min=0)) < self.options.masked_share) & (words >= 0)
        labels = ids.masked_fill(~chosen, _IGNORED)
        dice = torch.rand(ids.shape, generator=self.generator)
        random_ids = torch.randint(self.vocabulary, ids.shape, generator=self.generator)
        ids = torch.where(chosen & (dice < 0.8), self.mask_id, ids)
        ids = torch.where(chosen & (dice >= 0.9), random_ids, ids)
        return {**batch, "input_ids": ids, "labels": labels}


class PretrainingModel(nn.Module):
    """An encoder with a word prediction head tied to its input embeddings and a grade head on the mean state."""

    def __init__(self, encoder: PreTrainedModel, grades: int, native_weight: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.native_weight = native_weight
        hidden = encoder.config.hidden_size
        self.transform = nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), nn.LayerNorm(hidden))
        self.bias = nn.Parameter(torch.zeros(encoder.config.vocab_size))
        self.head = nn.Linear(hidden, grades)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, grades: Tensor, labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        """input_ids, attention_mask, labels (batch, tokens), grades (batch, grades) → the loss, a mean per task."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        loss = states.new_zeros((), dtype=torch.float32)
        labelled = grades.sum(1) > 0
        if self.native_weight and bool(labelled.any()):
            mask = attention_mask[..., None].to(states.dtype)
            logits = self.head((states * mask).sum(1) / mask.sum(1)).float()
            loss = loss + self.native_weight * marginal_loss(logits[labelled], grades[labelled])
        if labels is not None and bool((asked := labels != _IGNORED).any()):
            words = self.transform(states[asked])
            table = cast(nn.Embedding, self.encoder.get_input_embeddings()).weight
            loss = loss + F.cross_entropy(F.linear(words, table, self.bias).float(), labels[asked])
        return {"loss": loss}


def pretrain(
    encoder: Encoder, unlabelled: Dataset, options: Pretraining, grades: int, folder: Path, *, seed: int
) -> dict[str, float]:
    """Adapt the encoder, in place, to the texts of `unlabelled`; returns the trainer's numbers.

    An interrupted run in the same folder is continued from its last checkpoint.
    """
    dataset = unlabelled.filter(lambda length: length > 4, input_columns="length")
    columns = ["input_ids", "native", "length", *(["words"] if options.masked_share else [])]
    dataset = dataset.select_columns(columns)
    dataset = dataset.select(range(min(len(dataset), options.max_texts or len(dataset))))
    log.info("pretraining on %d texts", len(dataset))
    prepare(encoder.model)
    trainer = Trainer(
        model=PretrainingModel(encoder.model, grades, options.native_weight),
        args=arguments(folder, options, seed=seed, save_strategy="steps", save_steps=200),
        train_dataset=dataset,
        data_collator=MaskedWords(encoder, options, grades, seed),
    )
    result = trainer.train(resume_from_checkpoint=resume_point(folder))
    return dict(result.metrics)
