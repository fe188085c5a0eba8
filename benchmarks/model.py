"""How much faster the released model is than the plain way to serve the same encoder.

    python benchmarks/model.py [--corpora FOLDER] [--texts 1000] [--rounds 3]

The other side is the whole 12-layer encoder with the same heads (untrained: speed does not depend on the weights),
exported without fusions, quantised by ONNX Runtime's dynamic int8 and run with ONNX Runtime's defaults. Both read the
same texts, tokenised beforehand, in the same length-sorted batches, in turn; ours as `Tagger.read` does it. Prints
texts per second of both and their ratio pair by pair.
Needs the extra `train`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime as ort
from onnxruntime.quantization import QuantType, quantize_dynamic
from tag import read_texts

from fankui import Tagger
from fankui.text import normalise
from training.encoder import OFFLINE, Encoder, load_encoder, prune_vocabulary
from training.export import export_onnx
from training.recipe import Finetuning
from training.train import new_classifier


def plain_session(tagger: Tagger, texts: list[str], folder: Path) -> tuple[ort.InferenceSession, Encoder]:
    """The unfused, dynamically quantised 12-layer model."""
    encoder = prune_vocabulary(load_encoder(OFFLINE), texts)
    options = Finetuning(epochs=1, learning_rate=1e-4, pooling="mean_max")
    export_onnx(new_classifier(encoder, tagger.bundle.taxonomy, options), folder / "plain.onnx")
    quantize_dynamic(str(folder / "plain.onnx"), str(folder / "int8.onnx"), weight_type=QuantType.QInt8)
    session = ort.InferenceSession(str(folder / "int8.onnx"), providers=["CPUExecutionProvider"])
    return session, encoder


def seconds(session: ort.InferenceSession, feeds: list[dict[str, np.ndarray]]) -> float:
    """Wall time of all batches."""
    start = time.perf_counter()
    for feed in feeds:
        session.run(None, feed)
    return time.perf_counter() - start


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--corpora", type=Path)
    options = parser.parse_args()
    tagger = Tagger.load()
    texts = [normalise(text).text for text in read_texts(options.corpora, options.texts)]
    with tempfile.TemporaryDirectory() as name:
        plain, encoder = plain_session(tagger, texts, Path(name))
        ours = tagger.tokenizer.encode_batch(texts)
        theirs = [feed for _, feed in tagger.batches(encoder.tokenizer.encode_batch(texts))]
        tokens = sum(len(encoding.ids) for encoding in ours) / len(texts)
        print(f"{len(texts)} texts, {tokens:.1f} tokens on average, model {tagger.bundle.manifest.version}")
        ratios = []
        for _ in range(options.rounds):
            slow = seconds(plain, theirs)
            start = time.perf_counter()
            tagger.read(ours)
            fast = time.perf_counter() - start
            ratios.append(slow / fast)
            print(f"released {len(texts) / fast:.0f}/s, plain {len(texts) / slow:.0f}/s, ratio {ratios[-1]:.2f}")
        print(f"median ratio {statistics.median(ratios):.2f} (target 2.5)")


if __name__ == "__main__":
    main()
