"""What happens to the encoder before it meets the annotations: masked words, then the corpora's own labels."""

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
from training.recipe import MaskedLanguageModelling, NativeLabels, Stage
from training.trainer import arguments, pad, resume_point

log = logging.getLogger(__name__)
_IGNORED = -100


class MaskedWords:
    """Collator of whole-word masking: of the chosen words 80 % masked, 10 % random pieces, 10 % left as they are."""

    def __init__(self, encoder: Encoder, options: MaskedLanguageModelling, seed: int) -> None:
        self.pad_id = encoder.pad_id
        known = (encoder.tokenizer.token_to_id(token) for token in ("<mask>", "[MASK]"))
        self.mask_id = next(token for token in known if token is not None)
        self.vocabulary = encoder.model.config.vocab_size
        self.options = options
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Rows of `input_ids`, `words` → input_ids, attention_mask, labels (−100 where nothing is asked)."""
        length = self.options.max_tokens
        batch = pad([row["input_ids"][:length] for row in rows], self.pad_id)
        ids = batch["input_ids"]
        words = torch.full_like(ids, -1)
        for i, row in enumerate(rows):
            kept = row["words"][:length]
            words[i, : len(kept)] = torch.tensor(kept)
        chance = torch.rand((len(rows), int(words.max()) + 2), generator=self.generator)
        chosen = (chance.gather(1, words.clamp(min=0)) < self.options.masked_share) & (words >= 0)
        labels = ids.masked_fill(~chosen, _IGNORED)
        dice = torch.rand(ids.shape, generator=self.generator)
        random_ids = torch.randint(self.vocabulary, ids.shape, generator=self.generator)
        ids = torch.where(chosen & (dice < 0.8), self.mask_id, ids)
        ids = torch.where(chosen & (dice >= 0.9), random_ids, ids)
        return {**batch, "input_ids": ids, "labels": labels}


class MaskedLanguageModel(nn.Module):
    """An encoder with a word prediction head tied to its input embeddings."""

    def __init__(self, encoder: PreTrainedModel) -> None:
        super().__init__()
        self.encoder = encoder
        hidden = encoder.config.hidden_size
        self.transform = nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), nn.LayerNorm(hidden))
        self.bias = nn.Parameter(torch.zeros(encoder.config.vocab_size))

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """All (batch, tokens) → the mean loss of the masked positions."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        asked = labels != _IGNORED
        words = self.transform(states[asked])
        table = cast(nn.Embedding, self.encoder.get_input_embeddings()).weight
        logits = F.linear(words, table, self.bias)
        return {"loss": F.cross_entropy(logits.float(), labels[asked])}


class PolarityModel(nn.Module):
    """An encoder with a grade head that learns from sets of allowed grades."""

    def __init__(self, encoder: PreTrainedModel, grades: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.config.hidden_size, grades)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """labels (batch, grades), 1 where allowed → loss and logits (batch, grades)."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask[..., None].to(states.dtype)
        logits = self.head((states * mask).sum(1) / mask.sum(1)).float()
        return {"loss": marginal_loss(logits, labels), "logits": logits}


def _train(
    model: nn.Module, dataset: Dataset, collator: Any, stage: Stage, folder: Path, seed: int
) -> dict[str, float]:
    trainer = Trainer(
        model=model,
        args=arguments(folder, stage, seed=seed, save_strategy="epoch"),
        train_dataset=dataset,
        data_collator=collator,
    )
    result = trainer.train(resume_from_checkpoint=resume_point(folder))
    return dict(result.metrics)


def masked_language_modelling(
    encoder: Encoder, unlabelled: Dataset, options: MaskedLanguageModelling, folder: Path, *, seed: int
) -> dict[str, float]:
    """Adapt the encoder, in place, to the texts of `unlabelled`; returns the trainer's numbers."""
    dataset = unlabelled.filter(lambda length: length > 4, input_columns="length")
    dataset = dataset.select_columns(["input_ids", "words", "length"])
    dataset = dataset.select(range(min(len(dataset), options.max_texts or len(dataset))))
    log.info("masked language modelling on %d texts", len(dataset))
    model = MaskedLanguageModel(encoder.model)
    return _train(model, dataset, MaskedWords(encoder, options, seed), options, folder, seed)


def native_labels(
    encoder: Encoder, unlabelled: Dataset, options: NativeLabels, grades: int, folder: Path, *, seed: int
) -> dict[str, float]:
    """Teach the encoder, in place, the corpora's own positive/neutral/negative labels."""
    dataset = unlabelled.filter(lambda native: len(native) > 0, input_columns="native")
    dataset = dataset.select_columns(["input_ids", "native", "length"])
    dataset = dataset.select(range(min(len(dataset), options.max_texts or len(dataset))))
    log.info("pre-finetuning on %d natively labelled texts", len(dataset))

    def collate(rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        labels = torch.zeros(len(rows), grades)
        for i, row in enumerate(rows):
            labels[i, row["native"]] = 1
        return {**pad([row["input_ids"][: options.max_tokens] for row in rows], encoder.pad_id), "labels": labels}

    return _train(PolarityModel(encoder.model, grades), dataset, collate, options, folder, seed)
