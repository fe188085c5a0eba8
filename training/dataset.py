"""Raw corpora + stand-off labels + own tickets → one tokenised `datasets.DatasetDict`.

Splits: `train`; `calibration` (chooses checkpoint, temperatures, thresholds); `dev`, `tickets_dev` (only measured on);
`unlabelled` (pretraining, distillation); `fragments` (distillation); `public_test` (native labels, a fixed part of
three public corpora that no training step sees). A text of `dev`, `tickets_dev` or `calibration` is in no split of
another purpose, by its hash.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import jieba
from datasets import Dataset, DatasetDict
from tokenizers import Tokenizer

from fankui.taxonomy import Taxonomy
from fankui.text import normalise
from training.annotations import ROUNDS, Example, join, read_corrected, read_corrections, read_hashes, read_tickets
from training.corpora import Record, read_folder, text_hash
from training.fragments import fragments
from training.recipe import Data

PUBLIC_TEST_CORPORA = ("chnsenticorp_htl_all", "waimai_10k", "online_shopping_10_cats")
PUBLIC_TEST_PART = 20
"""One in so many texts of those corpora, by hash, is kept for the public test."""

MEASURED = ("dev", "tickets_dev")
"""Splits that nothing is trained on or chosen by."""
MAX_TOKENS = 512
_CHUNK = 2048

log = logging.getLogger(__name__)


def native_grades(record: Record) -> list[int]:
    """The grade indices (0–4) that a corpus's own label allows; empty when it says nothing of the whole text."""
    corpus = record.id.split(":")[0]
    if corpus == "bdci2021_bank":
        return {"0": [0, 1], "1": [3, 4], "2": [2]}.get(record.native_label, [])
    if corpus.startswith("asap_"):
        return {"1.0": [0, 1], "2.0": [0, 1], "3.0": [2], "4.0": [3, 4], "5.0": [3, 4]}.get(record.native_label, [])
    if corpus in PUBLIC_TEST_CORPORA or corpus.startswith("appstore_"):
        return {"0": [0, 1], "1": [3, 4]}.get(record.native_label, [])
    return []


def in_public_test(record: Record) -> bool:
    """Whether a record belongs to the fixed public test part (before labelled texts are taken out)."""
    return record.id.split(":")[0] in PUBLIC_TEST_CORPORA and int(record.sha256[:8], 16) % PUBLIC_TEST_PART == 0


def _tokenise(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    ids: list[list[int]] = []
    for start in range(0, len(texts), _CHUNK):
        ids += [e.ids[:MAX_TOKENS] for e in tokenizer.encode_batch_fast(list(texts[start : start + _CHUNK]))]
    return ids


def _whole_words(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """For each token the number of the jieba word it starts in; -1 for special tokens."""
    words: list[list[int]] = []
    for start in range(0, len(texts), _CHUNK):
        chunk = list(texts[start : start + _CHUNK])
        for text, encoding in zip(chunk, tokenizer.encode_batch(chunk), strict=True):
            word_of = [number for number, word in enumerate(jieba.lcut(text)) for _ in word]
            words.append(
                [
                    -1 if special else word_of[min(begin, len(word_of) - 1)]
                    for (begin, _), special in zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
                ][:MAX_TOKENS]
            )
    return words


def _labelled(examples: Iterable[Example], tokenizer: Tokenizer, taxonomy: Taxonomy) -> Dataset:
    examples = list(examples)
    texts = [normalise(e.text).text for e in examples]
    columns: dict[str, list[Any]] = {
        "id": [e.id for e in examples],
        "text": texts,
        "domain": [e.domain for e in examples],
        "source": [e.source for e in examples],
        "input_ids": _tokenise(tokenizer, texts),
        "targets": [targets(e, taxonomy) for e in examples],
        "known": [[float(head.id in e.labels) for head in taxonomy.heads] for e in examples],
    }
    columns["length"] = [len(ids) for ids in columns["input_ids"]]
    return Dataset.from_dict(columns)


def targets(example: Example, taxonomy: Taxonomy) -> list[float]:
    """0/1 per label of all heads, in the order of the model's logits."""
    row = [0.0] * taxonomy.width
    for head, columns in taxonomy.slices():
        for index in example.labels.get(head.id, ()):
            row[columns.start + index] = 1.0
    return row


def read_texts(data: Data) -> list[Record]:
    """All corpus records of the recipe; none when it names no corpora."""
    return read_folder(data.corpora) if data.corpora else []


def read_examples(data: Data, records: Iterable[Record], taxonomy: Taxonomy) -> dict[str, list[Example]]:
    """The labelled splits `train` and `calibration` (annotations and tickets together), `dev` and `tickets_dev`."""
    by_id = {record.id: record for record in records}
    corrections = read_corrections(data.annotations / "corrections.jsonl")
    absent = 0

    def annotated(name: str) -> list[Example]:
        nonlocal absent
        path = data.annotations / name
        if not path.exists():
            return []
        found, missing = join(path, by_id, taxonomy, {} if name == "dev.jsonl" else corrections)
        absent += missing
        return found

    def own(name: str) -> list[Example]:
        path = data.tickets / name
        return read_tickets(path, taxonomy) if path.exists() else []

    labelled = [example for name in ROUNDS for example in annotated(name)]
    corrected = [example for path in data.corrected for example in read_corrected(path, taxonomy)]
    splits = {
        "train": labelled + own("train.jsonl") + corrected,
        "calibration": annotated("calibration.jsonl") + own("calibration.jsonl"),
        "dev": annotated("dev.jsonl"),
        "tickets_dev": own("dev.jsonl"),
    }
    if absent:
        log.warning("%d labels have no text in the corpora given and are left out", absent)
    return splits


def spread(domains: list[str], count: int) -> list[int]:
    """The positions of `count` rows, one of each domain in turn as long as it has any."""
    rows: dict[str, list[int]] = defaultdict(list)
    for position, domain in enumerate(domains):
        rows[domain].append(position)
    in_turn = chain.from_iterable(zip_longest(*rows.values()))
    return [position for position in in_turn if position is not None][:count]


def _fragments(examples: Sequence[Example], without: Collection[str], count: int, tokenizer: Tokenizer) -> Dataset:
    sources = [examples[i] for i in spread([e.domain for e in examples], count)]
    texts, domains = [normalise(e.text).text for e in sources], [e.domain for e in sources]
    made = list(fragments(texts, domains, without=without, seed=0))
    ids = _tokenise(tokenizer, [text for text, _ in made])
    columns = {"domain": [domain for _, domain in made], "input_ids": ids, "length": [len(row) for row in ids]}
    return Dataset.from_dict(columns)


def build_dataset(
    data: Data, tokenizer: Tokenizer, *, with_words: bool = True, never_train_on: Collection[str] = ()
) -> DatasetDict:
    """All splits that are not empty, tokenised, up to 512 tokens a text. Raises the errors of corpora and annotations.

    with_words: also the word numbers that whole-word masking needs (slow: jieba). never_train_on: texts to be left out
    of the train texts and of what is made of them, however they are written.
    """
    taxonomy = Taxonomy.load(data.taxonomy)
    never = {normalise(text).text for text in never_train_on}
    records = read_texts(data)
    examples = read_examples(data, records, taxonomy)
    dev_hashes = {text_hash(e.text) for e in [*examples["dev"], *examples["tickets_dev"]]}
    if data.corpora:  # also dev labels whose text is not here would be dev texts elsewhere
        dev_hashes |= set(read_hashes(data.annotations / "dev.jsonl").values())
    calibration = [e for e in examples["calibration"] if text_hash(e.text) not in dev_hashes]
    kept_out = dev_hashes | {text_hash(e.text) for e in calibration}
    train = [e for e in examples["train"] if text_hash(e.text) not in kept_out and normalise(e.text).text not in never]
    train_hashes = {text_hash(e.text) for e in train}
    public = [r for r in records if in_public_test(r) and r.sha256 not in train_hashes | kept_out]
    public = list({r.sha256: r for r in public}.values())
    kept_out |= {r.sha256 for r in public}
    unlabelled = list({r.sha256: r for r in records if r.sha256 not in kept_out}.values())
    unlabelled.sort(key=lambda r: r.sha256)  # an order without meaning, so that any first part is a fair sample
    copied = train + [e for e in train if e.source.startswith("tickets/")] * (data.ticket_copies - 1)
    splits = {
        "train": _labelled(copied, tokenizer, taxonomy),
        "calibration": _labelled(calibration, tokenizer, taxonomy),
        "dev": _labelled(examples["dev"], tokenizer, taxonomy),
        "tickets_dev": _labelled(examples["tickets_dev"], tokenizer, taxonomy),
    }
    if data.fragments:
        held_out = [e.text for name in ("calibration", "dev", "tickets_dev") for e in examples[name]]
        without = {normalise(text).text for text in [*held_out, *(r.text for r in public)]} | never
        splits["fragments"] = _fragments(copied, without, data.fragments, tokenizer)
    nothing: list[int] = []
    own = [(e.id, e.text, e.domain, nothing) for e in train if e.source.startswith(("tickets/", "corrected/"))]
    for name, rows in (
        ("unlabelled", [(r.id, r.text, r.domain, native_grades(r)) for r in unlabelled] + own),
        ("public_test", [(r.id, r.text, r.id.split(":")[0], native_grades(r)) for r in public]),
    ):
        texts = [normalise(text).text for _, text, _, _ in rows]
        columns: dict[str, list[Any]] = {
            "id": [row[0] for row in rows],
            "domain": [row[2] for row in rows],
            "native": [row[3] for row in rows],
            "input_ids": _tokenise(tokenizer, texts),
        }
        columns["length"] = [len(ids) for ids in columns["input_ids"]]
        if name == "unlabelled" and with_words:
            columns["words"] = _whole_words(tokenizer, texts)
        if name == "public_test":
            columns["text"] = texts
        splits[name] = Dataset.from_dict(columns)
    return DatasetDict({name: split for name, split in splits.items() if len(split)})


def save_dataset(dataset: DatasetDict, folder: Path) -> None:
    """Write the splits and log their sizes."""
    dataset.save_to_disk(folder)
    log.info("dataset: %s", ", ".join(f"{name} {len(split)}" for name, split in dataset.items()))
