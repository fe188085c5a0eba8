"""Micro-batching."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import structlog

from fankui.tags import Untaggable
from service.admission import Admission
from service.metrics import Metrics
from service.scheduler import CALL_CHARACTERS, CALL_TEXTS, OverloadedError, Result, Scheduler


class Engine:
    """Answers each text with itself, when it is let to."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.alone: list[bool] = []
        self.running = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, texts: Sequence[str], ids: Sequence[str | None], *, alone: bool) -> list[Result]:
        self.calls.append(list(texts))
        self.alone.append(alone)
        self.running.set()
        assert self.go_on.wait(30)
        if "fail" in texts:
            raise RuntimeError("the model failed")
        return [Untaggable(id=id_, note=text) for text, id_ in zip(texts, ids, strict=True)]


@contextmanager
def scheduling(engine: Engine, **options: Any) -> Iterator[Scheduler]:
    scheduler = Scheduler(engine, **({"max_texts": 1_000, "max_wait_seconds": 60.0} | options))
    yield scheduler
    engine.go_on.set()
    scheduler.close()


def run(
    scenario: Callable[[Engine, Scheduler], Awaitable[None]], engine: Engine | None = None, **options: Any
) -> Engine:
    engine = engine or Engine()
    with scheduling(engine, **options) as scheduler:
        asyncio.run(scenario(engine, scheduler))  # type: ignore[arg-type]
    return engine


def notes(results: Sequence[Result]) -> list[str | None]:
    return [result.note for result in results]


async def busy(engine: Engine, scheduler: Scheduler) -> asyncio.Task[list[Result]]:
    """The model at work on one text until `engine.go_on` is set."""
    engine.go_on.clear()
    engine.running.clear()
    task = asyncio.create_task(scheduler.tag(["first"], [None]))
    await asyncio.to_thread(engine.running.wait, 30)
    return task


async def waiting(scheduler: Scheduler, *requests: Sequence[str]) -> list[asyncio.Task[list[Result]]]:
    """Requests in the queue."""
    tasks = []
    for texts in requests:
        tasks.append(asyncio.create_task(scheduler.tag(texts, [None] * len(texts))))
        await asyncio.sleep(0)
    return tasks


def test_each_request_gets_its_own_answers_in_order() -> None:
    async def scenario(engine: Engine, scheduler: Scheduler) -> None:
        first = await busy(engine, scheduler)
        requests = [[f"{request}-{n}" for n in range(1 + request % 5)] for request in range(40)]
        tasks = await waiting(scheduler, *requests)
        engine.go_on.set()
        assert [notes(await task) for task in tasks] == requests
        assert notes(await first) == ["first"]
        assert scheduler.waiting == 0

    run(scenario)


def test_what_waits_shares_a_call_and_nothing_waits_while_the_model_is_idle() -> None:
    async def scenario(engine: Engine, scheduler: Scheduler) -> None:
        first = await busy(engine, scheduler)
        tasks = await waiting(scheduler, ["a"], ["b"], ["c"])
        assert engine.calls == [["first"]]  # It was begun at once, alone.
        engine.go_on.set()
        await asyncio.gather(first, *tasks)

    assert run(scenario).calls == [["first"], ["a", "b", "c"]]


def test_threads_share_what_waits() -> None:
    async def scenario(engine: Engine, scheduler: Scheduler) -> None:
        blocked = [await busy(engine, scheduler), await busy(engine, scheduler)]
        tasks = await waiting(scheduler, ["a"], ["b"], ["c"], ["d"])
        engine.go_on.set()
        await asyncio.gather(*blocked, *tasks)

    calls = run(scenario, threads=2).calls
    assert calls[:3] == [["first"], ["first"], ["a", "b"]]  # Half of it is for the other thread.


def test_only_a_call_beside_which_there_is_nothing_to_do_is_alone() -> None:
    async def scenario(engine: Engine, scheduler: Scheduler) -> None:
        first = await busy(engine, scheduler)
        engine.running.clear()
        (second,) = await waiting(scheduler, ["second"])
        await asyncio.to_thread(engine.running.wait, 30)
        engine.go_on.set()
        await asyncio.gather(first, second)
        await scheduler.tag(["third"], [None])
        await scheduler.tag(["fourth", "fifth"], [None, None])  # one for each thread

    engine = run(scenario, threads=2)
    assert engine.calls[:3] == [["first"], ["second"], ["third"]]
    assert engine.alone[:4] == [True, False, True, False]


def test_a_single_ticket_does_not_wait_for_a_huge_batch() -> None:
    batch = [f"b{n}" for n in range(10 * CALL_TEXTS)]

    async def scenario(engine: Engine, scheduler: Scheduler) -> None:
        first = await busy(engine, scheduler)
        tasks = await waiting(scheduler, batch, ["ticket"])
        engine.go_on.set()
        await asyncio.gather(first, *tasks)

    assert "ticket" in run(scenario).calls[1]


def test_a_call_is_bounded_by_its_characters_and_a_longer_text_is_alone() -> None:
    long = "长" * (CALL_CHARACTERS + 1)
    half = "半" * (CALL_CHARACTERS // 2)

    async def scenario(engine: Engine, scheduler: Scheduler) -> None:
        first = await busy(engine, scheduler)
        tasks = await waiting(scheduler, [half], [half], ["x"], [long], ["y"])
        engine.go_on.set()
        await asyncio.gather(first, *tasks)

    assert run(scenario).calls[1:] == [[half, half], ["x"], [long], ["y"]]


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    async def scenario(engine: Engine, scheduler: Scheduler) -> None:
        first = await busy(engine, scheduler)
        tasks = await waiting(scheduler, ["a", "b"])
        with pytest.raises(OverloadedError) as refused:
            await scheduler.tag(["c", "d"], [None, None])
        assert refused.value.retry_after >= 1
        engine.go_on.set()
        await asyncio.gather(first, *tasks)
        assert notes(await scheduler.tag(["c", "d"], [None, None])) == ["c", "d"]

    run(scenario, max_texts=3)


def test_a_text_that_is_expected_has_its_place() -> None:
    async def scenario(engine: Engine, scheduler: Scheduler) -> None:
        first = await busy(engine, scheduler)
        with scheduler.expecting(), scheduler.expecting():
            with pytest.raises(OverloadedError):
                await scheduler.tag(["late"], [None])
            with pytest.raises(OverloadedError), scheduler.expecting():
                pass
        tasks = [asyncio.create_task(scheduler.tag([text], [None], admitted=True)) for text in ("a", "b")]
        while scheduler.waiting < 2:
            await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            scheduler.admit(1)
        engine.go_on.set()
        await asyncio.gather(first, *tasks)
        scheduler.admit(2)

    run(scenario, max_texts=2)


def test_only_what_needs_the_model_is_refused_at_the_door() -> None:
    metrics = Metrics()

    async def scenario(engine: Engine, scheduler: Scheduler) -> None:
        passed: list[str] = []
        sent: list[Any] = []

        async def app(scope: Any, *_: Any) -> None:
            passed.append(scope["path"])

        async def receive() -> Any:
            raise AssertionError("The body of a refused request is not read.")

        async def send(message: Any) -> None:
            sent.append(message)

        first = await busy(engine, scheduler)
        tasks = await waiting(scheduler, ["a"])
        door = Admission(app, scheduler, metrics)
        with structlog.testing.capture_logs() as lines:
            for path in ("/v1/classify", "/v1/classify/batch", "/v1/tickets", "/v1/adapters/zendesk"):
                scope = {"type": "http", "method": "POST", "path": path, "headers": [(b"x-request-id", b"mine")]}
                await door(scope, receive, send)
        assert passed == []
        assert len(lines) == 1  # Not one for each: there may be thousands a second.
        for start, body in zip(sent[::2], sent[1::2], strict=True):
            headers = dict(start["headers"])
            assert (start["status"], headers[b"x-request-id"]) == (503, b"mine")
            assert {b"retry-after", b"traceparent", b"x-content-type-options"} <= set(headers)
            assert json.loads(body["body"])["type"] == "urn:fankui:problem:overloaded"
        for method, path in (
            ("POST", "/v1/tickets/T-1/corrections"),
            ("POST", "/v1/reviews/claim"),
            ("GET", "/v1/tickets"),
        ):
            await door({"type": "http", "method": method, "path": path, "headers": []}, receive, send)
        assert len(passed) == 3
        engine.go_on.set()
        await asyncio.gather(first, *tasks)

    run(scenario, max_texts=1)
    assert b'fankui_requests_total{method="POST",route="none",status="503"} 4.0' in metrics.exposition()


def test_a_request_that_would_wait_too_long_is_refused() -> None:
    async def scenario(engine: Engine, scheduler: Scheduler) -> None:
        first = await busy(engine, scheduler)
        tasks = await waiting(scheduler, ["长" * 100_000])
        with pytest.raises(OverloadedError):
            await scheduler.tag(["x"], [None])
        engine.go_on.set()
        await asyncio.gather(first, *tasks)

    run(scenario, max_wait_seconds=1.0)


def test_a_batch_larger_than_the_queue_is_taken_when_nothing_waits() -> None:
    async def scenario(_: Engine, scheduler: Scheduler) -> None:
        texts = [str(n) for n in range(10)]
        assert notes(await scheduler.tag(texts, [None] * 10)) == texts

    run(scenario, max_texts=3)


def test_work_of_a_client_that_has_gone_is_dropped() -> None:
    async def scenario(engine: Engine, scheduler: Scheduler) -> None:
        first = await busy(engine, scheduler)
        gone, stays = await waiting(scheduler, ["gone"] * 200, ["stays"])
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert scheduler.waiting == 1
        engine.go_on.set()
        assert notes(await stays) == ["stays"]
        await first

    assert run(scenario).calls == [["first"], ["stays"]]


def test_a_failing_model_fails_only_the_requests_of_that_call() -> None:
    async def scenario(engine: Engine, scheduler: Scheduler) -> None:
        first = await busy(engine, scheduler)
        failing, beside = await waiting(scheduler, ["fail"], ["beside"])
        engine.go_on.set()
        for task in (failing, beside):
            with pytest.raises(RuntimeError, match="the model failed"):
                await task
        await first
        assert notes(await scheduler.tag(["later"], ["T-1"])) == ["later"]
        assert scheduler.waiting == 0

    run(scenario)


def test_closing_finishes_what_was_accepted() -> None:
    async def scenario(engine: Engine, scheduler: Scheduler) -> None:
        first = await busy(engine, scheduler)
        tasks = await waiting(scheduler, [str(n) for n in range(3 * CALL_TEXTS)])
        engine.go_on.set()
        await asyncio.to_thread(scheduler.close)
        assert len(await tasks[0]) == 3 * CALL_TEXTS
        await first

    run(scenario)
