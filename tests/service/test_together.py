"""What is asked at the same time is answered together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from fankui.errors import FankuiError
from service.together import Together


class AwayError(FankuiError):
    pass


async def all_of(together: Together[int, str], items: Sequence[int]) -> list[Any]:
    return await asyncio.gather(*map(together.ask, items), return_exceptions=True)


def test_what_comes_during_a_round_is_the_next() -> None:
    rounds: list[list[int]] = []

    async def work(items: Sequence[int]) -> list[str]:
        rounds.append(list(items))
        await asyncio.sleep(0.01)
        return [str(item) for item in items]

    async def ask() -> list[str]:
        together = Together(work)
        lone = asyncio.create_task(together.ask(0))
        await asyncio.sleep(0.005)
        found: list[str] = await all_of(together, range(1, 101))
        return [await lone, *found]

    assert asyncio.run(ask()) == [str(number) for number in range(101)]
    assert list(map(len, rounds)) == [1, 64, 36]


def test_one_that_fails_fails_alone() -> None:
    async def work(items: Sequence[int]) -> list[str]:
        if 7 in items:
            raise ValueError("seven")
        return [str(item) for item in items]

    found = asyncio.run(all_of(Together(work), range(20)))
    assert [number for number, outcome in enumerate(found) if isinstance(outcome, ValueError)] == [7]
    assert found[8:] == [str(number) for number in range(8, 20)]


def test_what_fails_for_all_is_tried_once_and_again_when_asked_again() -> None:
    tried = 0

    async def work(items: Sequence[int]) -> list[str]:
        nonlocal tried
        tried += 1
        if tried == 1:
            raise AwayError
        return [str(item) for item in items]

    async def twice() -> list[Any]:
        together = Together(work)
        return [*await all_of(together, range(20)), *await all_of(together, range(3))]

    found = asyncio.run(twice())
    assert {type(outcome) for outcome in found[:20]} == {AwayError}
    assert found[20:] == ["0", "1", "2"]
    assert tried == 2


@pytest.mark.parametrize("when", ["before", "during"])
def test_one_that_goes_keeps_nobody_waiting(when: str) -> None:
    async def work(items: Sequence[int]) -> list[str]:
        await asyncio.sleep(0.01)
        return [str(item) for item in items]

    async def ask() -> Any:
        together = Together(work)
        gone, stays = asyncio.create_task(together.ask(1)), asyncio.create_task(together.ask(2))
        await asyncio.sleep(0 if when == "before" else 0.005)
        gone.cancel()
        return await asyncio.wait_for(stays, 1)

    assert asyncio.run(ask()) == "2"
