"""What every training stage shares: arguments of the Trainer, padding, and where to resume."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from training.dropout import make_cheap
from training.recipe import Stage


def arguments(folder: Path, stage: Stage, *, seed: int, **more: Any) -> TrainingArguments:
    """bf16 autocast on CPU and GPU alike, batches of similar length, linear warm-up and decay, resumable."""
    on_gpu = torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=stage.epochs,
        learning_rate=stage.learning_rate,
        per_device_train_batch_size=stage.batch_size,
        per_device_eval_batch_size=64,
        warmup_steps=stage.warmup_ratio,
        weight_decay=stage.weight_decay,
        bf16=True,
        optim="adamw_torch_fused",
        use_cpu=not on_gpu,
        train_sampling_strategy="group_by_length",
        length_column_name="length",
        remove_unused_columns=False,
        dataloader_num_workers=4 if on_gpu else 0,
        save_total_limit=2,
        logging_steps=50,
        report_to="none",
        seed=seed,
        data_seed=seed,
        **more,
    )


def cost(started: float) -> dict[str, Any]:
    """What a stage took since `started` (seconds since the epoch): `minutes` of wall time, and on which `device`."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    return {"minutes": (time.time() - started) / 60, "device": name}


def prepare(encoder: PreTrainedModel) -> None:
    """Make an encoder, in place, train fast on the machine at hand.

    On a CPU that means plain attention without dropout of its weights (the fused kernel's backward pass alone took
    half a step, the masks another fifth) and dropout from a pool.
    """
    if torch.cuda.is_available():
        return
    encoder.set_attn_implementation("eager")
    encoder.config.attention_probs_dropout_prob = 0.0
    for name, module in encoder.named_modules():
        if isinstance(module, torch.nn.Dropout) and name.endswith("attention.self.dropout"):
            module.p = 0.0
    make_cheap(encoder)


def pad(sequences: Sequence[Sequence[int]], pad_id: int) -> dict[str, Tensor]:
    """Token id lists → input_ids and attention_mask, (batch, longest)."""
    longest = max(len(sequence) for sequence in sequences)
    ids = torch.full((len(sequences), longest), pad_id)
    mask = torch.zeros((len(sequences), longest), dtype=torch.long)
    for i, sequence in enumerate(sequences):
        ids[i, : len(sequence)] = torch.tensor(sequence)
        mask[i, : len(sequence)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def resume_point(folder: Path) -> str | None:
    """The last checkpoint of an interrupted run of the same stage, if there is one."""
    return get_last_checkpoint(str(folder)) if folder.is_dir() else None  # type: ignore[no-untyped-call]
