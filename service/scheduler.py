"""Micro-batching: requests that come at the same time share model calls.

A few threads run the model, one core each. Whenever one is free it takes its share of what waits, one text of each
request in turn; so nothing waits while a core is idle, and a single ticket is not held up by a batch of hundreds.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Protocol

from fankui.errors import FankuiError
from fankui.tags import Tags, Untaggable

log = logging.getLogger(__name__)

Result = Tags | Untaggable
OnCall = Callable[[int, int, float], None]
"""Told of each model call: its texts, its characters, the seconds it took."""

CALL_CHARACTERS = 3_000
"""What one model call may hold (about 2,000 tokens, a third of a second of work): larger calls are hardly faster, and
everything that comes meanwhile waits for them. A longer text is a call of its own."""
CALL_TEXTS = 64
_NICENESS = 5
_FIRST_GUESS = 5_000.0
"""Characters a second, until calls have been timed."""
_FIRST_LENGTH = 50.0
"""Characters a text, until texts have come."""


class Tag(Protocol):
    """Runs the model. `alone`: no other call has work for the cores."""

    def __call__(self, texts: Sequence[str], ids: Sequence[str | None], *, alone: bool) -> list[Result]: ...


class OverloadedError(FankuiError):
    """Too much waits for the model already. `retry_after` is in seconds."""

    def __init__(self, waiting: int, seconds: float) -> None:
        super().__init__(
            f"{waiting} texts wait for the model, about {seconds:.0f} seconds of work; try again a little later."
        )
        self.retry_after = max(1, math.ceil(seconds / 2))


class _Job:
    """The texts of one request."""

    __slots__ = ("cancelled", "done", "ids", "loop", "next", "remaining", "results", "texts")

    def __init__(self, texts: Sequence[str], ids: Sequence[str | None], loop: asyncio.AbstractEventLoop) -> None:
        self.texts = texts
        self.ids = ids
        self.results: list[Result | None] = [None] * len(texts)
        self.next = 0
        self.remaining = len(texts)
        self.cancelled = False
        self.loop = loop
        self.done: asyncio.Future[list[Result]] = loop.create_future()


class Scheduler:
    """Runs `tag` in threads of its own on batches made of all waiting requests."""

    def __init__(
        self,
        tag: Tag,
        *,
        max_texts: int,
        max_wait_seconds: float,
        threads: int = 1,
        on_call: OnCall = lambda *_: None,
    ) -> None:
        self._tag = tag
        self._max_texts = max_texts
        self._max_wait = max_wait_seconds
        self._on_call = on_call
        self._jobs: deque[_Job] = deque()
        self._texts = self._characters = self._expected = 0
        self._speed = _FIRST_GUESS
        """Characters a second of one thread."""
        self._length = _FIRST_LENGTH
        """Characters a text, a moving average."""
        self._changed = threading.Condition()
        self._calls = 0
        """Model calls under way."""
        self._closing = False
        self._threads = [threading.Thread(target=self._run, name=f"model-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Texts that no model call has taken up yet."""
        return self._texts

    def admit(self, texts: int) -> None:
        """Raises OverloadedError when so many texts more would be too many, or would wait too long."""
        ahead = self._texts + self._expected
        characters = self._characters + self._expected * self._length
        wait = characters / (self._speed * len(self._threads))
        if ahead and (ahead + texts > self._max_texts or wait > self._max_wait):
            raise OverloadedError(ahead, wait)

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """Admit a text that will come when this ends, and count it until then. Raises OverloadedError."""
        self.admit(1)
        self._expected += 1
        try:
            yield
        finally:
            self._expected -= 1

    async def tag(self, texts: Sequence[str], ids: Sequence[str | None], *, admitted: bool = False) -> list[Result]:
        """One result a text, in order. Raises OverloadedError unless `admitted`, and whatever the model raises.

        When the caller is cancelled, what is left of its texts is dropped.
        """
        if not texts:
            return []
        job = _Job(texts, ids, asyncio.get_running_loop())
        characters = sum(map(len, texts))
        with self._changed:
            if not admitted:
                self.admit(len(texts))
            self._jobs.append(job)
            self._texts += len(texts)
            self._characters += characters
            self._length += 0.01 * (characters / len(texts) - self._length)
            self._changed.notify()
        try:
            return await job.done
        except asyncio.CancelledError:
            self._drop(job)
            raise

    def close(self) -> None:
        """Finish what waits, then stop."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _drop(self, job: _Job) -> None:
        with self._changed:
            job.cancelled = True
            if job in self._jobs:
                self._jobs.remove(job)
            left = job.texts[job.next :]
            self._texts -= len(left)
            self._characters -= sum(map(len, left))
            job.next = len(job.texts)

    def _run(self) -> None:
        if sys.platform == "linux":  # Threads have priorities there: whoever knocks comes first.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        while True:
            with self._changed:
                while not self._jobs and not self._closing:
                    self._changed.wait()
                if not self._jobs:
                    return
                call = self._take()
                alone = not self._calls and not self._jobs
                self._calls += 1
            self._answer(call, alone)

    def _take(self) -> list[tuple[_Job, int]]:
        """The texts of the next call, one of each request in turn; what is left goes to the other threads."""
        call: list[tuple[_Job, int]] = []
        characters = 0
        share = min(CALL_CHARACTERS, math.ceil(self._characters / len(self._threads)))
        while self._jobs and len(call) < CALL_TEXTS:
            job = self._jobs[0]
            length = len(job.texts[job.next])
            if call and characters + length > share:
                break
            self._jobs.popleft()
            call.append((job, job.next))
            characters += length
            job.next += 1
            if job.next < len(job.texts):
                self._jobs.append(job)
        self._texts -= len(call)
        self._characters -= characters
        return call

    def _answer(self, call: list[tuple[_Job, int]], alone: bool) -> None:
        texts = [job.texts[position] for job, position in call]
        started = perf_counter()
        try:
            try:
                results = self._tag(texts, [job.ids[position] for job, position in call], alone=alone)
            finally:
                with self._changed:
                    self._calls -= 1
        except Exception as error:
            for job in {id(job): job for job, _ in call}.values():
                job.loop.call_soon_threadsafe(_fail, job, error)
                self._drop(job)
            return
        took, characters = perf_counter() - started, sum(map(len, texts))
        if characters:
            self._speed += 0.1 * (characters / max(took, 1e-6) - self._speed)
        self._on_call(len(texts), characters, took)
        finished: dict[int, list[_Job]] = {}
        for (job, position), result in zip(call, results, strict=True):
            job.results[position] = result
            job.remaining -= 1
            if not job.remaining and not job.cancelled:
                finished.setdefault(id(job.loop), []).append(job)
        for jobs in finished.values():
            jobs[0].loop.call_soon_threadsafe(_finish, jobs)


def _finish(jobs: list[_Job]) -> None:
    for job in jobs:
        if not job.done.done():
            job.done.set_result([result for result in job.results if result is not None])


def _fail(job: _Job, error: Exception) -> None:
    if not job.done.done():
        job.done.set_exception(error)
