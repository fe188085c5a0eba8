"""How many requests the service answers, against the bare engine and against other servers, in one run.

    python benchmarks/serve.py [--corpora data/corpora] [--seconds 20] [--connections 1 64] [--postgres URL]
                               [--pipeline PYTHON] [--infinity PYTHON]

Each server runs as a process of its own on the same cores, one after the other, and gets the same texts: the own
tickets, or a sample of the corpora with their mixed lengths. `--pipeline` and `--infinity` name a Python that has
`torch transformers fastapi uvicorn`, or `infinity-emb[server,torch]`; they serve a BERT classifier of the released
model's shape (random weights: speed does not depend on them). Ratios are against the bare engine. The client is wrk.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep
from urllib.error import URLError
from urllib.request import urlopen

import polars as pl
from tag import bare_session

from fankui.engine import Tagger
from fankui.text import normalise

ROOT = Path(__file__).parents[1]
FANKUI = (sys.executable, "-c", "from fankui.cli import main; main()")
LAYERS = 6
"""Of the released model; the other servers get as many."""
WARM_UP_SECONDS = 3.0


@dataclass(frozen=True)
class Load:
    """What a server did under load: answers a second, median and 99th percentile of the latency in seconds."""

    rate: float
    p50: float
    p99: float
    refused: int


def read_texts(corpora: Path | None, count: int = 4_000) -> list[str]:
    """A fixed random sample."""
    if corpora:
        frames = [pl.read_parquet(file, columns=["text"]) for file in sorted(corpora.glob("*.parquet"))]
        texts = pl.concat(frames)["text"].to_list()
    else:
        lines = (ROOT / "data/tickets/train.jsonl").read_text(encoding="utf-8").splitlines()
        texts = [json.loads(line)["text"] for line in lines]
    texts = [text for text in texts if 1 <= len(text) <= 2_000]
    random.Random(13).shuffle(texts)
    return texts[:count]


def bare_engine(texts: Sequence[str], seconds: float, at_once: int) -> Load:
    """ONNX Runtime alone in a loop, with its defaults: `at_once` texts a call, tokenised and sorted beforehand."""
    tagger = Tagger.load()
    encodings = tagger.tokenizer.encode_batch([normalise(text).text for text in texts])
    session = bare_session(tagger)
    groups = [encodings[start : start + at_once] for start in range(0, len(encodings), at_once)]
    feeds = [[feed for _, feed in tagger.batches(group)] for group in groups]
    latencies, done = [], 0
    begun = perf_counter()
    for turn in range(10**9):
        started = perf_counter()
        if started - begun > WARM_UP_SECONDS + seconds:
            break
        for feed in feeds[turn % len(feeds)]:
            session.run(["logits", "evidence"], feed)
        if started - begun > WARM_UP_SECONDS:
            latencies.append(perf_counter() - started)
            done += len(groups[turn % len(groups)])
    cuts = statistics.quantiles(latencies, n=100)
    return Load(done / seconds, cuts[49], cuts[98], 0)


# Runs inside wrk: the bodies in turn, beginning with number `start`; then a line of JSON about all of it.
WRK = """
local bodies, turn = {}, START
for line in io.lines("BODIES") do bodies[#bodies + 1] = line end
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
function request()
  turn = turn + 1
  return wrk.format(nil, nil, nil, bodies[(turn - 1) % #bodies + 1])
end
function done(summary, latency)
  io.write(string.format('\\n{"requests": %d, "refused": %d, "broken": %d, "seconds": %f, "p50": %f, "p99": %f}\\n',
    summary.requests, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1e6, latency:percentile(99) / 1e6))
end
"""


def drive(port: int, path: str, bodies: Sequence[bytes], connections: int, seconds: float) -> Load:
    """Keep `connections` requests under way with wrk, one thread of it; the first WARM_UP_SECONDS do not count."""
    wrk = shutil.which("wrk")
    if not wrk:
        raise SystemExit("This benchmark needs wrk (https://github.com/wg/wrk; Debian: apt-get install wrk).")
    with tempfile.TemporaryDirectory() as folder:
        lines, script = Path(folder, "bodies"), Path(folder, "script.lua")
        lines.write_bytes(b"\n".join(bodies) + b"\n")
        found: dict[str, float] = {}
        for start, length in ((0, WARM_UP_SECONDS), (len(bodies) // 2, seconds)):
            script.write_text(WRK.replace("START", str(start)).replace("BODIES", str(lines)))
            call = [wrk, "-t1", f"-c{connections}", f"-d{length:.0f}s", "--timeout", "60s", "-s", str(script)]
            told = subprocess.run([*call, f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=True)
            found = json.loads(told.stdout.strip().splitlines()[-1])
        if found["broken"] or not found["requests"]:
            raise SystemExit(f"{found['requests']:.0f} answers, {found['broken']:.0f} connections broke.")
    answered = found["requests"] - found["refused"]
    return Load(answered / found["seconds"], found["p50"], found["p99"], int(found["refused"]))


@contextmanager
def server(command: Sequence[str], port: int, ready: str, environment: dict[str, str]) -> Iterator[None]:
    """A server process, from when it is ready to when it is stopped."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=os.environ | environment)
        try:
            for _ in range(600):
                try:
                    with urlopen(f"http://127.0.0.1:{port}{ready}", timeout=2):
                        break
                except (URLError, OSError):
                    if process.poll() is not None:
                        log.seek(0)
                        raise SystemExit(log.read().decode(errors="replace")) from None
                    sleep(0.2)
            yield
        finally:
            process.terminate()
            process.wait(60)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


PIPELINE = """
import sys, torch, uvicorn
from fastapi import FastAPI
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast, pipeline
folder, port, layers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
tokenizer = PreTrainedTokenizerFast(tokenizer_file=folder + "/tokenizer.json", pad_token="<pad>", model_max_length=512)
config = BertConfig(vocab_size=len(tokenizer), hidden_size=384, num_hidden_layers=layers, num_attention_heads=12,
                    intermediate_size=1536, num_labels=33, problem_type="multi_label_classification")
classify = pipeline("text-classification", model=BertForSequenceClassification(config).eval(), tokenizer=tokenizer,
                    top_k=None, truncation=True)
app = FastAPI()
@app.post("/classify")
def answer(body: dict) -> list:
    return classify(body["text"])
@app.get("/ready")
def ready() -> str:
    return "ready"
uvicorn.run(app, port=port, log_level="error")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--postgres", help="URL of an empty database")
    parser.add_argument("--pipeline", help="a Python with torch, transformers, fastapi and uvicorn")
    parser.add_argument("--infinity", help="a Python with infinity-emb[server,torch]")
    options = parser.parse_args()
    texts = read_texts(options.corpora)
    print(f"{len(texts)} texts, {statistics.mean(map(len, texts)):.0f} characters on average, {os.cpu_count()} cores")
    rows: dict[str, dict[int, Load]] = {
        "bare engine, one text a call": {1: bare_engine(texts, options.seconds, 1)},
        "bare engine, 32 texts a call": {64: bare_engine(texts, options.seconds, 32)},
    }
    plain = [json.dumps({"text": text}, ensure_ascii=False).encode() for text in texts]

    def fankui(path: str, environment: dict[str, str], *, tickets: bool = False) -> dict[int, Load]:
        port, loads = free_port(), {}
        command = [*FANKUI, "serve", "--dev", "--port", str(port)]
        limits = {"FANKUI_RATE_LIMIT_PER_MINUTE": "0"}
        with server(command, port, "/readyz", limits | environment):
            for number in options.connections:
                bodies = plain
                if tickets:
                    bodies = [
                        json.dumps({"id": f"{number}-{n}", "text": texts[n % len(texts)]}, ensure_ascii=False).encode()
                        for n in range(200_000)
                    ]
                loads[number] = drive(port, path, bodies, number, options.seconds)
        return loads

    with tempfile.TemporaryDirectory() as folder:
        sqlite = {"FANKUI_DATABASE_URL": f"sqlite:///{folder}/fankui.db"}
        rows["fankui /v1/classify"] = fankui("/v1/classify", sqlite)
        rows["fankui /v1/tickets, SQLite"] = fankui("/v1/tickets", sqlite, tickets=True)
        if options.postgres:
            url = {"FANKUI_DATABASE_URL": options.postgres}
            subprocess.run([*FANKUI, "db", "upgrade"], env=os.environ | url, check=True)
            rows["fankui /v1/tickets, PostgreSQL"] = fankui("/v1/tickets", url, tickets=True)
        bundle = Tagger.load().bundle.path
        if options.pipeline:
            port = free_port()
            command = [options.pipeline, "-c", PIPELINE, str(bundle), str(port), str(LAYERS)]
            with server(command, port, "/ready", {}):
                rows["FastAPI + transformers pipeline"] = {
                    number: drive(port, "/classify", plain, number, options.seconds) for number in options.connections
                }
        if options.infinity:
            rows["infinity-emb, torch"] = _infinity(options, folder, bundle, texts)
    _print(rows)


INFINITY_MODEL = """
import sys
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast
source, target, layers = sys.argv[1:]
tokenizer = PreTrainedTokenizerFast(tokenizer_file=source + "/tokenizer.json", pad_token="<pad>", unk_token="<unk>",
                                    cls_token="<s>", sep_token="</s>", model_max_length=512)
tokenizer.save_pretrained(target)
BertForSequenceClassification(BertConfig(
    vocab_size=len(tokenizer), hidden_size=384, num_hidden_layers=int(layers), num_attention_heads=12,
    intermediate_size=1536, num_labels=33, problem_type="multi_label_classification")).save_pretrained(target)
"""


def _infinity(options: argparse.Namespace, folder: str, bundle: Path, texts: Sequence[str]) -> dict[int, Load]:
    model, port = f"{folder}/classifier", free_port()
    subprocess.run([options.infinity, "-c", INFINITY_MODEL, str(bundle), model, str(LAYERS)], check=True)
    bodies = [json.dumps({"model": "m", "input": [text]}, ensure_ascii=False).encode() for text in texts]
    executable = str(Path(options.infinity).with_name("infinity_emb"))
    command = [executable, "v2", "--model-id", model, "--served-model-name", "m", "--port", str(port)]
    with server([*command, "--engine", "torch", "--device", "cpu", "--no-bettertransformer"], port, "/health", {}):
        return {number: drive(port, "/classify", bodies, number, options.seconds) for number in options.connections}


def _print(rows: dict[str, dict[int, Load]]) -> None:
    bare_rate = max(load.rate for name, loads in rows.items() if name.startswith("bare") for load in loads.values())
    bare_median = rows["bare engine, one text a call"][1].p50
    print(f"{'':44} {'conn.':>5} {'req/s':>8} {'× bare':>7} {'p50 ms':>8} {'× bare':>7} {'p99/p50':>8} {'refused':>8}")
    for name, loads in rows.items():
        for connections, load in loads.items():
            print(
                f"{name:44} {connections:5} {load.rate:8.1f} {load.rate / bare_rate:7.2f} {load.p50 * 1000:8.1f} "
                f"{load.p50 / bare_median:7.2f} {load.p99 / load.p50:8.2f} {load.refused:8}"
            )


if __name__ == "__main__":
    main()
