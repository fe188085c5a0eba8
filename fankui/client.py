"""A client of the HTTP service, for programs that wait (`Client`) and for asyncio (`AsyncClient`).

What is asked and how answers are read are pure functions; the two classes differ only in how they send and sleep.
Every call may be sent again without harm: reading and checking change nothing, a ticket is known by its id, and
whatever else writes carries an Idempotency-Key. So every call is tried again when the service is out of reach or busy.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from random import uniform
from time import monotonic, sleep
from typing import Annotated, Any, Generic, Self, TypedDict, TypeVar, Unpack
from urllib.parse import quote, urlencode
from uuid import uuid4

import anyio
import httpx
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fankui import __version__
from fankui.errors import FankuiError, describe
from fankui.tags import ScoredLabel, Tags, Untaggable
from fankui.taxonomy import Bilingual, Polarity, Taxonomy
from fankui.text import encodable

_T = TypeVar("_T")

_BATCH_ITEMS = 256
_BATCH_BYTES = 1_500_000
"""The service takes bodies of 2 MiB unless it is told otherwise."""
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 8.0
_BUSY = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
        # A proxy says these of a service that it did not reach.
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
_LOST = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)
_NO_TICKET = "urn:fankui:problem:no-such-ticket"


class _Answer(BaseModel):
    """Fields that this version does not know are left out, so that a newer service can be talked to."""

    model_config = ConfigDict(frozen=True)


class Prediction(Tags):
    """What the model says about one text. Fields beyond those of Tags are labels where they look so, else as sent."""

    __pydantic_extra__: dict[
        str, Annotated[ScoredLabel | tuple[ScoredLabel, ...] | Any, Field(union_mode="left_to_right")]
    ]


class HeldLabels(_Answer):
    """The labels that hold: the model's, or those of the last correction."""

    grade: int
    polarity: Polarity
    request: str
    causes: tuple[str, ...]


class Correction(_Answer):
    """What a person said of a ticket."""

    revision: int
    by: str
    why: str | None
    labels: dict[str, str | tuple[str, ...]]
    at: datetime


class Review(_Answer):
    """Why a person should look at a ticket (`uncertain`, `sample`; None: no need), and who has claimed it."""

    reason: str | None
    claimed_by: str | None
    claimed_until: datetime | None


class Guidance(_Answer):
    """How to deal with a cause."""

    cause: str
    name: Bilingual
    wants: tuple[Bilingual, ...]
    respond: tuple[Bilingual, ...]
    never_say: tuple[Bilingual, ...]


class Ticket(Prediction):
    """A stored ticket: the model's prediction, and what is known of the ticket."""

    id: str
    revision: int
    text: str
    channel: str | None
    metadata: dict[str, Any]
    created_at: datetime
    received_at: datetime
    classified_at: datetime
    labels: HeldLabels
    corrections: tuple[Correction, ...]
    review: Review
    guidance: tuple[Guidance, ...]


class EarlierRevision(_Answer):
    """A text that a ticket had before."""

    revision: int
    text: str
    prediction: Prediction
    classified_at: datetime


class TicketWithHistory(Ticket):
    """A ticket with its earlier revisions, oldest first."""

    history: tuple[EarlierRevision, ...]


class TicketPage(_Answer):
    """A part of a list; `next` is the `cursor` of the next page, None on the last one."""

    items: tuple[Ticket, ...]
    next: str | None


class TicketFilters(TypedDict, total=False):
    """Which tickets to list; None and what is left out let all pass. Times need an offset."""

    cause: str | None
    polarity: Polarity | None
    grade: int | None
    request: str | None
    needs_review: bool | None
    channel: str | None
    since: datetime | None
    until: datetime | None
    q: str | None


class Finding(_Answer):
    """A passage of a draft that had better not be sent; `end` is exclusive, both count characters as sent."""

    kind: str
    start: int
    end: int
    text: str
    severity: str
    why: Bilingual
    better: Bilingual


class Model(_Answer):
    """A model that the service can answer with."""

    version: str
    current: bool
    created: datetime
    taxonomy: str
    size_bytes: int
    metrics: dict[str, Any]


class Readiness(_Answer):
    """The service can answer, with the model of this version."""

    status: str
    model: str


class _Results(_Answer):
    results: tuple[Prediction | Untaggable, ...]


class _Items(_Answer):
    items: tuple[Ticket, ...]


class _Findings(_Answer):
    findings: tuple[Finding, ...]


class _Models(_Answer):
    models: tuple[Model, ...]


class Fault(_Answer):
    """What is wrong with one field of a request."""

    field: str
    message: str


class _Problem(_Answer):
    type: str
    title: str
    detail: str = ""
    errors: tuple[Fault, ...] | None = None


class ApiError(FankuiError):
    """The service, or a proxy before it, refused the request, or answered what cannot be read.

    `type` tells the kinds apart for programs (`about:blank`: the answer is not of Fankui), `errors` names the fields at
    fault, `request_id` the request in the service's log.
    """

    def __init__(
        self,
        status: int,
        type: str,  # noqa: A002 (named as in RFC 9457)
        title: str,
        detail: str,
        errors: Sequence[Fault] = (),
        request_id: str | None = None,
    ) -> None:
        super().__init__(status, type, title, detail, errors, request_id)  # All of them, or it could not be pickled.
        self.status = status
        self.type = type
        self.title = title
        self.detail = detail
        self.errors = tuple(errors)
        self.request_id = request_id

    def __str__(self) -> str:
        return f"{self.status} {self.title}: {self.detail}"


class UnreachableError(FankuiError):
    """The service did not answer."""


_Outcome = httpx.Response | httpx.RequestError


@dataclass(frozen=True)
class _Call(Generic[_T]):
    """A request, and how its answer is read; `read` raises ApiError."""

    method: str
    path: str
    read: Callable[[httpx.Response], _T]
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def result(self, outcome: _Outcome) -> _T:
        """Raises ApiError or UnreachableError."""
        if isinstance(outcome, httpx.Response):
            return self.read(outcome)
        server = outcome.request.url.netloc.decode()
        reason = f"{type(outcome).__name__}: {outcome}".removesuffix(": ")
        raise UnreachableError(
            f"{server} did not answer {self.method} {self.path} ({reason}); check base_url, and that the service runs."
        ) from outcome


def _json(content: Any) -> bytes:
    # Half of a surrogate pair has no UTF-8; as the escape `\ud83d` it reaches the service, which knows what to do.
    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _get(path: str, read: Callable[[httpx.Response], _T], **query: Any) -> _Call[_T]:
    return _Call("GET", f"{path}?{urlencode(query)}" if query else path, read)


def _post(path: str, read: Callable[[httpx.Response], _T], body: bytes, *, once: bool = False) -> _Call[_T]:
    """`once`: with a key by which the service recognises the call when it is sent again."""
    headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": str(uuid4())} if once else {})
    return _Call("POST", path, read, body, headers)


def _ticket_path(ticket_id: str) -> str:
    return f"/v1/tickets/{_segment(ticket_id)}"


def _segment(text: str) -> str:
    # Half of a surrogate pair is passed on as it is: U+FFFD in its place might be another ticket's id.
    segment = quote(text, safe="", errors="surrogatepass")
    # As they are, these would lead to other places.
    return segment.replace(".", "%2E") if segment in (".", "..") else segment


def _error(response: httpx.Response) -> ApiError | None:
    """What the answer complains of; None for one that does not."""
    if response.is_success:
        return None
    request_id = response.headers.get("X-Request-ID")
    try:
        problem = _Problem.model_validate_json(response.content)
    except ValidationError:
        title = response.reason_phrase or "No answer of Fankui"
        said = " ".join(response.text.split())[:200] or "the answer is empty."
        if response.has_redirect_location:
            said = f"the service is at {response.headers['Location']}; give its address as base_url."
        return ApiError(response.status_code, "about:blank", title, said, (), request_id)
    errors = problem.errors or ()
    return ApiError(response.status_code, problem.type, problem.title, problem.detail, errors, request_id)


def _reader(kind: type[_T]) -> Callable[[httpx.Response], _T]:
    adapter = TypeAdapter(kind)

    def read(response: httpx.Response) -> _T:
        if error := _error(response):
            raise error
        try:
            return adapter.validate_json(response.content)
        except ValidationError as invalid:
            detail = (
                "The answer is not what this version of the client knows; check base_url, or update fankui: "
                f"{describe(invalid)}"
            )
            request_id = response.headers.get("X-Request-ID")
            status = response.status_code
            raise ApiError(status, "about:blank", "The answer cannot be read", detail, (), request_id) from invalid

    return read


_read_prediction = _reader(Prediction)
_read_results = _reader(_Results)
_read_ticket = _reader(Ticket)
_read_ticket_with_history = _reader(TicketWithHistory)
_read_page = _reader(TicketPage)
_read_items = _reader(_Items)
_read_findings = _reader(_Findings)
_read_taxonomy = _reader(Taxonomy)
_read_models = _reader(_Models)
_read_readiness = _reader(Readiness)


def _read_nothing(response: httpx.Response) -> None:
    if error := _error(response):
        raise error


def _read_erased(response: httpx.Response) -> bool:
    error = _error(response)
    if error and error.type != _NO_TICKET:
        raise error
    return error is None


def _classify(text: str, ticket_id: str | None) -> _Call[Prediction]:
    return _post("/v1/classify", _read_prediction, _json(_given(text=text, id=ticket_id)))


def _classify_batches(texts: Iterable[str], ids: Iterable[str | None] | None) -> Iterator[_Call[_Results]]:
    """The texts in as few calls as the service's limits allow."""
    items: list[bytes] = []

    def call() -> _Call[_Results]:
        return _post("/v1/classify/batch", _read_results, b'{"items":[' + b",".join(items) + b"]}")

    pairs = zip(texts, ids, strict=True) if ids is not None else ((text, None) for text in texts)
    for text, ticket_id in pairs:
        item = _json(_given(text=text, id=ticket_id))
        if items and (len(items) == _BATCH_ITEMS or sum(map(len, items)) + len(item) > _BATCH_BYTES):
            yield call()
            items = []
        items.append(item)
    if items:
        yield call()


def _post_ticket(
    ticket_id: str, text: str, channel: str | None, created_at: datetime | None, metadata: Mapping[str, Any] | None
) -> _Call[Ticket]:
    sent = created_at.isoformat() if created_at else None
    new = _given(id=ticket_id, text=text, channel=channel, created_at=sent, metadata=metadata)
    return _post("/v1/tickets", _read_ticket, _json(new))


def _list_tickets(limit: int, cursor: str | None, filters: TicketFilters) -> _Call[TicketPage]:
    """Raises TypeError for a filter that there is not: the service would leave it unheeded."""
    if unknown := filters.keys() - TicketFilters.__annotations__.keys():
        known = ", ".join(TicketFilters.__annotations__)
        raise TypeError(f"There is no filter {sorted(unknown)[0]!r}; there are: {known}.")
    query = {name: _query_value(value) for name, value in _given(**filters, limit=limit, cursor=cursor).items()}
    return _get("/v1/tickets", _read_page, **query)


def _query_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bool):
        return str(value).lower()
    # Stored texts have U+FFFD for half of a surrogate pair, so that is what to look for.
    return encodable(value) if isinstance(value, str) else value


def _correct_ticket(
    ticket_id: str, by: str, labels: Mapping[str, str | Sequence[str]] | None, why: str | None
) -> _Call[Ticket]:
    body = _json(_given(by=by, labels=labels, why=why))
    return _post(f"{_ticket_path(ticket_id)}/corrections", _read_ticket, body, once=True)


def _claim_reviews(by: str, limit: int) -> _Call[_Items]:
    return _post("/v1/reviews/claim", _read_items, _json({"by": by, "limit": limit}), once=True)


def _release_review(ticket_id: str, by: str) -> _Call[None]:
    return _post(f"/v1/reviews/{_segment(ticket_id)}/release", _read_nothing, _json({"by": by}), once=True)


def _check_reply(text: str, ticket_id: str | None) -> _Call[_Findings]:
    return _post("/v1/replies/check", _read_findings, _json(_given(text=text, ticket_id=ticket_id)))


def _erase_ticket(ticket_id: str) -> _Call[bool]:
    return _Call("DELETE", _ticket_path(ticket_id), _read_erased)


class _Trying:
    """Whether and when one call is sent again."""

    def __init__(self, retries: int, patience: float) -> None:
        self._left = retries
        self._pause = _FIRST_PAUSE
        self._until = monotonic() + patience

    def pause_after(self, outcome: _Outcome) -> float | None:
        """Seconds to wait before the next attempt; None when this outcome is the last."""
        if not self._left or not _may_pass(outcome):
            return None
        told = _retry_after(outcome) if isinstance(outcome, httpx.Response) else None
        # Half of it by chance, so that clients which were refused together do not come back together.
        pause = self._pause * uniform(0.5, 1) if told is None else told
        if monotonic() + pause > self._until:
            return None
        self._left -= 1
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        return pause


def _may_pass(outcome: _Outcome) -> bool:
    """Whether the same request may succeed later."""
    if not isinstance(outcome, httpx.Response):
        return isinstance(outcome, _LOST)
    if outcome.status_code == HTTPStatus.CONFLICT:  # With the header: the call's first sending is still at work.
        return "Retry-After" in outcome.headers
    return outcome.status_code in _BUSY


def _retry_after(response: httpx.Response) -> float | None:
    """The header's seconds, or those until its date; None if there is none, or another thing in it."""
    value = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())


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
        return self._call(_classify(text, ticket_id))

    def classify_batch(
        self, texts: Iterable[str], *, ids: Iterable[str | None] | None = None
    ) -> list[Prediction | Untaggable]:
        """Classify any number of texts; one result each, in order, Untaggable for a text that shows nothing.

        Sent in batches that the service takes. Raises ValueError unless there are as many `ids` as texts.
        """
        return [result for batch in _classify_batches(texts, ids) for result in self._call(batch).results]

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
        return self._call(_post_ticket(ticket_id, text, channel, created_at, metadata))

    def get_ticket(self, ticket_id: str) -> TicketWithHistory:
        """One ticket with its history."""
        return self._call(_get(_ticket_path(ticket_id), _read_ticket_with_history))

    def list_tickets(
        self, *, limit: int = 50, cursor: str | None = None, **filters: Unpack[TicketFilters]
    ) -> TicketPage:
        """A page of the tickets that pass the filters, newest first. Raises TypeError for an unknown filter."""
        return self._call(_list_tickets(limit, cursor, filters))

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
        return self._call(_correct_ticket(ticket_id, by, labels, why))

    def erase_ticket(self, ticket_id: str) -> bool:
        """Erase a ticket and all that is kept of it; whether there was one (or, after a lost answer, still was)."""
        return self._call(_erase_ticket(ticket_id))

    def list_reviews(self, *, limit: int = 50) -> tuple[Ticket, ...]:
        """The beginning of the queue of tickets that wait for a person."""
        return self._call(_get("/v1/reviews", _read_items, limit=limit)).items

    def claim_reviews(self, *, by: str, limit: int = 1) -> tuple[Ticket, ...]:
        """Claim the next tickets of the queue for a reviewer; none when nothing waits."""
        return self._call(_claim_reviews(by, limit)).items

    def release_review(self, ticket_id: str, *, by: str) -> None:
        """Give a claimed ticket back to the queue."""
        self._call(_release_review(ticket_id, by))

    def check_reply(self, text: str, *, ticket_id: str | None = None) -> tuple[Finding, ...]:
        """What is wrong with an agent's draft, in its order; the causes of the ticket tell what else not to say."""
        return self._call(_check_reply(text, ticket_id)).findings

    def taxonomy(self) -> Taxonomy:
        """What the labels mean."""
        return self._call(_get("/v1/taxonomy", _read_taxonomy))

    def models(self) -> tuple[Model, ...]:
        """The models that the service can answer with."""
        return self._call(_get("/v1/models", _read_models)).models

    def ready(self) -> Readiness:
        """Which model answers. Repeated as any call while the service starts; `retries=0` asks once."""
        return self._call(_get("/readyz", _read_readiness))

    def _call(self, call: _Call[_T]) -> _T:
        trying = _Trying(self._retries, self._patience)
        while True:
            outcome = self._send(call)
            pause = trying.pause_after(outcome)
            if pause is None:
                return call.result(outcome)
            self._sleep(pause)

    def _send(self, call: _Call[Any]) -> _Outcome:
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
        return await self._call(_classify(text, ticket_id))

    async def classify_batch(
        self, texts: Iterable[str], *, ids: Iterable[str | None] | None = None
    ) -> list[Prediction | Untaggable]:
        """See Client.classify_batch."""
        return [result for batch in _classify_batches(texts, ids) for result in (await self._call(batch)).results]

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
        return await self._call(_post_ticket(ticket_id, text, channel, created_at, metadata))

    async def get_ticket(self, ticket_id: str) -> TicketWithHistory:
        """See Client.get_ticket."""
        return await self._call(_get(_ticket_path(ticket_id), _read_ticket_with_history))

    async def list_tickets(
        self, *, limit: int = 50, cursor: str | None = None, **filters: Unpack[TicketFilters]
    ) -> TicketPage:
        """See Client.list_tickets."""
        return await self._call(_list_tickets(limit, cursor, filters))

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
        return await self._call(_correct_ticket(ticket_id, by, labels, why))

    async def erase_ticket(self, ticket_id: str) -> bool:
        """See Client.erase_ticket."""
        return await self._call(_erase_ticket(ticket_id))

    async def list_reviews(self, *, limit: int = 50) -> tuple[Ticket, ...]:
        """See Client.list_reviews."""
        return (await self._call(_get("/v1/reviews", _read_items, limit=limit))).items

    async def claim_reviews(self, *, by: str, limit: int = 1) -> tuple[Ticket, ...]:
        """See Client.claim_reviews."""
        return (await self._call(_claim_reviews(by, limit))).items

    async def release_review(self, ticket_id: str, *, by: str) -> None:
        """See Client.release_review."""
        await self._call(_release_review(ticket_id, by))

    async def check_reply(self, text: str, *, ticket_id: str | None = None) -> tuple[Finding, ...]:
        """See Client.check_reply."""
        return (await self._call(_check_reply(text, ticket_id))).findings

    async def taxonomy(self) -> Taxonomy:
        """See Client.taxonomy."""
        return await self._call(_get("/v1/taxonomy", _read_taxonomy))

    async def models(self) -> tuple[Model, ...]:
        """See Client.models."""
        return (await self._call(_get("/v1/models", _read_models))).models

    async def ready(self) -> Readiness:
        """See Client.ready."""
        return await self._call(_get("/readyz", _read_readiness))

    async def _call(self, call: _Call[_T]) -> _T:
        trying = _Trying(self._retries, self._patience)
        while True:
            outcome = await self._send(call)
            pause = trying.pause_after(outcome)
            if pause is None:
                return call.result(outcome)
            await self._sleep(pause)

    async def _send(self, call: _Call[Any]) -> _Outcome:
        try:
            return await self._http.request(call.method, call.path, content=call.body, headers=call.headers)
        except httpx.RequestError as error:
            return error
