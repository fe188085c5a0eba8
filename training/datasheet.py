"""How varied the project's own tickets are: counts, distinct n-grams, near-duplicates."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.encoder import Encoder
from training.trainer import pad

NEAR = 0.95
"""Cosine of mean-pooled embeddings from which two texts count as near-duplicates."""
_BATCH = 64
_PAIRED = frozenset({"double_negation", "negation", "then_vs_now", "promise_vs_slow", "others_vs_self"})
"""Forms whose lines stand in pairs without saying so in their name."""


def distinct(texts: Sequence[str], n: int = 4) -> float:
    """Different character n-grams ÷ all (distinct-n, Li et al. 2016)."""
    grams = [text[i : i + n] for text in texts for i in range(len(text) - n + 1)]
    return len(set(grams)) / max(1, len(grams))


@torch.inference_mode()
def near_duplicates(encoder: Encoder, texts: Sequence[str]) -> float:
    """Share of texts whose nearest other text has a cosine of at least NEAR."""
    ids = [encoding.ids[:128] for encoding in encoder.tokenizer.encode_batch(list(texts))]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    vectors = torch.empty(len(ids), encoder.model.config.hidden_size)
    torch.nn.Module.eval(encoder.model)
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        batch = pad([ids[i] for i in rows], encoder.pad_id)
        states = encoder.model(**batch).last_hidden_state
        mask = batch["attention_mask"][..., None]
        vectors[rows] = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
    near = 0
    for start in range(0, len(ids), 1024):
        cosine = vectors[start : start + 1024] @ vectors.T
        cosine[range(len(cosine)), range(start, start + len(cosine))] = -1
        near += int((cosine.amax(1) >= NEAR).sum())
    return near / max(1, len(ids))


def datasheet(folder: Path, encoder: Encoder | None = None) -> dict[str, Any]:
    """The numbers of all tickets in a folder's `*.jsonl`; near-duplicates only with an encoder.

    `near_duplicates` leaves out the lines of minimal pairs, which are nearly the same on purpose.
    """
    rows = {path.stem: [json.loads(line) for line in path.open(encoding="utf-8")] for path in folder.glob("*.jsonl")}
    everything = [row for part in rows.values() for row in part]
    texts = [row["text"] for row in everything]
    sheet: dict[str, Any] = {
        "texts": {name: len(part) for name, part in sorted(rows.items())},
        "industries": len({row["industry"] for row in everything}),
        "forms": dict(Counter(row["form"] for row in everything).most_common()),
        "mean_characters": round(float(np.mean([len(text) for text in texts])), 1),
        "distinct_4": round(distinct(texts), 3),
        "causes": dict(Counter(cause for row in everything for cause in row["labels"]["cause"]).most_common()),
        "grades": dict(sorted(Counter(row["labels"]["sentiment"] for row in everything).items())),
    }
    if encoder:
        apart = [row["text"] for row in everything if "pair" not in row["form"] and row["form"] not in _PAIRED]
        sheet["near_duplicates"] = round(near_duplicates(encoder, apart), 4)
        sheet["near_duplicates_of"] = len(apart)
    return sheet
