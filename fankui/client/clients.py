"""The two clients: they differ only in how they send and sleep."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from time import sleep
from typing import Any, Self, TypeVar, Unpack

import anyio
import httpx

from fankui import __version__
from fankui.client import calls
from fankui.client.answers import Finding, Model, Prediction, Readiness, Ticket, TicketPage, TicketWithHistory
from fankui.client.calls import Call, Outcome, TicketFilters
from fankui.client.retry import Trying
from fankui.tags import Untaggable
from fankui.taxonomy import Taxonomy

_T = TypeVar("_T")


def _connection(base_url: str, api_key: str | None, timeout: float) -> dict[str, Any]:
    """What httpx needs to know. Raises ValueError for an address or a key that cannot be one."""
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ValueError(f"base_url is not an address: {error}.") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"base_url must be an address such as https://fankui.example.com, not {base_url!r}.")
    headers = {"Accept": "application/json", "User-Agent": f"fankui/{__version__}"}
    if api_key is not None:
        key = api_key.strip()  # A key read from a file ends in a line break.
        if not re.fullmatch(r"[\x21-\x7e]+", key):
            raise ValueError("api_key must be visible ASCII characters, as `fankui keys create` prints them.")
        headers["Authorization"] = f"Bearer {key}"
    return {"base_url": url, "headers": headers, "timeout": timeout}


class Client:
    """Calls the service and waits for its answers; thread-safe. Use it in a `with` block, or close it.

    A call that finds the service out of reach or busy is repeated up to `retries` times, after what its Retry-After
    says or a growing pause; no attempt begins later than `patience` seconds after the call. `timeout` is for each
    attempt. Every method raises ApiError for a call that is refused and UnreachableError for one without an answer.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str | None = None,
        timeout: float = 30.0,
        retries: int = 3,
        patience: float = 60.0,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], object] = sleep,
    ) -> None:
        """`transport` and `sleep` are for tests. Raises ValueError for a `base_url` or `api_key` that cannot be one."""
        self._http = httpx.Client(**_connection(base_url, api_key, timeout), transport=transport)
        self._retries, self._patience, self._sleep = retries, patience, sleep

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the connections go."""
        self._http.close()

    def classify(self, text: str, *, ticket_id: str | None = None) -> Prediction:
        """Classify one text, without storing it; `ticket_id` is echoed."""
        return self._call(calls.classify(text, ticket_id))

    def classify_batch(
        self, texts: Iterable[str], *, ids: Iterable[str | None] | None = None
    ) -> list[Prediction | Untaggable]:
        """Classify any number of texts; one result each, in order, Untaggable for a text that shows nothing.

        Sent in batches that the service takes. Raises ValueError unless there are as many `ids` as texts.
        """
        return [result for batch in calls.classify_batches(texts, ids) for result in self._call(batch).results]

    def post_ticket(
        self,
        ticket_id: str,
        text: str,
        *,
        channel: str | None = None,
        created_at: datetime | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Ticket:
        """Classify and store a ticket. The same id with another text makes a new revision, else it changes nothing.

        `created_at` needs an offset.
        """
        return self._call(calls.post_ticket(ticket_id, text, channel, created_at, metadata))

    def get_ticket(self, ticket_id: str) -> TicketWithHistory:
        """One ticket with its history."""
        return self._call(calls.get_ticket(ticket_id))

    def list_tickets(
        self, *, limit: int = 50, cursor: str | None = None, **filters: Unpack[TicketFilters]
    ) -> TicketPage:
        """A page of the tickets that pass the filters, newest first. Raises TypeError for an unknown filter."""
        return self._call(calls.list_tickets(limit, cursor, filters))

    def iterate_tickets(self, *, limit: int = 200, **filters: Unpack[TicketFilters]) -> Iterator[Ticket]:
        """All tickets that pass the filters, newest first, fetched in pages of `limit`. Raises as list_tickets."""
        page = self.list_tickets(limit=limit, **filters)
        yield from page.items
        while page.next is not None:
            page = self.list_tickets(limit=limit, cursor=page.next, **filters)
            yield from page.items

    def correct_ticket(
        self,
        ticket_id: str,
        *,
        by: str,
        labels: Mapping[str, str | Sequence[str]] | None = None,
        why: str | None = None,
    ) -> Ticket:
        """Say what the labels should be, by field of the prediction; without `labels` they are confirmed."""
        return self._call(calls.correct_ticket(ticket_id, by, labels, why))

    def erase_ticket(self, ticket_id: str) -> bool:
        """Erase a ticket and all that is kept of it; whether there was one (or, after a lost answer, still was)."""
        return self._call(calls.erase_ticket(ticket_id))

    def list_reviews(self, *, limit: int = 50) -> tuple[Ticket, ...]:
        """The beginning of the queue of tickets that wait for a person."""
        return self._call(calls.list_reviews(limit)).items

    def claim_reviews(self, *, by: str, limit: int = 1) -> tuple[Ticket, ...]:
        """Claim the next tickets of the queue for a reviewer; none when nothing waits."""
        return self._call(calls.claim_reviews(by, limit)).items

    def release_review(self, ticket_id: str, *, by: str) -> None:
        """Give a claimed ticket back to the queue."""
        self._call(calls.release_review(ticket_id, by))

    def check_reply(self, text: str, *, ticket_id: str | None = None) -> tuple[Finding, ...]:
        """What is wrong with an agent's draft, in its order; the causes of the ticket tell what else not to say."""
        return self._call(calls.check_reply(text, ticket_id)).findings

    def taxonomy(self) -> Taxonomy:
        """What the labels mean."""
        return self._call(calls.taxonomy())

    def models(self) -> tuple[Model, ...]:
        """The models that the service can answer with."""
        return self._call(calls.models()).models

    def ready(self) -> Readiness:
        """Which model answers. Repeated as any call while the service starts; `retries=0` asks once."""
        return self._call(calls.ready())

    def _call(self, call: Call[_T]) -> _T:
        trying = Trying(self._retries, self._patience)
        while True:
            outcome = self._send(call)
            pause = trying.pause_after(outcome)
            if pause is None:
                return call.result(outcome)
            self._sleep(pause)

    def _send(self, call: Call[Any]) -> Outcome:
        try:
            return self._http.request(call.method, call.path, content=call.body, headers=call.headers)
        except httpx.RequestError as error:
            return error


class AsyncClient:
    """`Client` for asyncio: the same methods, to be awaited; use it in an `async with` block, or close it."""

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str | None = None,
        timeout: float = 30.0,
        retries: int = 3,
        patience: float = 60.0,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
    ) -> None:
        """See Client."""
        self._http = httpx.AsyncClient(**_connection(base_url, api_key, timeout), transport=transport)
        self._retries, self._patience, self._sleep = retries, patience, sleep

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """See Client.close."""
        await self._http.aclose()

    async def classify(self, text: str, *, ticket_id: str | None = None) -> Prediction:
        """See Client.classify."""
        return await self._call(calls.classify(text, ticket_id))

    async def classify_batch(
        self, texts: Iterable[str], *, ids: Iterable[str | None] | None = None
    ) -> list[Prediction | Untaggable]:
        """See Client.classify_batch."""
        return [result for batch in calls.classify_batches(texts, ids) for result in (await self._call(batch)).results]

    async def post_ticket(
        self,
        ticket_id: str,
        text: str,
        *,
        channel: str | None = None,
        created_at: datetime | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Ticket:
        """See Client.post_ticket."""
        return await self._call(calls.post_ticket(ticket_id, text, channel, created_at, metadata))

    async def get_ticket(self, ticket_id: str) -> TicketWithHistory:
        """See Client.get_ticket."""
        return await self._call(calls.get_ticket(ticket_id))

    async def list_tickets(
        self, *, limit: int = 50, cursor: str | None = None, **filters: Unpack[TicketFilters]
    ) -> TicketPage:
        """See Client.list_tickets."""
        return await self._call(calls.list_tickets(limit, cursor, filters))

    async def iterate_tickets(self, *, limit: int = 200, **filters: Unpack[TicketFilters]) -> AsyncIterator[Ticket]:
        """See Client.iterate_tickets."""
        page = await self.list_tickets(limit=limit, **filters)
        for ticket in page.items:
            yield ticket
        while page.next is not None:
            page = await self.list_tickets(limit=limit, cursor=page.next, **filters)
            for ticket in page.items:
                yield ticket

    async def correct_ticket(
        self,
        ticket_id: str,
        *,
        by: str,
        labels: Mapping[str, str | Sequence[str]] | None = None,
        why: str | None = None,
    ) -> Ticket:
        """See Client.correct_ticket."""
        return await self._call(calls.correct_ticket(ticket_id, by, labels, why))

    async def erase_ticket(self, ticket_id: str) -> bool:
        """See Client.erase_ticket."""
        return await self._call(calls.erase_ticket(ticket_id))

    async def list_reviews(self, *, limit: int = 50) -> tuple[Ticket, ...]:
        """See Client.list_reviews."""
        return (await self._call(calls.list_reviews(limit))).items

    async def claim_reviews(self, *, by: str, limit: int = 1) -> tuple[Ticket, ...]:
        """See Client.claim_reviews."""
        return (await self._call(calls.claim_reviews(by, limit))).items

    async def release_review(self, ticket_id: str, *, by: str) -> None:
        """See Client.release_review."""
        await self._call(calls.release_review(ticket_id, by))

    async def check_reply(self, text: str, *, ticket_id: str | None = None) -> tuple[Finding, ...]:
        """See Client.check_reply."""
        return (await self._call(calls.check_reply(text, ticket_id))).findings

    async def taxonomy(self) -> Taxonomy:
        """See Client.taxonomy."""
        return await self._call(calls.taxonomy())

    async def models(self) -> tuple[Model, ...]:
        """See Client.models."""
        return (await self._call(calls.models())).models

    async def ready(self) -> Readiness:
        """See Client.ready."""
        return await self._call(calls.ready())

    async def _call(self, call: Call[_T]) -> _T:
        trying = Trying(self._retries, self._patience)
        while True:
            outcome = await self._send(call)
            pause = trying.pause_after(outcome)
            if pause is None:
                return call.result(outcome)
            await self._sleep(pause)

    async def _send(self, call: Call[Any]) -> Outcome:
        try:
            return await self._http.request(call.method, call.path, content=call.body, headers=call.headers)
        except httpx.RequestError as error:
            return error
