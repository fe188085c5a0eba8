"""Whether a ticket is stored already: what is asked while the database is being asked goes into its next question."""

from __future__ import annotations

import asyncio
from functools import partial

from service.store import tickets
from service.store.database import Database
from service.store.tickets import Stored

_MOST_TOGETHER = 64


class Lookups:
    """Finds stored tickets by id and text, many with one query. For one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._asked: list[tuple[tuple[str, str], asyncio.Future[Stored | None]]] = []
        self._asking: asyncio.Task[None] | None = None

    async def find(self, ticket_id: str, text_sha256: str) -> Stored | None:
        """The ticket, if its text is the one with this hash. Raises StoreUnavailableError."""
        answer: asyncio.Future[Stored | None] = asyncio.get_running_loop().create_future()
        self._asked.append(((ticket_id, text_sha256), answer))
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        return await answer

    async def _ask(self) -> None:
        while self._asked:
            now, self._asked = self._asked[:_MOST_TOGETHER], self._asked[_MOST_TOGETHER:]
            wanted = [ticket for ticket, _ in now]
            try:
                found = await self._database.read(partial(tickets.find_same, wanted=wanted))
            except Exception as error:
                for _, answer in now:
                    if not answer.done():
                        answer.set_exception(error)
            else:
                for ticket, answer in now:
                    if not answer.done():
                        answer.set_result(found.get(ticket))
        self._asking = None
