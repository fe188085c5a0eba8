"""The client against a scripted service, and against the real one: over a socket (Client), in process (AsyncClient)."""

from __future__ import annotations

import asyncio
import inspect
import json
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from itertools import chain, cycle, repeat
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from anyio.from_thread import start_blocking_portal
from fastapi import FastAPI

from fankui import Tagger
from fankui.client import ApiError, AsyncClient, Client, Prediction, TicketWithHistory, UnreachableError
from fankui.tags import ScoredLabel, Tags, Untaggable
from fankui.taxonomy import Taxonomy
from service.api import examples
from service.app import create_app
from service.settings import Settings

ROOT = Path(__file__).parents[2]
URL = "http://fankui.test"
TEXT = "说好周一上门，等到周三也没人来，打电话也没人接"
CUT = "太慢了\ud83d"
KINDS = ["Client", "AsyncClient"]
Call = Callable[..., Any]
"""Calls a method of a client by name, whichever client it is, and waits for all that it gives."""


async def _awaited(client: AsyncClient, method: str, *args: Any, **kwargs: Any) -> Any:
    found = getattr(client, method)(*args, **kwargs)
    return [ticket async for ticket in found] if inspect.isasyncgen(found) else await found


def _waited(client: Client, method: str, *args: Any, **kwargs: Any) -> Any:
    found = getattr(client, method)(*args, **kwargs)
    return list(found) if inspect.isgenerator(found) else found


class Script:
    """A client whose service answers as scripted, and whose pauses are noted instead of slept."""

    def __init__(self, kind: str) -> None:
        self.requests: list[httpx.Request] = []
        self.pauses: list[float] = []
        self.now = 0.0
        self._kind = kind
        self._answers: Iterator[httpx.Response | httpx.TransportError] = iter(())
        self._settings: dict[str, Any] = {}

    def answers(self, *answers: httpx.Response | httpx.TransportError, **settings: Any) -> Call:
        """The last answer is given for ever."""
        self._answers = chain(answers, repeat(answers[-1]))
        self._settings = {"base_url": URL, "transport": httpx.MockTransport(self._answer)} | settings
        return self._call

    def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        if self._kind == "Client":
            with Client(**self._settings, sleep=self._pause) as client:
                return _waited(client, method, *args, **kwargs)

        async def pause(seconds: float) -> None:
            self._pause(seconds)

        async def work() -> Any:
            async with AsyncClient(**self._settings, sleep=pause) as client:
                return await _awaited(client, method, *args, **kwargs)

        return asyncio.run(work())

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = next(self._answers)
        if isinstance(answer, httpx.TransportError):
            raise answer
        # A response can be read once.
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


@pytest.fixture(params=KINDS)
def script(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Script:
    found = Script(request.param)
    monkeypatch.setattr("fankui.client.retry.monotonic", lambda: found.now)
    return found


TAGS = httpx.Response(200, json=examples.TAGS)
TICKET = httpx.Response(200, json=examples.TICKET)
HISTORY = httpx.Response(200, json=examples.TICKET | {"history": []})
PAGE = httpx.Response(200, json={"items": [examples.TICKET], "next": None})
FINDINGS = httpx.Response(200, json=examples.CHECKED)
NOTHING = httpx.Response(204)
TAXONOMY = httpx.Response(200, text=Taxonomy.load(ROOT / "data" / "taxonomy.yaml").model_dump_json())

# Each method with arguments, its answer, and whether it needs a key by which a repetition is recognised.
METHODS: dict[str, tuple[tuple[Any, ...], dict[str, Any], httpx.Response, bool]] = {
    "classify": ((CUT,), {"ticket_id": "T-1"}, TAGS, False),
    "classify_batch": (([CUT],), {"ids": ["T-1"]}, httpx.Response(200, json={"results": [examples.TAGS]}), False),
    "post_ticket": (("T-1", CUT), {"channel": "热线", "metadata": {"店": CUT}}, TICKET, False),
    "get_ticket": (("T-1",), {}, HISTORY, False),
    "list_tickets": ((), {"q": CUT}, PAGE, False),
    "iterate_tickets": ((), {"q": CUT}, PAGE, False),
    "correct_ticket": (("T-1",), {"by": "li.na", "labels": {"causes": []}, "why": CUT}, TICKET, True),
    "erase_ticket": (("T-1",), {}, NOTHING, False),
    "list_reviews": ((), {"limit": 3}, PAGE, False),
    "claim_reviews": ((), {"by": "li.na", "limit": 2}, PAGE, True),
    "release_review": (("T-1",), {"by": "li.na"}, NOTHING, True),
    "check_reply": ((CUT,), {"ticket_id": "T-1"}, FINDINGS, False),
    "taxonomy": ((), {}, TAXONOMY, False),
    "models": ((), {}, httpx.Response(200, json=examples.MODELS), False),
    "ready": ((), {}, httpx.Response(200, json={"status": "ready", "model": "2026.11.0"}), False),
}


def _busy(status: int = 503, **headers: str) -> httpx.Response:
    problem = {"type": "urn:fankui:problem:overloaded", "title": "The service has too much to do", "detail": "Wait."}
    return httpx.Response(status, json=problem | {"status": status}, headers=headers)


def test_both_clients_have_the_same_methods_and_this_file_calls_them_all() -> None:
    def methods(client: type) -> dict[str, list[inspect.Parameter]]:
        found = inspect.getmembers(client, inspect.isfunction)
        return {n: list(inspect.signature(f).parameters.values()) for n, f in found if not n.startswith("_")}

    assert methods(Client) == methods(AsyncClient)
    assert methods(Client).keys() - {"close"} == METHODS.keys()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("failure", [_busy(503), _busy(429), httpx.ReadError("reset")], ids=["503", "429", "lost"])
def test_every_call_is_repeated_unchanged(
    script: Script, method: str, failure: httpx.Response | httpx.TransportError
) -> None:
    args, kwargs, answer, keyed = METHODS[method]
    script.answers(failure, failure, answer)(method, *args, **kwargs)
    assert len(script.requests) == 3
    assert len({(r.method, str(r.url), r.content, str(r.headers)) for r in script.requests}) == 1
    assert ("Idempotency-Key" in script.requests[0].headers) is keyed


def test_each_call_has_its_own_idempotency_key(script: Script) -> None:
    call = script.answers(PAGE)
    for _ in range(2):
        call("claim_reviews", by="li.na")
    first, second = (request.headers["Idempotency-Key"] for request in script.requests)
    assert first != second


def test_retry_after_in_seconds_is_honoured(script: Script) -> None:
    script.answers(_busy(429, **{"Retry-After": "7"}), _busy(503, **{"Retry-After": "0"}), TAGS)("classify", TEXT)
    assert script.pauses == [7.0, 0.0]


@pytest.mark.parametrize(("seconds", "least", "most"), [(40, 1, 40), (-40, 0, 0)])
def test_retry_after_as_a_date_is_honoured(script: Script, seconds: int, least: float, most: float) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    script.answers(_busy(503, **{"Retry-After": date}), TAGS)("classify", TEXT)
    (pause,) = script.pauses
    assert least <= pause <= most


@pytest.mark.parametrize("value", ["", "soon", "-5", "1.5", "nan", "9" * 30])
def test_any_other_retry_after_leads_to_the_usual_pause(script: Script, value: str) -> None:
    refusal = _busy(503)
    refusal.headers["Retry-After"] = value
    script.answers(refusal, TAGS)("classify", TEXT)
    (pause,) = script.pauses
    assert 0.25 <= pause <= 0.5


def test_pauses_grow_up_to_a_limit_and_are_spread_by_chance(script: Script) -> None:
    call = script.answers(_busy(), retries=7)
    for _ in range(2):
        with pytest.raises(ApiError):
            call("classify", TEXT)
    for pause, most in zip(script.pauses, cycle([0.5, 1, 2, 4, 8, 8, 8]), strict=False):
        assert most / 2 <= pause <= most
    assert script.pauses[:7] != script.pauses[7:]


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_it_gives_up_after_so_many_retries(script: Script, retries: int) -> None:
    with pytest.raises(ApiError) as refused:
        script.answers(_busy(), retries=retries)("classify", TEXT)
    assert (refused.value.status, refused.value.type) == (503, "urn:fankui:problem:overloaded")
    assert len(script.requests) == retries + 1


def test_it_does_not_wait_beyond_its_patience(script: Script) -> None:
    with pytest.raises(ApiError):
        script.answers(_busy(503, **{"Retry-After": "25"}), retries=9, patience=60)("classify", TEXT)
    assert script.pauses == [25, 25]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 415, 422, 500])
def test_what_cannot_succeed_later_is_not_repeated(script: Script, status: int) -> None:
    with pytest.raises(ApiError) as refused:
        script.answers(_busy(status))("classify", TEXT)
    assert refused.value.status == status
    assert len(script.requests) == 1


def test_a_call_whose_first_sending_is_still_at_work_is_repeated(script: Script) -> None:
    script.answers(httpx.ReadTimeout("slow"), _busy(409, **{"Retry-After": "1"}), PAGE)("claim_reviews", by="li.na")
    assert len(script.requests) == 3
    assert script.pauses[1] == 1


@pytest.mark.parametrize("failure", [httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError])
def test_a_service_out_of_reach_is_told_in_plain_words(script: Script, failure: type[httpx.TransportError]) -> None:
    with pytest.raises(UnreachableError, match=r"fankui\.test did not answer GET /v1/models .*no such luck") as lost:
        script.answers(failure("no such luck"))("models")
    assert len(script.requests) == 4
    assert isinstance(lost.value.__cause__, failure)


def test_a_request_that_httpx_refuses_is_not_repeated(script: Script) -> None:
    with pytest.raises(UnreachableError):
        script.answers(httpx.LocalProtocolError("malformed"))("models")
    assert len(script.requests) == 1


def test_an_erasure_whose_answer_was_lost_ends_well(script: Script) -> None:
    gone = httpx.Response(404, json={"type": "urn:fankui:problem:no-such-ticket", "title": "None", "detail": "Gone."})
    assert script.answers(NOTHING)("erase_ticket", "T-1") is True
    assert script.answers(httpx.ReadError("reset"), gone)("erase_ticket", "T-1") is False
    with pytest.raises(ApiError):
        script.answers(httpx.Response(404, text="nothing here"))("erase_ticket", "T-1")


def test_a_problem_is_told_with_all_its_parts(script: Script) -> None:
    problem = {
        "type": "urn:fankui:problem:invalid-request",
        "title": "The request is not valid",
        "status": 422,
        "detail": "text: This is required.",
        "errors": [{"field": "text", "message": "This is required.", "hint": "new"}],
        "instance": "/later",
    }
    with pytest.raises(ApiError) as refused:
        script.answers(httpx.Response(422, json=problem, headers={"X-Request-ID": "abc"}))("classify", TEXT)
    for error in (refused.value, pickle.loads(pickle.dumps(refused.value))):
        assert str(error) == "422 The request is not valid: text: This is required."
        assert (error.status, error.type, error.request_id) == (422, problem["type"], "abc")
        assert [(fault.field, fault.message) for fault in error.errors] == [("text", "This is required.")]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (httpx.Response(502, html="<h1>Bad\n gateway</h1>"), "502 Bad Gateway: <h1>Bad gateway</h1>"),
        (httpx.Response(500), "500 Internal Server Error: the answer is empty."),
        (httpx.Response(599, content=b"\xff\xfe{"), "599 No answer of Fankui: "),
        (httpx.Response(403, json={"message": "blocked"}), '403 Forbidden: {"message":"blocked"}'),
        (httpx.Response(404, json=["nothing"]), "404 Not Found: "),
        (httpx.Response(308, headers={"Location": "https://f.test/"}), "is at https://f.test/; give its address"),
    ],
)
def test_an_error_page_of_something_else_is_told_too(script: Script, answer: httpx.Response, says: str) -> None:
    with pytest.raises(ApiError) as refused:
        script.answers(answer, retries=0)("classify", TEXT)
    assert says in str(refused.value)
    assert refused.value.type == "about:blank"


@pytest.mark.parametrize("answer", [httpx.Response(200, html="<h1>Welcome</h1>"), httpx.Response(200, json={"a": 1})])
def test_a_success_that_cannot_be_read_is_an_error(script: Script, answer: httpx.Response) -> None:
    with pytest.raises(ApiError, match="check base_url, or update fankui"):
        script.answers(answer)("classify", TEXT)


def test_fields_of_a_newer_service_do_not_hinder(script: Script) -> None:
    newer = {
        **examples.TICKET,
        "channel_group": {"name": "voice"},
        "urgency": {"label": "high", "score": 0.7},
        "emotions": [{"label": "anger", "score": 0.6}],
        "labels": examples.TICKET["labels"] | {"urgency": "high"},
        "review": examples.TICKET["review"] | {"reason": "drift", "team": "B"},
        "history": [],
    }
    ticket = script.answers(httpx.Response(200, json=newer))("get_ticket", "T-1")
    assert isinstance(ticket, TicketWithHistory) and isinstance(ticket, Tags)
    assert ticket.review.reason == "drift"
    assert ticket.model_extra == {
        "channel_group": {"name": "voice"},
        "urgency": ScoredLabel(label="high", score=0.7),
        "emotions": (ScoredLabel(label="anger", score=0.6),),
    }


def test_the_key_goes_with_every_request(script: Script) -> None:
    script.answers(TAGS, api_key="fk_abc_def\n")("classify", TEXT)
    script.answers(TAGS)("classify", TEXT)
    assert [request.headers.get("Authorization") for request in script.requests] == ["Bearer fk_abc_def", None]


@pytest.mark.parametrize("settings", [{"api_key": ""}, {"api_key": "密钥"}, {"api_key": "fk_a\nb"}, {"api_key": "a b"}])
def test_what_cannot_be_a_key_is_refused_without_being_shown(script: Script, settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="api_key must be") as refused:
        script.answers(TAGS, **settings)("classify", TEXT)
    assert "密钥" not in str(refused.value)


@pytest.mark.parametrize("base_url", ["", "fankui.test", "ftp://fankui.test", "http://", "http://[::"])
def test_what_cannot_be_an_address_is_refused(script: Script, base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        script.answers(TAGS, base_url=base_url)("classify", TEXT)


@pytest.mark.parametrize("base_url", ["https://example.test/fankui", "https://example.test/fankui/"])
def test_the_service_may_live_below_a_path(script: Script, base_url: str) -> None:
    script.answers(TAGS, base_url=base_url)("classify", TEXT)
    assert str(script.requests[0].url) == "https://example.test/fankui/v1/classify"


@pytest.mark.parametrize(
    ("ticket_id", "path"),
    [
        ("zendesk:1", "zendesk%3A1"),
        ("2026/7", "2026%2F7"),
        ("单 号?#", "%E5%8D%95%20%E5%8F%B7%3F%23"),
        ("a%2F", "a%252F"),
        ("..", "%2E%2E"),
    ],
)
def test_any_id_is_one_segment_of_the_path(script: Script, ticket_id: str, path: str) -> None:
    script.answers(HISTORY)("get_ticket", ticket_id)
    assert script.requests[0].url.raw_path.decode() == f"/v1/tickets/{path}"


def test_half_a_surrogate_pair_is_sent_as_json_spells_it(script: Script) -> None:
    script.answers(TAGS)("classify", CUT)
    assert json.loads(script.requests[0].content) == {"text": CUT}


def test_a_number_that_json_does_not_have_is_refused(script: Script) -> None:
    with pytest.raises(ValueError, match="JSON"):
        script.answers(TICKET)("post_ticket", "T-1", TEXT, metadata={"score": float("nan")})


def test_times_are_sent_with_their_offset_and_only_what_is_given(script: Script) -> None:
    at = datetime.fromisoformat("2026-11-25T11:10:00+08:00")
    script.answers(TICKET)("post_ticket", "T-1", TEXT, created_at=at)
    assert json.loads(script.requests[0].content) == {"id": "T-1", "text": TEXT, "created_at": at.isoformat()}


def test_a_list_is_asked_for_with_its_filters(script: Script) -> None:
    since = datetime.fromisoformat("2026-11-01T00:00:00+08:00")
    script.answers(PAGE)(
        "list_tickets", cause="broken_promise", grade=1, needs_review=False, since=since, q="三天 到货", channel=None
    )
    assert dict(script.requests[0].url.params) == {
        "cause": "broken_promise",
        "grade": "1",
        "needs_review": "false",
        "since": "2026-11-01T00:00:00+08:00",
        "q": "三天 到货",
        "limit": "50",
    }


def test_all_pages_are_fetched_with_the_same_filters(script: Script) -> None:
    pages = [
        httpx.Response(200, json={"items": [examples.TICKET | {"id": str(n)}] * n, "next": cursor})
        for n, cursor in ((2, "dDQx"), (0, "dDQw"), (1, None))
    ]
    found = script.answers(*pages)("iterate_tickets", limit=2, polarity="negative")
    assert [ticket.id for ticket in found] == ["2", "2", "1"]
    assert [request.url.params.get("cursor") for request in script.requests] == [None, "dDQx", "dDQw"]
    assert {request.url.params["polarity"] for request in script.requests} == {"negative"}


@pytest.mark.parametrize("method", ["list_tickets", "iterate_tickets"])
def test_a_filter_that_there_is_not_is_refused(script: Script, method: str) -> None:
    with pytest.raises(TypeError, match="There is no filter 'casue'; there are: cause, polarity"):
        script.answers(PAGE)(method, casue="broken_promise")


class _Echo(httpx.MockTransport):
    """Answers a batch with results that name the items, as far as the service would take it."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.sizes: list[int] = []

    def _answer(self, request: httpx.Request) -> httpx.Response:
        assert len(request.content) <= 2 * 1024 * 1024
        items = json.loads(request.content)["items"]
        self.sizes.append(len(items))
        return httpx.Response(
            200, json={"results": [{"id": item.get("id"), "note": item["text"][:9]} for item in items]}
        )


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (1, [1]), (256, [256]), (600, [256, 256, 88])])
def test_long_lists_are_sent_in_batches(script: Script, count: int, sizes: list[int]) -> None:
    echo = _Echo()
    texts = (f"第{n}条" for n in range(count))
    results = script.answers(TAGS, transport=echo)("classify_batch", texts, ids=map(str, range(count)))
    assert results == [Untaggable(id=str(n), note=f"第{n}条") for n in range(count)]
    assert echo.sizes == sizes


def test_batches_of_long_texts_are_smaller(script: Script) -> None:
    echo = _Echo()
    results = script.answers(TAGS, transport=echo)("classify_batch", [f"{n:03}" + "慢" * 19_997 for n in range(100)])
    assert [result.note[:3] for result in results] == [f"{n:03}" for n in range(100)]
    assert len(echo.sizes) > 2 and max(echo.sizes) > 10


def test_there_must_be_as_many_ids_as_texts(script: Script) -> None:
    with pytest.raises(ValueError, match="shorter"):
        script.answers(TAGS)("classify_batch", [TEXT, TEXT], ids=["T-1"])


@contextmanager
def _listening(app: FastAPI) -> Iterator[str]:
    """The application behind a socket; gives its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    started = threading.Event()
    startup = server.startup

    async def told(*args: Any, **kwargs: Any) -> None:
        await startup(*args, **kwargs)
        started.set()

    server.startup = told  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert started.wait(60)
        host, port = server.servers[0].sockets[0].getsockname()
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def _called_over_a_socket(app: FastAPI) -> Iterator[Call]:
    with _listening(app) as address, Client(base_url=address) as client:
        yield partial(_waited, client)


@contextmanager
def _called_in_process(app: FastAPI) -> Iterator[Call]:
    client = AsyncClient(base_url=URL, transport=httpx.ASGITransport(app))
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(app.router.lifespan_context(app)),
        portal.wrap_async_context_manager(client),
    ):
        yield lambda *args, **kwargs: portal.call(partial(_awaited, client, *args, **kwargs))


def _settings(bundle: Path, folder: Path, **others: Any) -> Settings:
    url = f"sqlite:///{folder / 'fankui.db'}"
    usual: dict[str, Any] = {
        "model": bundle,
        "threads": 1,
        "development": True,
        "review_sample": 1,
        "database_url": url,
    }
    return Settings(**(usual | others))


@pytest.fixture(scope="module", params=KINDS)
def call(request: pytest.FixtureRequest, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Call]:
    app = create_app(_settings(tiny_bundle, tmp_path_factory.mktemp("client")))
    start = _called_over_a_socket if request.param == "Client" else _called_in_process
    with start(app) as called:
        assert called("ready").status == "ready"  # Repeated until the model is loaded.
        yield called


def test_the_service_says_what_it_is(call: Call, tagger: Tagger) -> None:
    assert call("ready").model == tagger.bundle.manifest.version
    assert call("taxonomy") == tagger.bundle.taxonomy
    (model,) = call("models")
    assert (model.version, model.created, model.current) == ("0.0.1", tagger.bundle.manifest.created, True)


def test_texts_are_classified_as_the_engine_does(call: Call, tagger: Tagger) -> None:
    texts = [TEXT, " ", "师傅手艺好，收费也公道"]
    expected = [result.model_dump() for result in tagger.tag(texts, ids=["a", None, "c"])]
    results = call("classify_batch", texts, ids=["a", None, "c"])
    assert [result.model_dump() for result in results] == expected
    assert [type(result) for result in results] == [Prediction, Untaggable, Prediction]
    (alone,) = tagger.tag([TEXT], ids=["a"])
    assert call("classify", TEXT, ticket_id="a").model_dump() == alone.model_dump()


def test_a_ticket_is_stored_found_corrected_and_erased(call: Call) -> None:
    at = datetime(2026, 11, 25, 3, 10, tzinfo=UTC)
    first = call("post_ticket", "life:1", TEXT, channel="热线", created_at=at, metadata={"产品": "宽带", "n": [1, 2]})
    assert (first.id, first.revision, first.channel, first.created_at) == ("life:1", 1, "热线", at)
    assert first.metadata == {"产品": "宽带", "n": [1, 2]}
    assert call("post_ticket", "life:1", TEXT) == first
    second = call("post_ticket", "life:1", TEXT + "！", channel="热线", created_at=at)

    corrected = call("correct_ticket", "life:1", by="li.na", labels={"causes": ["broken_promise"]}, why="承诺没兑现")
    assert corrected.labels.causes == ("broken_promise",)
    assert [(entry.by, entry.why, entry.labels) for entry in corrected.corrections] == [
        ("li.na", "承诺没兑现", {"causes": ("broken_promise",)})
    ]
    assert [cause.name.zh for cause in corrected.guidance] and corrected.review.reason is None

    whole = call("get_ticket", "life:1")
    assert (whole.revision, whole.causes, whole.labels) == (2, second.causes, corrected.labels)
    assert [(earlier.revision, earlier.text) for earlier in whole.history] == [(1, TEXT)]
    assert whole.history[0].prediction.causes == first.causes

    page = call("list_tickets", cause="broken_promise", channel="热线", since=at, until=at + timedelta(seconds=1))
    assert [ticket.id for ticket in page.items] == ["life:1"]
    assert call("list_tickets", channel="热线", needs_review=True).items == ()

    assert call("erase_ticket", "life:1") is True
    assert call("erase_ticket", "life:1") is False
    with pytest.raises(ApiError, match=r"404 .*'life:1'") as refused:
        call("get_ticket", "life:1")
    assert refused.value.type == "urn:fankui:problem:no-such-ticket"


def test_all_tickets_are_iterated_newest_first(call: Call) -> None:
    ids = [f"page-{n}" for n in range(5)]
    for ticket_id in ids:
        call("post_ticket", ticket_id, f"{ticket_id}：还没到货", channel="pages")
    assert [ticket.id for ticket in call("iterate_tickets", limit=2, channel="pages")] == ids[::-1]
    first = call("list_tickets", limit=2, channel="pages")
    second = call("list_tickets", limit=2, channel="pages", cursor=first.next)
    assert [ticket.id for ticket in (*first.items, *second.items)] == ids[:0:-1]


def test_reviews_are_claimed_released_and_claimed_by_another(call: Call) -> None:
    call("post_ticket", "review", "修了三次还是漏水")
    waiting = call("list_reviews", limit=200)
    assert "review" in {ticket.id for ticket in waiting}
    mine = call("claim_reviews", by="li.na", limit=50)
    assert {ticket.id for ticket in mine} == {ticket.id for ticket in waiting}
    assert all(ticket.review.claimed_by == "li.na" for ticket in mine)
    assert call("list_reviews") == () == call("claim_reviews", by="wang.wei")
    call("release_review", "review", by="li.na")
    assert [ticket.id for ticket in call("claim_reviews", by="wang.wei", limit=9)] == ["review"]
    with pytest.raises(ApiError) as refused:
        call("release_review", "review", by="li.na")
    assert refused.value.type == "urn:fankui:problem:not-claimed"
    assert call("correct_ticket", "review", by="wang.wei").review.claimed_by is None


def test_a_draft_is_checked(call: Call) -> None:
    draft = "这是公司规定，我也没办法。"
    findings = call("check_reply", draft)
    assert findings and all(draft[found.start : found.end] == found.text for found in findings)
    assert call("check_reply", "给您添麻烦了，今天下午三点前我们给您装好。") == ()


def test_half_a_surrogate_pair_anywhere_is_answered(call: Call) -> None:
    assert call("classify", CUT).sentiment
    assert call("post_ticket", "cut", CUT, metadata={"说": CUT}).text == "太慢了\ufffd"
    assert call("list_tickets", q=CUT).items[0].id == "cut"
    for method, args in (("post_ticket", ("\ud83d", TEXT)), ("get_ticket", ("\ud83d",)), ("classify", (" ",))):
        with pytest.raises(ApiError):
            call(method, *args)
    assert call("erase_ticket", "\ud83d") is False


class _LosesTheFirstAnswer(httpx.HTTPTransport):
    """Lets the service work, but loses the answer to each request's first sending."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[bytes] = set()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        content = request.read()
        if content in self._seen:
            return response
        self._seen.add(content)
        response.close()
        raise httpx.ReadError("the answer was lost", request=request)


def test_a_write_whose_answer_was_lost_is_done_once(tiny_bundle: Path, tmp_path: Path) -> None:
    app = create_app(_settings(tiny_bundle, tmp_path))
    with (
        _listening(app) as address,
        Client(base_url=address, transport=_LosesTheFirstAnswer(), sleep=lambda _: None, retries=1) as lossy,
        Client(base_url=address) as client,
    ):
        client.ready()
        assert lossy.post_ticket("T-1", TEXT).revision == 1
        assert [ticket.id for ticket in lossy.claim_reviews(by="li.na")] == ["T-1"]
        lossy.release_review("T-1", by="li.na")
        assert len(lossy.correct_ticket("T-1", by="li.na", why="看过").corrections) == 1
        assert [correction.why for correction in client.get_ticket("T-1").corrections] == ["看过"]


def test_the_services_own_refusals_are_waited_for_and_told(tiny_bundle: Path, tmp_path: Path) -> None:
    pauses: list[float] = []
    with (
        _listening(create_app(_settings(tiny_bundle, tmp_path, rate_limit_per_minute=2))) as address,
        Client(base_url=address) as patient,
        Client(base_url=address, sleep=pauses.append) as client,
        pytest.raises(ApiError) as refused,
    ):
        patient.ready()
        for _ in range(3):
            client.list_tickets()
    assert refused.value.type == "urn:fankui:problem:rate-limited"
    assert len(pauses) == 3 and all(20 < pause <= 30 for pause in pauses)


def test_without_a_key_a_service_that_asks_for_one_refuses(tiny_bundle: Path, tmp_path: Path) -> None:
    app = create_app(_settings(tiny_bundle, tmp_path, development=False))
    for key in (None, "fk_000000000000_wrong"):
        with _listening(app) as address, Client(base_url=address, api_key=key) as client:
            with pytest.raises(ApiError) as refused:
                client.classify(TEXT)
            assert (refused.value.status, refused.value.request_id is None) == (401, False)
