"""How much of ONNX Runtime's own speed `fankui tag` keeps, and how much memory a large table takes.

    python benchmarks/tag.py [--rows 4000] [--corpora FOLDER] [--memory-rows 100000] [--rounds 3]

In turn, several times: (A) `tag_table` on a CSV, files and all; (B) a bare ONNX Runtime loop over the same windows in
the same length-sorted batches, tokenised and padded beforehand. Prints texts per second of both, their ratio pair by
pair, the plain cold-start figures, and the peak memory of a process that tags a large CSV.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime as ort

from fankui import Tagger
from fankui.batch import CHUNK_ROWS, tag_table
from fankui.bundle import MODEL
from fankui.text import normalise

ROOT = Path(__file__).parents[1]
CLASSIFY = "from fankui.cli import main; import sys; sys.argv = ['fankui', 'classify', '很慢']; main()"
SESSION = (
    "import onnxruntime as ort, sys; o = ort.SessionOptions(); o.log_severity_level = 3; "
    "ort.InferenceSession(sys.argv[1], o, providers=['CPUExecutionProvider'])"
)


def read_texts(corpora: Path | None, rows: int) -> list[str]:
    """A fixed random sample of real texts when a corpora folder is given, else the project's own tickets, repeated."""
    if corpora:
        from training.corpora import read_folder

        texts = [record.text for record in read_folder(corpora)]
    else:
        lines = (ROOT / "data/tickets/train.jsonl").read_text(encoding="utf-8").splitlines()
        texts = [json.loads(line)["text"] for line in lines]
    random.Random(0).shuffle(texts)
    return [texts[i % len(texts)] for i in range(rows)]


def write_csv(path: Path, texts: list[str]) -> None:
    """A CSV with an id and a text column."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("id", "text"), *enumerate(texts)])


def bare_session(tagger: Tagger) -> ort.InferenceSession:
    """The same model as anyone would load it: ONNX Runtime's defaults, all cores on each call."""
    return ort.InferenceSession(str(tagger.bundle.path / MODEL), providers=["CPUExecutionProvider"])


def prepared_batches(tagger: Tagger, texts: list[str]) -> list[dict[str, np.ndarray]]:
    """The padded inputs of the batches that the Tagger makes of these texts, chunk by chunk."""
    feeds: list[dict[str, np.ndarray]] = []
    for start in range(0, len(texts), CHUNK_ROWS):
        encodings = tagger.tokenizer.encode_batch([normalise(t).text for t in texts[start : start + CHUNK_ROWS]])
        feeds += [feed for _, feed in tagger.batches(encodings)]
    return feeds


def seconds(command: list[str]) -> float:
    """Wall time of a process, median of five after one warm-up."""
    times = []
    for _ in range(6):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--corpora", type=Path)
    parser.add_argument("--memory-rows", type=int, default=0)
    options = parser.parse_args()
    texts = read_texts(options.corpora, options.rows)
    tagger = Tagger.load()
    feeds, session = prepared_batches(tagger, texts), bare_session(tagger)
    tokens = sum(int(feed["attention_mask"].sum()) for feed in feeds) / len(texts)
    print(f"{len(texts)} texts, {tokens:.1f} tokens on average, model {tagger.bundle.manifest.version}")
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name) / "in.csv", Path(name) / "out.csv"
        write_csv(source, texts)
        for _ in range(options.rounds):
            start = time.perf_counter()
            tag_table(source, target, tagger, overwrite=True)
            ours = time.perf_counter() - start
            start = time.perf_counter()
            for feed in feeds:
                session.run(["logits", "evidence"], feed)
            bare = time.perf_counter() - start
            ratios.append(bare / ours)
            rates = f"tag {len(texts) / ours:.0f}/s, bare {len(texts) / bare:.0f}/s"
            print(f"{rates}, ratio {ratios[-1]:.3f}", flush=True)
        print(f"tag: median ratio to the bare loop {statistics.median(ratios):.3f} (target 0.90)")
        cold = seconds([sys.executable, "-c", CLASSIFY])
        least = seconds([sys.executable, "-c", SESSION, str(tagger.bundle.path / MODEL)])
        print(f"cold start: classify {cold:.2f} s, importing and loading a session {least:.2f} s,", end=" ")
        print(f"ratio {cold / least:.2f} (target 3.0)")
        if options.memory_rows:
            write_csv(source, [texts[i % len(texts)] for i in range(options.memory_rows)])
            program = f"from fankui.cli import main; import sys; sys.argv = ['fankui', 'tag', '{source}', '-o', "
            program += f"'{target}', '--overwrite', '--quiet']; main()"
            subprocess.run([sys.executable, "-c", program], check=True)
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            print(f"peak memory with {options.memory_rows} rows: {peak:.0f} MB (target 600)")


if __name__ == "__main__":
    main()
