"""The Tagger: texts in, Tags out. Tokenizers and ONNX Runtime only."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

# ONNX Runtime reports usage to its maker unless told otherwise before it is imported; feedback stays here.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from fankui.bundle import MODEL, TOKENIZER, Bundle, find_bundle
from fankui.decisions import Decider, Floats
from fankui.evidence import passages
from fankui.tags import Cause, Evidence, ScoredLabel, Sentiment, Tags, Untaggable
from fankui.taxonomy import Head
from fankui.text import Normalised, has_chinese, is_blank, normalise

BLANK = "没有可分类的内容 / nothing to classify: the text is blank"
NOT_CHINESE = "文本中没有汉字,结果不可靠 / no Chinese in the text, the result is unreliable"
_BATCH_TOKENS = 256
"""Padded tokens of one model call. A CPU gains little from more at once, and its caches lose (benchmarks/tag.py)."""
SLOW_FUSION = "SkipLayerNormFusion"
"""Its result is computed without vector instructions: a quarter of the time more (training/export.py)."""
_BATCH_STRETCH = 1.25
"""How much longer than its shortest text the longest of a call may be: the rest is padding, paid for like text."""


@dataclass(frozen=True, slots=True)
class _Window:
    """A stretch of one text's tokens that fits into the model."""

    text: int
    first: int
    ids: NDArray[np.int64]


@dataclass(slots=True)
class _Reading:
    """What the model said of one text: a row of logits, and the shares of its tokens in the evidence labels."""

    logits: Floats
    shares: Floats


_Batch = tuple[list[_Window], dict[str, NDArray[np.int64]]]


class Tagger:
    """A loaded model. Thread-safe; one instance per process is enough."""

    def __init__(self, bundle: Bundle, *, threads: int = 0, alone_threads: int = 1) -> None:
        workers = threads or usable_cores()
        self._pool = ThreadPoolExecutor(workers, "tagger") if workers > 1 else None
        self.bundle = bundle
        # One core a call and several calls at once: cores that share a call spend much of it waiting for each other.
        self.session = _session(bundle, 1)
        self._wide = _session(bundle, alone_threads) if alone_threads > 1 else self.session
        self.tokenizer = Tokenizer.from_file(str(bundle.path / TOKENIZER))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self._heads = [(head, columns) for head, columns in bundle.taxonomy.slices()]
        self._decider = Decider(bundle.taxonomy, bundle.manifest.calibration)
        self._counting = Lock()
        self.tokens = 0
        """Tokens read so far, padding left out; for monitoring."""

    @classmethod
    def load(cls, path: Path | str | None = None, *, threads: int = 0, alone_threads: int = 1) -> Tagger:
        """Load the bundle in `path` (None: the current one) to run on `threads` cores (0: all).

        alone_threads: how many cores share a call of `tag` that says that it is alone. Raises BundleError for a bundle
        that is missing or damaged.
        """
        return cls(Bundle.load(find_bundle(path)), threads=threads, alone_threads=alone_threads)

    def tag(
        self,
        texts: Sequence[str],
        *,
        ids: Sequence[str | None] | None = None,
        evidence: bool = True,
        alone: bool = False,
    ) -> list[Tags | Untaggable]:
        """Tags of each text, in order; Untaggable for a text that shows nothing. Any string is accepted.

        Texts longer than the model's window are read in overlapping windows. alone: nothing else has work for the
        cores, so several may share this call.
        """
        ids = ids or [None] * len(texts)
        if len(ids) != len(texts):
            raise ValueError(f"{len(ids)} ids for {len(texts)} texts")
        normalised = [normalise(text) for text in texts]
        readable = [i for i, text in enumerate(normalised) if not is_blank(text.text)]
        answers: list[Tags | Untaggable] = [Untaggable(id=id_, note=BLANK) for id_ in ids]
        encodings = self.tokenizer.encode_batch([normalised[i].text for i in readable]) if readable else []
        if not readable:
            return answers
        readings = self.read(encodings, alone=alone)
        probability = self._decider.probabilities(np.stack([reading.logits for reading in readings]))
        chosen = self._decider.choose(probability)
        sure = self._decider.confidences(probability, chosen)
        doubtful = np.zeros(len(readable), bool)
        for name, least in self.bundle.manifest.review.items():
            doubtful |= sure[name] < least
        # Python's own numbers from here on: one text's are too few for arrays to pay.
        rows = zip(readable, encodings, readings, probability.tolist(), chosen.tolist(), doubtful.tolist(), strict=True)
        for i, encoding, reading, scores, held, unsure in rows:
            offsets = encoding.offsets if evidence else None
            answers[i] = self._tags(ids[i], texts[i], normalised[i], offsets, reading.shares, scores, held, unsure)
        return answers

    def read(self, encodings: Sequence[Encoding], *, alone: bool = False) -> list[_Reading]:
        """Run the model over tokenised texts in batches of similar length and join the windows of each text."""
        readings: list[_Reading | None] = [None] * len(encodings)
        parts: dict[int, list[tuple[_Window, _Reading]]] = {}
        batches = list(self.batches(encodings))
        each = self._pool.map if self._pool and len(batches) > 1 else map
        run = partial(self._run, self._wide if alone else self.session)
        for (batch, _), found in zip(batches, each(run, batches), strict=True):
            for window, reading in zip(batch, found, strict=True):
                if len(encodings[window.text].ids) == len(window.ids):
                    readings[window.text] = reading
                else:
                    parts.setdefault(window.text, []).append((window, reading))
        for text, pieces in parts.items():
            readings[text] = self._join(len(encodings[text].ids), sorted(pieces, key=lambda piece: piece[0].first))
        return [reading for reading in readings if reading is not None]

    def _windows(self, text: int, encoding: Encoding) -> Iterator[_Window]:
        ids = np.asarray(encoding.ids, np.int64)
        size, overlap = self.bundle.manifest.max_tokens, self.bundle.manifest.overlap_tokens
        if len(ids) <= size:
            yield _Window(text, 0, ids)
            return
        inner, begin, end = size - 2, ids[:1], ids[-1:]
        first = 1
        while True:
            yield _Window(text, first - 1, np.concatenate([begin, ids[first : min(first + inner, len(ids) - 1)], end]))
            if first + inner >= len(ids) - 1:
                return
            first += inner - overlap

    def batches(self, encodings: Sequence[Encoding]) -> Iterator[_Batch]:
        """The windows of all texts in batches of similar length, each with the model's inputs, (windows, tokens)."""
        windows = [window for i, encoding in enumerate(encodings) for window in self._windows(i, encoding)]
        for batch in _batches(windows):
            ids = np.full((len(batch), len(batch[-1].ids)), self.bundle.manifest.pad_id, np.int64)
            mask = np.zeros_like(ids)
            for row, window in enumerate(batch):  # shortest first
                ids[row, : len(window.ids)] = window.ids
                mask[row, : len(window.ids)] = 1
            yield batch, {"input_ids": ids, "attention_mask": mask}

    def _run(self, session: ort.InferenceSession, work: _Batch) -> list[_Reading]:
        batch, feed = work
        with self._counting:
            self.tokens += sum(len(window.ids) for window in batch)
        logits, shares = session.run(["logits", "evidence"], feed)
        return [_Reading(logits[row], shares[row, : len(window.ids)]) for row, window in enumerate(batch)]

    def _join(self, length: int, pieces: list[tuple[_Window, _Reading]]) -> _Reading:
        """A long text's reading: the highest logit of any window for multi-label heads, since one passage is enough to
        state a cause; for the others the mean of the windows, weighed by their tokens."""
        logits = np.stack([reading.logits for _, reading in pieces])
        weight = np.array([len(window.ids) for window, _ in pieces], np.float32)
        joined = (logits * weight[:, None] / weight.sum()).sum(0)
        for head, columns in self._heads:
            if head.kind == "multi":
                joined[columns] = logits[:, columns].max(0)
        shares = np.full((length, pieces[0][1].shares.shape[1]), -np.inf, np.float32)
        for window, reading in pieces:
            inside = slice(window.first + 1, window.first + len(window.ids) - 1)
            shares[inside] = np.maximum(shares[inside], reading.shares[1:-1])
        return _Reading(joined, np.where(np.isfinite(shares), shares, 0))

    def _tags(
        self,
        id_: str | None,
        text: str,
        normalised: Normalised,
        offsets: Sequence[tuple[int, int]] | None,
        shares: Floats,
        probability: list[float],
        chosen: list[bool],
        doubtful: bool,
    ) -> Tags:
        fields: dict[str, Any] = {}
        evidence_column = 0
        for head, columns in self._heads:
            labels = _held(head, probability[columns], chosen[columns])
            if head.evidence:
                spans: dict[str, tuple[Evidence, ...]] = {}
                if offsets is not None and labels:
                    span_columns = [evidence_column + head.index(item.label) for item in labels]
                    found = passages(text, normalised, offsets, shares[:, span_columns])
                    spans = {item.label: found[n] for n, item in enumerate(labels)}
                evidence_column += len(head.labels)
                fields[head.field] = tuple(
                    Cause(label=item.label, score=item.score, evidence=spans.get(item.label, ())) for item in labels
                )
            elif head.kind == "multi":
                fields[head.field] = labels
            elif head.kind == "ordinal":
                label = head.labels[head.index(labels[0].label)]
                fields[head.field] = Sentiment(
                    label=label.id, score=labels[0].score, grade=label.grade, polarity=label.polarity
                )
            else:
                fields[head.field] = labels[0]
        chinese = has_chinese(text)
        return Tags(
            id=id_,
            **fields,
            needs_review=doubtful or not chinese,
            model=self.bundle.manifest.version,
            taxonomy=self.bundle.taxonomy.version,
            note=None if chinese else NOT_CHINESE,
        )


def _session(bundle: Bundle, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Threads that go on spinning after a call would take the cores from everything else.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return ort.InferenceSession(
        str(bundle.path / MODEL), options, providers=["CPUExecutionProvider"], disabled_optimizers=[SLOW_FUSION]
    )


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _held(head: Head, probability: list[float], chosen: list[bool]) -> tuple[ScoredLabel, ...]:
    """The labels that hold with their scores, strongest first."""
    order = sorted((i for i, holds in enumerate(chosen) if holds), key=lambda i: -probability[i])
    return tuple(ScoredLabel(label=head.label_ids[i], score=round(probability[i], 4)) for i in order)


def _batches(windows: Sequence[_Window]) -> Iterator[list[_Window]]:
    """Windows of similar length, together at most _BATCH_TOKENS padded tokens; a longer one is alone."""
    batch: list[_Window] = []
    for window in sorted(windows, key=lambda w: len(w.ids)):
        tokens = len(window.ids)
        if batch and ((len(batch) + 1) * tokens > _BATCH_TOKENS or tokens > _BATCH_STRETCH * len(batch[0].ids)):
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch
