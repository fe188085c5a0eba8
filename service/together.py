"""Many at once: what comes while some is being worked on goes together into the next round.

A database answers one question about sixty tickets hardly later than one about a single ticket. A lone one waits for
nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from fankui.errors import FankuiError

_Item = TypeVar("_Item")
_Outcome = TypeVar("_Outcome")

_MOST_TOGETHER = 64


class Together(Generic[_Item, _Outcome]):
    """Hands what is asked of it to `work`, many at once; `work` returns one outcome an item. For one event loop."""

    def __init__(self, work: Callable[[Sequence[_Item]], Awaitable[Sequence[_Outcome]]]) -> None:
        self._work = work
        self._asked: list[tuple[_Item, asyncio.Future[_Outcome]]] = []
        self._working: asyncio.Task[None] | None = None

    async def ask(self, item: _Item) -> _Outcome:
        """The outcome of `work` for this item; raises what `work` raises."""
        answer: asyncio.Future[_Outcome] = asyncio.get_running_loop().create_future()
        self._asked.append((item, answer))
        if self._working is None:
            self._working = asyncio.create_task(self._go_on())
        return await answer

    async def _go_on(self) -> None:
        while self._asked:
            now, self._asked = self._asked[:_MOST_TOGETHER], self._asked[_MOST_TOGETHER:]
            await self._answer(now)
        self._working = None

    async def _answer(self, asked: Sequence[tuple[_Item, asyncio.Future[_Outcome]]]) -> None:
        try:
            outcomes = await self._work([item for item, _ in asked])
        except Exception as error:
            if len(asked) > 1 and not isinstance(error, FankuiError):
                for one in asked:  # One of them may have spoilt it for all.
                    await self._answer([one])
                return
            for _, answer in asked:
                if not answer.done():
                    answer.set_exception(error)
            return
        for (_, answer), outcome in zip(asked, outcomes, strict=True):
            if not answer.done():  # Whoever asked may have gone.
                answer.set_result(outcome)
