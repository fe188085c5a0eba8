"""Every error is a problem+json that says what to do, whatever comes in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from fankui.tags import Tags
from service.api.schemas import BatchResult
from service.app import create_app
from service.problem import ProblemDetails
from service.settings import Settings

Serve = Callable[..., AbstractContextManager[TestClient]]

JSON = {"content-type": "application/json"}


def _problem(response: Any, status: int, slug: str) -> ProblemDetails:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = ProblemDetails.model_validate_json(response.content)
    assert (problem.status, problem.type) == (status, f"urn:fankui:problem:{slug}")
    return problem


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"text": "a",}',
        "{'text': '坏了'}".encode(),
        '{"text": "坏了"}'.encode("gb18030"),
        b"\xff\xfe\xfd",
        b'{"text": ' + b"[" * 100_000,
        b'{"text": ' + b"9" * 5_000 + b"}",
    ],
)
def test_what_is_not_json_is_malformed(client: TestClient, body: bytes) -> None:
    _problem(client.post("/v1/classify", content=body, headers=JSON), 400, "malformed-json")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_beyond_json_are_no_text(client: TestClient, number: str) -> None:
    response = client.post("/v1/classify", content=f'{{"text": {number}}}'.encode(), headers=JSON)
    _problem(response, 422, "invalid-request")


def test_a_field_name_that_is_not_unicode_is_refused(client: TestClient) -> None:
    response = client.post("/v1/classify", content=b'{"text": "a", "\\ud800": 1}', headers=JSON)
    _problem(response, 422, "invalid-request")


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "json", "\xff"])
def test_other_content_types_are_refused(client: TestClient, content_type: str | None) -> None:
    headers = {"content-type": content_type.encode("latin-1")} if content_type else {}
    response = client.post("/v1/classify", content='{"text": "坏了"}'.encode(), headers=headers)
    assert "application/json" in _problem(response, 415, "unsupported-media-type").detail


def test_json_with_parameters_is_accepted(client: TestClient) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert client.post("/v1/classify", content='{"text": "坏了"}'.encode(), headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/classify/batch", "/v1/nothing"])
def test_a_large_body_is_refused_by_its_declared_length(client: TestClient, path: str) -> None:
    response = client.post(path, content=b" " * (2 * 1024 * 1024 + 1), headers=JSON)
    assert "2,097,152" in _problem(response, 413, "too-large").detail


def test_a_large_body_without_a_declared_length_is_refused_while_it_arrives(client: TestClient) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(3):
            yield b" " * 1_000_000

    _problem(client.post("/v1/classify", content=chunks(), headers=JSON), 413, "too-large")


@pytest.mark.parametrize("length", ["99999999999999999999999", "9" * 5_000])
def test_an_absurd_declared_length_is_refused(client: TestClient, length: str) -> None:
    response = client.post("/v1/classify", content=b"{}", headers=JSON | {"content-length": length})
    _problem(response, 413, "too-large")


def test_a_body_of_exactly_the_limit_is_read(client: TestClient) -> None:
    body = b'{"text": "ok"}'.ljust(2 * 1024 * 1024)
    assert client.post("/v1/classify", content=body, headers=JSON).status_code == 200


def test_an_unknown_path_is_not_found(client: TestClient) -> None:
    assert "/v1/nothing" in _problem(client.get("/v1/nothing"), 404, "not-found").detail


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/v1/classify", "POST"), ("DELETE", "/v1/classify/batch", "POST"), ("POST", "/v1/models", "GET")],
)
def test_another_method_is_told_which_is_allowed(client: TestClient, method: str, path: str, allowed: str) -> None:
    response = client.request(method, path)
    _problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == allowed


def test_a_wrong_method_is_told_all_that_the_path_takes(client: TestClient) -> None:
    answer = client.put("/v1/tickets/T-1", json={})
    assert (answer.status_code, answer.headers["Allow"]) == (405, "DELETE, GET")
    assert client.options("/v1/webhooks").headers["Allow"] == "GET, POST"


def test_limits_come_from_the_settings(serve: Serve) -> None:
    with serve(max_text_characters=5, max_batch_items=2, max_body_bytes=1024) as client:
        assert (
            "5 are allowed"
            in _problem(client.post("/v1/classify", json={"text": "六个字太长了"}), 422, "invalid-request").detail
        )
        items = [{"text": "好"}] * 3
        response = client.post("/v1/classify/batch", json={"items": items})
        assert "2 are allowed" in _problem(response, 422, "invalid-request").detail
        _problem(client.post("/v1/classify", json={"text": "x" * 1024}), 413, "too-large")


def test_an_answer_that_takes_too_long_is_given_up(serve: Serve) -> None:
    items = [{"text": "还没有到货，" * 1_500}] * 20
    with serve(request_timeout_seconds=0.001) as client:
        response = client.post("/v1/classify/batch", json={"items": items})
    _problem(response, 503, "too-slow")
    assert response.headers["retry-after"]


def test_an_unexpected_fault_shows_nothing_of_the_inside(tiny_bundle: Path) -> None:
    app = create_app(Settings(model=tiny_bundle))

    def fail() -> None:
        raise RuntimeError("secret")

    app.add_api_route("/fail", fail)
    response = TestClient(app, raise_server_exceptions=False).get("/fail")
    _problem(response, 500, "internal-error")
    assert "secret" not in response.text
    assert "Traceback" not in response.text


_ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)
_ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)
_NEARLY_FEEDBACK = st.fixed_dictionaries(
    {"text": _ANY_TEXT | _ANY_JSON}, optional={"id": _ANY_TEXT | _ANY_JSON, "extra": _ANY_JSON}
)
_BODIES = (
    _ANY_JSON
    | _NEARLY_FEEDBACK
    | st.fixed_dictionaries({"items": st.lists(_NEARLY_FEEDBACK, max_size=4) | _ANY_JSON})
    | st.fixed_dictionaries({"text": _ANY_TEXT})
    | st.fixed_dictionaries({"items": st.lists(st.fixed_dictionaries({"text": _ANY_TEXT}), min_size=1, max_size=4)})
)


def _assert_well_answered(response: Any) -> None:
    assert response.status_code < 500
    if response.status_code >= 400:
        assert response.headers["content-type"] == "application/problem+json"
        assert ProblemDetails.model_validate_json(response.content).status == response.status_code


@settings(max_examples=150, deadline=None)
@given(path=st.sampled_from(["/v1/classify", "/v1/classify/batch"]), body=_BODIES)
def test_any_json_is_answered_or_explained(client: TestClient, path: str, body: Any) -> None:
    response = client.post(path, content=json.dumps(body).encode(), headers=JSON)
    _assert_well_answered(response)
    if response.status_code == 200:
        (Tags if path == "/v1/classify" else BatchResult).model_validate_json(response.content)


@settings(max_examples=80, deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]),
    path=st.sampled_from(["/v1/classify", "/v1/classify/batch", "/v1/taxonomy", "/v1/models", "/healthz", "/readyz"]),
    content_type=st.sampled_from(
        ["application/json", "application/x+json", "application/json; charset=gbk", "text/csv"]
    ),
    body=st.binary(max_size=60) | st.builds(lambda raw: b'{"text": "' + raw + b'"}', st.binary(max_size=40)),
)
def test_any_bytes_are_answered_or_explained(
    client: TestClient, method: str, path: str, content_type: str, body: bytes
) -> None:
    response = client.request(method, path, content=body, headers={"content-type": content_type})
    if method != "HEAD":
        _assert_well_answered(response)


@settings(max_examples=50, deadline=None)
@given(path=st.binary(max_size=30))
def test_any_path_is_answered_or_explained(client: TestClient, path: bytes) -> None:
    _assert_well_answered(client.get("/v1/" + quote(path)))
