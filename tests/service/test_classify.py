"""Classifying over HTTP gives what the engine gives."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from fankui.engine import Tagger
from fankui.tags import Tags, Untaggable

TEXT = "说好三天到货,十天了还没发,问客服也没人理"


def _assert_problem(response: Any, field: str, says: str) -> None:
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    messages = {fault["field"]: fault["message"] for fault in response.json()["errors"]}
    assert says in messages[field]


def test_one_text_gets_the_engines_answer(client: TestClient, tagger: Tagger) -> None:
    response = client.post("/v1/classify", json={"id": "T-1", "text": TEXT})
    assert response.status_code == 200
    (expected,) = tagger.tag([TEXT], ids=["T-1"])
    assert Tags.model_validate(response.json()) == expected


def test_the_id_is_optional_and_then_null(client: TestClient) -> None:
    assert client.post("/v1/classify", json={"text": TEXT}).json()["id"] is None


def test_evidence_quotes_the_text_as_sent(client: TestClient) -> None:
    text = "  說好３天到貨，十天了還沒發！！問客服也沒人理😡\u200b，太氣人了"
    answer = client.post("/v1/classify", json={"text": text}).json()
    for cause in answer["causes"]:
        for span in cause["evidence"]:
            assert text[span["start"] : span["end"]] == span["text"]


def test_a_batch_is_answered_in_order_and_marks_blank_texts(client: TestClient) -> None:
    texts = [TEXT, "", "很好吃，下次还来", " \u200b\n"]
    items = [{"id": f"T-{i}", "text": text} for i, text in enumerate(texts)]
    response = client.post("/v1/classify/batch", json={"items": items})
    assert response.status_code == 200
    results = response.json()["results"]
    assert [result["id"] for result in results] == ["T-0", "T-1", "T-2", "T-3"]
    assert ["sentiment" in result for result in results] == [True, False, True, False]
    assert all(Untaggable.model_validate(result).note for result in (results[1], results[3]))


def test_a_batch_larger_than_one_call_of_the_engine_keeps_its_order(client: TestClient) -> None:
    items = [{"id": str(i), "text": f"{i}号订单" + "还没有到货，" * 700} for i in range(9)]
    results = client.post("/v1/classify/batch", json={"items": items}).json()["results"]
    assert [result["id"] for result in results] == [str(i) for i in range(9)]


@pytest.mark.parametrize("text", ["😀😡", "ok, thanks", "a\u0000b坏了", "\ufffe", "١٢٣", "坏" * 20_000])
def test_unusual_texts_are_answered(client: TestClient, text: str) -> None:
    assert client.post("/v1/classify", json={"text": text}).status_code in (200, 422)
    answer = client.post("/v1/classify/batch", json={"items": [{"text": text}]})
    assert answer.status_code == 200
    assert len(answer.json()["results"]) == 1


def test_half_a_surrogate_pair_in_a_text_counts_as_one_unreadable_character(client: TestClient) -> None:
    cut = '{"text": "\\ud83d太慢了，没人理\\ude00"}'.encode()
    response = client.post("/v1/classify", content=cut, headers={"content-type": "application/json"})
    assert response.status_code == 200
    for cause in response.json()["causes"]:
        for span in cause["evidence"]:
            assert "\ufffd太慢了，没人理\ufffd"[span["start"] : span["end"]] == span["text"]


@pytest.mark.parametrize("text", ["", "   ", "\u200b\u200d", "\n\t", "\u0000"])
def test_a_blank_text_is_refused_with_the_reason(client: TestClient, text: str) -> None:
    _assert_problem(client.post("/v1/classify", json={"text": text}), "text", "")


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        ({}, "text", "required"),
        ({"text": None}, "text", "string"),
        ({"text": 5}, "text", "string"),
        ({"text": ["坏了"]}, "text", "string"),
        ({"text": "坏了", "id": 7}, "id", "string"),
        ({"text": "坏了", "id": ""}, "id", "empty"),
        ({"text": "坏了", "id": "x" * 129}, "id", "128"),
        ({"text": "坏了", "id": "a\nb"}, "id", "Control characters"),
        ({"text": "坏了", "id": "\ud800"}, "id", "surrogate"),
        ({"text": "坏了", "txet": "坏了"}, "txet", "not known"),
        ({"text": "坏" * 20_001}, "text", "20,000"),
        ([{"text": "坏了"}], "body", "object"),
        ("坏了", "body", "object"),
        (None, "body", "object"),
    ],
)
def test_a_faulty_request_names_the_field(client: TestClient, body: Any, field: str, says: str) -> None:
    response = client.post("/v1/classify", content=json.dumps(body), headers={"content-type": "application/json"})
    _assert_problem(response, field, says)


@pytest.mark.parametrize(
    ("items", "field", "says"),
    [
        ([], "items", "at least 1"),
        ({}, "items", "list"),
        ([{"text": "坏了"}] * 257, "items", "256"),
        ([{"text": "坏了"}, {"text": 1}], "items.1.text", "string"),
        ([{"text": "坏了"}, "坏了"], "items.1", "object"),
        ([{"text": "坏了", "lang": "zh"}], "items.0.lang", "not known"),
        ([{"text": "坏了"}, {"text": "坏" * 20_001}], "items.1.text", "20,000"),
        ([{"text": "坏了", "id": "A"}, {"text": "很好"}, {"text": "很慢", "id": "A"}], "items.2.id", "'A'"),
    ],
)
def test_a_faulty_batch_names_the_item(client: TestClient, items: Any, field: str, says: str) -> None:
    _assert_problem(client.post("/v1/classify/batch", json={"items": items}), field, says)


def test_only_the_first_of_many_faults_are_listed(client: TestClient) -> None:
    problem = client.post("/v1/classify/batch", json={"items": [{}] * 256}).json()
    assert len(problem["errors"]) == 20
    assert "256 faults" in problem["detail"]


def test_concurrent_requests_get_their_own_answers(client: TestClient) -> None:
    def ask(number: int) -> Any:
        return client.post("/v1/classify", json={"id": str(number), "text": "太慢了，" * number}).json()["id"]

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(1, 33))) == [str(number) for number in range(1, 33)]


def test_256_texts_are_one_batch(client: TestClient) -> None:
    response = client.post("/v1/classify/batch", json={"items": [{"text": "太慢了"}] * 256})
    assert len(response.json()["results"]) == 256
