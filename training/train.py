"""Fine-tuning the multi-head classifier on labelled texts with the transformers Trainer."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from fankui.taxonomy import Taxonomy
from training.encoder import Encoder
from training.losses import LossOptions, class_weights, distillation_loss, divergence, multi_head_loss
from training.metrics import score_logits, selection_score
from training.model import MultiHeadClassifier, head_shapes
from training.recipe import Distillation, Finetuning
from training.rounding import Rounding
from training.trainer import arguments, pad, prepare, resume_point

log = logging.getLogger(__name__)


class Collator:
    """Rows of input_ids, targets, known (and soft, a teacher's logits) → a padded batch."""

    def __init__(self, pad_id: int, max_tokens: int) -> None:
        self.pad_id = pad_id
        self.max_tokens = max_tokens

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Tensors input_ids, attention_mask (batch, tokens), targets, soft (batch, labels), known (batch, heads)."""
        batch = pad([row["input_ids"][: self.max_tokens] for row in rows], self.pad_id)
        for name in ("targets", "known", "soft"):
            if name in rows[0]:
                batch[name] = torch.tensor([row[name] for row in rows], dtype=torch.float32)
        return batch


class MovingAverage(TrainerCallback):
    """Keeps an exponential moving average of the weights and puts it in place for evaluation and saving."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.average: dict[str, Tensor] = {}
        self.own: dict[str, Tensor] = {}

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Update the average; the swap back after an evaluation happens before the next step."""
        model: nn.Module = kwargs["model"]
        decay = min(self.decay, (1 + state.global_step) / (10 + state.global_step))
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if name in self.average:
                    self.average[name].lerp_(weight, 1 - decay)
                else:
                    self.average[name] = weight.detach().clone()
            if control.should_evaluate:
                self.own = {name: weight.detach().clone() for name, weight in model.named_parameters()}
                for name, weight in model.named_parameters():
                    weight.copy_(self.average[name])

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Continue from the weights that training itself had."""
        if self.own:
            with torch.no_grad():
                for name, weight in kwargs["model"].named_parameters():
                    weight.copy_(self.own[name])
            self.own = {}


class ClassifierTrainer(Trainer):
    """The Trainer with the multi-head loss, a teacher's answers, layer-wise learning rates, R-Drop and FGM."""

    def __init__(self, classifier: MultiHeadClassifier, options: Finetuning, weights: Tensor, **kwargs: Any) -> None:
        super().__init__(model=classifier, **kwargs)
        self.classifier = classifier
        self.options = options
        self.weights = weights
        self.loss_options = LossOptions(
            options.head_weights,
            options.focal_gamma,
            options.negative_gamma,
            options.label_smoothing,
            options.ordinal_weight,
        )

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """See Trainer; outputs are (loss, logits)."""
        heads = self.classifier.heads
        tokens = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        rest = (inputs["targets"], inputs["known"], heads, self.weights.to(inputs["targets"].device), self.loss_options)
        logits, _ = model(**tokens)
        loss = multi_head_loss(logits, *rest)
        if "soft" in inputs and isinstance(self.options, Distillation):
            weights, temperature = self.options.head_weights, self.options.temperature
            soft = distillation_loss(logits, inputs["soft"], heads, weights, temperature)
            loss = loss + self.options.soft_weight * soft
        if self.options.rdrop and model.training:
            second, _ = model(**tokens)
            loss = (loss + multi_head_loss(second, *rest)) / 2
            loss = loss + self.options.rdrop * divergence(logits, second, heads)
        return (loss, (loss, logits)) if return_outputs else loss

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Logits as predictions, targets as labels."""
        inputs = self._prepare_inputs(inputs)
        with torch.inference_mode(), self.compute_loss_context_manager():
            loss, (_, logits) = self.compute_loss(model, inputs, return_outputs=True)
        return loss.detach(), logits.float(), inputs["targets"]

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """One step; with FGM a second gradient at the word embeddings moved against the loss."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        if self.options.fgm:
            table = cast(nn.Embedding, self.classifier.encoder.get_input_embeddings()).weight
            if table.grad is not None and (norm := table.grad.norm()) > 0:
                kept = table.data.clone()
                table.data.add_(self.options.fgm * table.grad / norm)
                super().training_step(model, inputs, num_items_in_batch)
                table.data.copy_(kept)
        return loss

    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        """AdamW whose learning rate falls by `layer_decay` per layer below the top."""
        if self.optimizer is None:
            self.optimizer = AdamW(
                list(parameter_groups(self.classifier, self.options)), lr=self.options.learning_rate, fused=True
            )
        return self.optimizer


def parameter_groups(model: MultiHeadClassifier, options: Finetuning) -> list[dict[str, Any]]:
    """One group per learning rate and decay; no weight decay on biases and norms."""
    layers = model.encoder.config.num_hidden_layers
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not name.startswith("encoder."):
            rate = options.head_learning_rate or options.learning_rate
        else:
            parts = name.split(".")
            depth = int(parts[parts.index("layer") + 1]) + 1 if "layer" in parts else 0
            rate = options.learning_rate * options.layer_decay ** (layers - depth)
        decay = options.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": p, "lr": rate, "weight_decay": decay} for (rate, decay), p in groups.items()]


def fit(
    classifier: MultiHeadClassifier,
    train: Dataset,
    dev: Dataset,
    taxonomy: Taxonomy,
    options: Finetuning,
    pad_id: int,
    folder: Path,
    *,
    seed: int,
) -> dict[str, float]:
    """Train in place, keep the weights that score best on dev; returns the best dev scores (uncalibrated).

    An interrupted run in the same folder is continued from its last checkpoint.
    """
    columns = ["input_ids", "targets", "known", "length"]
    inputs = [*columns, "soft"] if "soft" in train.column_names else columns
    targets = torch.tensor(np.asarray(train["targets"][:], np.float32))
    weights = class_weights(targets, classifier.heads, options.class_weight_power)
    steps_per_epoch = max(1, -(-len(train) // options.batch_size))
    interval = max(1, steps_per_epoch // options.evaluations_per_epoch)

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        scores = score_logits(np.asarray(prediction.predictions), np.asarray(prediction.label_ids), taxonomy)
        return {"selection": selection_score(scores), **scores}

    callbacks: list[TrainerCallback] = [EarlyStoppingCallback(options.patience)]
    if options.ema:
        callbacks.append(MovingAverage(options.ema))
    rounding = None
    if isinstance(options, Distillation) and options.rounded:
        rounding = Rounding(classifier.encoder, options.rounded)
        callbacks.append(rounding)
    trainer = ClassifierTrainer(
        classifier,
        options,
        weights,
        args=arguments(
            folder,
            options,
            seed=seed,
            eval_strategy="steps",
            eval_steps=interval,
            save_strategy="steps",
            save_steps=interval,
            load_best_model_at_end=True,
            metric_for_best_model="selection",
            greater_is_better=True,
            label_names=["targets"],
        ),
        train_dataset=train.select_columns(inputs),
        eval_dataset=dev.select_columns(columns),
        data_collator=Collator(pad_id, options.max_tokens),
        compute_metrics=compute_metrics,
        callbacks=callbacks,
    )
    trainer.train(resume_from_checkpoint=resume_point(folder))
    scores = trainer.evaluate()
    if rounding:
        rounding.remove()
    classifier.eval()
    return {name.removeprefix("eval_"): value for name, value in scores.items()}


def new_classifier(encoder: Encoder, taxonomy: Taxonomy, options: Finetuning) -> MultiHeadClassifier:
    """An untrained classifier on a copy of the encoder."""
    body = copy.deepcopy(encoder.model)
    prepare(body)
    return MultiHeadClassifier(
        body,
        head_shapes(taxonomy),
        pooling=options.pooling,
        dropout=options.dropout,
        bigram_buckets=options.bag_of_ngrams,
    )


@torch.inference_mode()
def predict(
    classifier: MultiHeadClassifier,
    sequences: Sequence[Sequence[int]],
    pad_id: int,
    *,
    max_tokens: int = 256,
    batch_size: int = 64,
    half: bool = False,
    on_progress: Callable[[int], None] = lambda _: None,
) -> NDArray[np.float32]:
    """Logits (texts, labels) of token id sequences, in their order; `half`: in bfloat16."""
    classifier.eval()
    device = next(classifier.parameters()).device
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    logits = np.empty((len(sequences), classifier.heads[-1].end), np.float32)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = pad([sequences[i][:max_tokens] for i in rows], pad_id)
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            out, _ = classifier(**{name: tensor.to(device) for name, tensor in batch.items()})
        logits[rows] = out.float().cpu().numpy()
        on_progress(len(rows))
    return logits
