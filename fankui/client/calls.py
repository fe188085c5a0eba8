"""What is asked, and how the answers are read: a function for each kind of call, which both clients share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypedDict, TypeVar
from urllib.parse import quote, urlencode
from uuid import uuid4

import httpx
from pydantic import TypeAdapter, ValidationError

from fankui.client.answers import (
    Findings,
    Items,
    Models,
    Prediction,
    Problem,
    Readiness,
    Results,
    Ticket,
    TicketPage,
    TicketWithHistory,
)
from fankui.client.errors import ApiError, UnreachableError
from fankui.errors import describe
from fankui.taxonomy import Polarity, Taxonomy
from fankui.text import encodable

_T = TypeVar("_T")

_BATCH_ITEMS = 256
_BATCH_BYTES = 1_500_000
"""The service takes bodies of 2 MiB unless it is told otherwise."""
_NO_TICKET = "urn:fankui:problem:no-such-ticket"

Outcome = httpx.Response | httpx.RequestError
"""What sending a call leads to."""


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


@dataclass(frozen=True)
class Call(Generic[_T]):
    """A request, and how its answer is read; `read` raises ApiError."""

    method: str
    path: str
    read: Callable[[httpx.Response], _T]
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def result(self, outcome: Outcome) -> _T:
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


def _get(path: str, read: Callable[[httpx.Response], _T], **query: Any) -> Call[_T]:
    return Call("GET", f"{path}?{urlencode(query)}" if query else path, read)


def _post(path: str, read: Callable[[httpx.Response], _T], body: bytes, *, once: bool = False) -> Call[_T]:
    """`once`: with a key by which the service recognises the call when it is sent again."""
    headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": str(uuid4())} if once else {})
    return Call("POST", path, read, body, headers)


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
        problem = Problem.model_validate_json(response.content)
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
_read_results = _reader(Results)
_read_ticket = _reader(Ticket)
_read_ticket_with_history = _reader(TicketWithHistory)
_read_page = _reader(TicketPage)
_read_items = _reader(Items)
_read_findings = _reader(Findings)
_read_taxonomy = _reader(Taxonomy)
_read_models = _reader(Models)
_read_readiness = _reader(Readiness)


def _read_nothing(response: httpx.Response) -> None:
    if error := _error(response):
        raise error


def _read_erased(response: httpx.Response) -> bool:
    error = _error(response)
    if error and error.type != _NO_TICKET:
        raise error
    return error is None


def classify(text: str, ticket_id: str | None) -> Call[Prediction]:
    """Classify one text."""
    return _post("/v1/classify", _read_prediction, _json(_given(text=text, id=ticket_id)))


def classify_batches(texts: Iterable[str], ids: Iterable[str | None] | None) -> Iterator[Call[Results]]:
    """The texts in as few calls as the service's limits allow."""
    items: list[bytes] = []

    def call() -> Call[Results]:
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


def post_ticket(
    ticket_id: str, text: str, channel: str | None, created_at: datetime | None, metadata: Mapping[str, Any] | None
) -> Call[Ticket]:
    """Classify and store a ticket."""
    sent = created_at.isoformat() if created_at else None
    new = _given(id=ticket_id, text=text, channel=channel, created_at=sent, metadata=metadata)
    return _post("/v1/tickets", _read_ticket, _json(new))


def get_ticket(ticket_id: str) -> Call[TicketWithHistory]:
    """One ticket with its history."""
    return _get(_ticket_path(ticket_id), _read_ticket_with_history)


def list_tickets(limit: int, cursor: str | None, filters: TicketFilters) -> Call[TicketPage]:
    """A page of tickets. Raises TypeError for a filter that there is not: the service would leave it unheeded."""
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


def correct_ticket(
    ticket_id: str, by: str, labels: Mapping[str, str | Sequence[str]] | None, why: str | None
) -> Call[Ticket]:
    """Correct a ticket's labels, or confirm them."""
    body = _json(_given(by=by, labels=labels, why=why))
    return _post(f"{_ticket_path(ticket_id)}/corrections", _read_ticket, body, once=True)


def erase_ticket(ticket_id: str) -> Call[bool]:
    """Erase a ticket; the result is whether there was one."""
    return Call("DELETE", _ticket_path(ticket_id), _read_erased)


def list_reviews(limit: int) -> Call[Items]:
    """The beginning of the queue of tickets that wait for a person."""
    return _get("/v1/reviews", _read_items, limit=limit)


def claim_reviews(by: str, limit: int) -> Call[Items]:
    """Claim the next tickets of the queue."""
    return _post("/v1/reviews/claim", _read_items, _json({"by": by, "limit": limit}), once=True)


def release_review(ticket_id: str, by: str) -> Call[None]:
    """Give a claimed ticket back."""
    return _post(f"/v1/reviews/{_segment(ticket_id)}/release", _read_nothing, _json({"by": by}), once=True)


def check_reply(text: str, ticket_id: str | None) -> Call[Findings]:
    """Check an agent's draft."""
    return _post("/v1/replies/check", _read_findings, _json(_given(text=text, ticket_id=ticket_id)))


def taxonomy() -> Call[Taxonomy]:
    """What the labels mean."""
    return _get("/v1/taxonomy", _read_taxonomy)


def models() -> Call[Models]:
    """The models that the service can answer with."""
    return _get("/v1/models", _read_models)


def ready() -> Call[Readiness]:
    """Which model answers."""
    return _get("/readyz", _read_readiness)
