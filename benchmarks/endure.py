"""How the service stands overload, and long work: latencies, refusals, memory.

    python benchmarks/endure.py overload [--seconds 60]
    python benchmarks/endure.py soak [--minutes 20]

`overload` first measures what the service can do with one core for the model (64 connections), then sends ten times as
many requests a second over 1,500 connections, then asks for a few answers more. `soak` sends 70 % of what it can do
with all cores. Requests are new tickets, stored in SQLite; RSS is that of the service's process.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import psutil
import uvloop
from serve import FANKUI, drive, free_port, read_texts, server

TIMEOUT_SECONDS = 30
CONNECTIONS = 1_500
_HEAD = b"POST /v1/tickets HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@dataclass
class Seen:
    """What a stream of requests met."""

    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    errors: int = 0
    megabytes: list[float] = field(default_factory=list)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values stay under; NaN without values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def bodies(texts: Sequence[str], prefix: str) -> Iterator[bytes]:
    """New tickets without end."""
    for number in itertools.count():
        ticket = {"id": f"{prefix}-{number}", "text": texts[number % len(texts)]}
        yield json.dumps(ticket, ensure_ascii=False).encode()


async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes, body: bytes) -> int:
    """Send a request and read its answer; returns the status."""
    writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    status = int((await reader.readuntil(b"\r\n")).split(b" ", 2)[1])
    length = 0
    while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    await reader.readexactly(length)
    return status


async def stream(port: int, rate: float, seconds: float, tickets: Iterator[bytes], process: psutil.Process) -> Seen:
    """Send `rate` requests a second at random times (a Poisson process), as far as CONNECTIONS are enough for it."""
    seen = Seen()
    idle: asyncio.LifoQueue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.LifoQueue()
    for _ in range(CONNECTIONS):
        idle.put_nowait(await asyncio.open_connection("127.0.0.1", port))
    chance = random.Random(13)
    running: set[asyncio.Task[None]] = set()

    async def request(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], body: bytes) -> None:
        if connection[0].at_eof():  # The server has closed it for idleness, which every client must expect.
            connection = await asyncio.open_connection("127.0.0.1", port)
        started = perf_counter()
        try:
            status = await one(*connection, _HEAD, body)
        except (OSError, asyncio.IncompleteReadError):
            seen.errors += 1
            connection = await asyncio.open_connection("127.0.0.1", port)
        else:
            seen.statuses[status] += 1
            (seen.accepted if status == 200 else seen.refused).append(perf_counter() - started)
        idle.put_nowait(connection)

    begun = due = perf_counter()
    sampled = begun
    while due < begun + seconds and perf_counter() < begun + seconds:
        if (pause := due - perf_counter()) > 0:
            await asyncio.sleep(pause)
        task = asyncio.create_task(request(await idle.get(), next(tickets)))
        running.add(task)
        task.add_done_callback(running.discard)
        due += chance.expovariate(rate)
        if perf_counter() > sampled + 5:
            sampled = perf_counter()
            seen.megabytes.append(process.memory_info().rss / 2**20)
    await asyncio.gather(*running)
    return seen


def tell(seen: Seen, seconds: float) -> None:
    """Print it."""
    print(f"statuses {dict(seen.statuses)}, connection errors {seen.errors}")
    for name, values in (("accepted", seen.accepted), ("refused", seen.refused)):
        if values:
            middle, slow = quantile(values, 0.5) * 1000, quantile(values, 0.99) * 1000
            print(f"{name}: {len(values) / seconds:.1f}/s, p50 {middle:.0f} ms, p99 {slow:.0f} ms")
    half = len(seen.megabytes) // 2
    if half > 1:
        first = statistics.mean(seen.megabytes[max(1, half // 5) : half])
        last = statistics.mean(seen.megabytes[half:])
        growth = last / first - 1
        print(f"memory: {first:.0f} MB in the first half after warm-up, {last:.0f} MB in the second ({growth:+.1%})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["overload", "soak"])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--corpora", type=Path)
    options = parser.parse_args()
    texts = read_texts(options.corpora)
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            "FANKUI_DATABASE_URL": f"sqlite:///{folder}/fankui.db",
            "FANKUI_RATE_LIMIT_PER_MINUTE": "0",
            "FANKUI_REQUEST_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS),
        }
        if options.what == "overload":  # The client needs a core for ten times as many requests.
            environment["FANKUI_THREADS"] = "1"
        with server([*FANKUI, "serve", "--dev", "--port", str(port)], port, "/readyz", environment):
            children = psutil.Process(os.getpid()).children()
            (process,) = [child for child in children if "serve" in child.cmdline()]
            first = [body for body, _ in zip(bodies(texts, "first"), range(20_000), strict=False)]
            capacity = drive(port, "/v1/tickets", first, 64, 15).rate
            print(f"capacity {capacity:.1f} tickets/s with 64 connections; {os.cpu_count()} cores")
            if options.what == "overload":
                seen = uvloop.run(stream(port, 10 * capacity, options.seconds, bodies(texts, "over"), process))
                tell(seen, options.seconds)
                after = uvloop.run(stream(port, 1, 10, bodies(texts, "after"), process))
                print(f"afterwards: {dict(after.statuses)}, p50 {quantile(after.accepted, 0.5) * 1000:.0f} ms")
            else:
                seconds = 60 * options.minutes
                tell(uvloop.run(stream(port, 0.7 * capacity, seconds, bodies(texts, "soak"), process)), seconds)


if __name__ == "__main__":
    main()
