"""Tickets over HTTP."""

from __future__ import annotations

import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

TEXT = "说好三天到货,十天了还没发,问客服也没人理"


def an_id() -> str:
    return f"T-{secrets.token_hex(6)}"


def post(client: TestClient, ticket_id: str, text: str = TEXT, **more: Any) -> Any:
    return client.post("/v1/tickets", json={"id": ticket_id, "text": text} | more)


def test_a_ticket_is_answered_as_classify_would_and_is_found_again(client: TestClient) -> None:
    ticket_id = an_id()
    sent = {
        "channel": "hotline",
        "created_at": "2026-11-25T11:10:00+08:00",
        "metadata": {"产品": "宽带", "n": [1, None]},
    }
    answer = post(client, ticket_id, **sent)
    assert answer.status_code == 200
    content = answer.json()
    prediction = client.post("/v1/classify", json={"id": ticket_id, "text": TEXT}).json()
    assert {name: content[name] for name in prediction} == prediction
    assert (content["revision"], content["text"], content["metadata"]) == (1, TEXT, sent["metadata"])
    assert content["created_at"] == "2026-11-25T03:10:00Z"
    assert content["labels"]["causes"] == sorted(cause["label"] for cause in content["causes"])
    assert [advice["cause"] for advice in content["guidance"]] == content["labels"]["causes"]
    assert client.get(f"/v1/tickets/{ticket_id}").json() == content | {"history": []}


def test_the_same_text_again_is_answered_without_the_model(client: TestClient) -> None:
    ticket_id = an_id()
    first = post(client, ticket_id).json()
    calls = model_calls(client)
    assert post(client, ticket_id, channel="mail").json() == first
    assert model_calls(client) == calls


def model_calls(client: TestClient) -> str:
    (line,) = [
        line for line in client.get("/metrics").text.splitlines() if line.startswith("fankui_model_call_texts_count")
    ]
    return line


def test_another_text_is_a_new_revision(client: TestClient) -> None:
    ticket_id = an_id()
    first = post(client, ticket_id).json()
    assert post(client, ticket_id, "货到了,谢谢").json()["revision"] == 2
    found = client.get(f"/v1/tickets/{ticket_id}").json()
    assert found["text"] == "货到了,谢谢"
    (earlier,) = found["history"]
    assert (earlier["revision"], earlier["text"]) == (1, TEXT)
    assert earlier["prediction"]["sentiment"] == first["sentiment"]


def test_a_thousand_posts_of_one_ticket_at_once_make_one_row(client: TestClient) -> None:
    ticket_id = an_id()
    calls = model_calls(client)
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: post(client, ticket_id), range(1_000)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    found = client.get(f"/v1/tickets/{ticket_id}").json()
    assert (found["revision"], found["history"]) == (1, [])
    assert model_calls(client) != calls


@pytest.mark.parametrize("ticket_id", ["工单/2026#1?a=b", "a b", "🙂", "x" * 128])
def test_any_printable_id_works_in_a_path(client: TestClient, ticket_id: str) -> None:
    assert post(client, ticket_id).status_code == 200
    found = client.get(f"/v1/tickets/{quote(ticket_id, safe='')}")
    assert found.json()["id"] == ticket_id
    assert client.delete(f"/v1/tickets/{quote(ticket_id, safe='')}").status_code == 204


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": ""}, "id"),
        ({"id": "a\x00b"}, "id"),
        ({"id": "%C3%B4"}, "id"),
        ({"id": "x" * 129}, "id"),
        ({"text": "  \n"}, "text"),
        ({"text": "长" * 20_001}, "text"),
        ({"text": None}, "text"),
        ({"created_at": "2026-11-25T11:10:00"}, "created_at"),
        ({"created_at": "0001-01-01T00:00:00+14:00"}, "created_at"),
        ({"metadata": {"a": {"b": 1}}}, "metadata.a"),
        ({"metadata": {str(n): n for n in range(51)}}, "metadata"),
        ({"metadata": {"a": 10**400}}, "metadata.a"),
        ({"metadata": {"a": ["0" * 1_001]}}, "metadata.a"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_a_faulty_ticket_is_refused_naming_the_field(client: TestClient, changes: Any, field: str) -> None:
    answer = client.post("/v1/tickets", json={"id": an_id(), "text": TEXT} | changes)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].startswith(field)


def test_nul_and_half_characters_are_stored_as_replacement_characters(client: TestClient) -> None:
    ticket_id = an_id()
    body = json.dumps({"id": ticket_id, "text": "太慢\0了\ud83d", "metadata": {"a": "\0"}})
    answer = client.post("/v1/tickets", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
    assert (answer.json()["text"], answer.json()["metadata"]) == ("太慢\ufffd了\ufffd", {"a": "\ufffd"})


def test_personal_data_is_masked_before_it_is_stored_and_evidence_stays_in_place(serve: Any) -> None:
    text = "说好三天到货,打13912345678也没人接,邮箱zhang.san@example.com也不回,太差了"
    with serve(mask_personal_data=True) as client:
        plain = client.post("/v1/classify", json={"text": text}).json()
        stored = post(client, "T-1", text, metadata={"phone": "13912345678"}).json()
        for content in (stored, client.get("/v1/tickets/T-1").json()):
            assert "13912345678" not in str(content)
            assert "zhang.san" not in str(content)
            assert len(content["text"]) == len(text)
            for cause, before in zip(content["causes"], plain["causes"], strict=True):
                for span, span_before in zip(cause["evidence"], before["evidence"], strict=True):
                    assert (span["start"], span["end"]) == (span_before["start"], span_before["end"])
                    assert span["text"] == content["text"][span["start"] : span["end"]]
        assert post(client, "T-1", text).json()["revision"] == 1  # Still known to be the same text.


def test_tickets_are_listed_in_pages_and_by_words(serve: Any) -> None:
    with serve() as client:
        for number in range(5):
            post(client, f"T-{number}", f"{TEXT} 第{number}次")
        seen: list[str] = []
        cursor: str | None = None
        while True:
            page = client.get("/v1/tickets", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
            seen += [item["id"] for item in page["items"]]
            if not (cursor := page["next"]):
                break
        assert seen == ["T-4", "T-3", "T-2", "T-1", "T-0"]
        found = client.get("/v1/tickets", params={"q": "客服 第3次"}).json()["items"]
        assert [item["id"] for item in found] == ["T-3"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("cursor=x", "cursor"),
        ("limit=0", "limit"),
        ("since=gestern", "since"),
        ("q=%00", "q"),
        ("polarity=bad", "polarity"),
        ("cause=lateness", "cause"),
        ("cause=broken_promise&request=refund", "request"),
    ],
)
def test_a_faulty_query_is_refused_naming_the_parameter(client: TestClient, query: str, field: str) -> None:
    answer = client.get(f"/v1/tickets?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field


def test_an_erased_ticket_is_gone_with_the_answers_kept_for_it(client: TestClient) -> None:
    ticket_id, headers = an_id(), {"Idempotency-Key": secrets.token_hex(8)}
    client.post("/v1/tickets", json={"id": ticket_id, "text": TEXT}, headers=headers)
    assert client.delete(f"/v1/tickets/{ticket_id}").status_code == 204
    assert client.get(f"/v1/tickets/{ticket_id}").status_code == 404
    gone = client.delete(f"/v1/tickets/{ticket_id}")
    assert (gone.status_code, gone.json()["type"]) == (404, "urn:fankui:problem:no-such-ticket")
    again = client.post("/v1/tickets", json={"id": ticket_id, "text": TEXT}, headers=headers)
    assert "Idempotency-Replayed" not in again.headers


def test_a_correction_changes_what_holds_but_not_the_prediction(client: TestClient) -> None:
    ticket_id = an_id()
    before = post(client, ticket_id).json()
    labels = {"causes": ["influence_of_others"], "sentiment": "satisfied", "request": "praise"}
    sent = {"by": "li.na", "labels": labels, "why": "是表扬"}
    after = client.post(f"/v1/tickets/{ticket_id}/corrections", json=sent).json()
    assert (after["causes"], after["sentiment"]) == (before["causes"], before["sentiment"])
    assert after["labels"] == {
        "grade": 4,
        "polarity": "positive",
        "request": "praise",
        "causes": ["influence_of_others"],
    }
    (entry,) = after["corrections"]
    assert {name: entry[name] for name in sent} == sent
    assert [advice["cause"] for advice in after["guidance"]] == ["influence_of_others"]
    found = client.get("/v1/tickets", params={"cause": "influence_of_others", "request": "praise"}).json()
    assert ticket_id in [item["id"] for item in found["items"]]


@pytest.mark.parametrize(
    ("labels", "field"),
    [
        ({"mood": "bad"}, "labels.mood"),
        ({"causes": ["bad_weather"]}, "labels.causes"),
        ({"causes": "broken_promise"}, "labels.causes"),
        ({"causes": ["broken_promise", "broken_promise"]}, "labels.causes"),
        ({"sentiment": ["neutral"]}, "labels.sentiment"),
    ],
)
def test_a_correction_with_labels_that_there_are_not_is_refused(client: TestClient, labels: Any, field: str) -> None:
    ticket_id = an_id()
    post(client, ticket_id)
    answer = client.post(f"/v1/tickets/{ticket_id}/corrections", json={"by": "li.na", "labels": labels})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field


def test_a_correction_with_an_idempotency_key_is_stored_once(client: TestClient) -> None:
    ticket_id, headers = an_id(), {"Idempotency-Key": secrets.token_hex(8)}
    post(client, ticket_id)
    path, sent = f"/v1/tickets/{ticket_id}/corrections", {"by": "li.na"}
    first = client.post(path, json=sent, headers=headers)
    second = client.post(path, json=sent, headers=headers)
    assert second.json() == first.json()
    assert second.headers["Idempotency-Replayed"] == "true"
    assert len(client.get(f"/v1/tickets/{ticket_id}").json()["corrections"]) == 1
    other = client.post(path, json={"by": "wang"}, headers=headers)
    assert (other.status_code, other.json()["type"]) == (422, "urn:fankui:problem:idempotency-key-reused")


def test_a_refused_request_does_not_use_up_its_idempotency_key(client: TestClient) -> None:
    ticket_id, headers = an_id(), {"Idempotency-Key": secrets.token_hex(8)}
    path = f"/v1/tickets/{ticket_id}/corrections"
    assert client.post(path, json={"by": "li.na"}, headers=headers).status_code == 404
    post(client, ticket_id)
    assert client.post(path, json={"by": "li.na"}, headers=headers).status_code == 200


@pytest.mark.parametrize("key", ["", "with space", "x" * 256])
def test_a_faulty_idempotency_key_is_refused(client: TestClient, key: str) -> None:
    answer = client.post("/v1/tickets", json={"id": an_id(), "text": TEXT}, headers={"Idempotency-Key": key})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


def test_reviews_are_claimed_released_and_ended_by_a_correction(serve: Any) -> None:
    with serve(review_sample=1.0) as client:  # Every ticket is at least a sample.
        for number in range(3):
            post(client, f"T-{number}", f"{TEXT}{number}")
        queue = [item["id"] for item in client.get("/v1/reviews").json()["items"]]
        assert sorted(queue) == ["T-0", "T-1", "T-2"]
        (mine,) = client.post("/v1/reviews/claim", json={"by": "an"}).json()["items"]
        assert mine["id"] == queue[0]
        assert mine["review"]["claimed_by"] == "an"
        theirs = client.post("/v1/reviews/claim", json={"by": "bo", "limit": 10}).json()["items"]
        assert sorted(item["id"] for item in theirs) == sorted(queue[1:])
        assert client.get("/v1/reviews").json()["items"] == []
        path = f"/v1/reviews/{mine['id']}/release"
        assert client.post(path, json={"by": "bo"}).status_code == 404
        assert client.post(path, json={"by": "an"}).status_code == 204
        client.post(f"/v1/tickets/{mine['id']}/corrections", json={"by": "an"})
        assert client.get("/v1/reviews").json()["items"] == []
        assert len(client.get("/v1/tickets", params={"needs_review": "true"}).json()["items"]) == 2


def test_a_helpdesk_systems_own_json_is_taken(client: TestClient) -> None:
    number = secrets.token_hex(4)
    answer = client.post(
        "/v1/adapters/generic", json={"工单编号": number, "标题": "宽带未装", "内容": TEXT, "渠道": "热线"}
    )
    assert answer.status_code == 200
    assert answer.json()["id"] == f"generic:{number}"
    assert TEXT in client.get(f"/v1/tickets/generic:{number}").json()["text"]


def test_an_adapter_names_the_field_at_fault_and_the_adapters_that_there_are(client: TestClient) -> None:
    faulty = client.post("/v1/adapters/zendesk", json={"ticket": {"id": 1}})
    assert (faulty.status_code, faulty.json()["type"]) == (422, "urn:fankui:problem:invalid-request")
    unknown = client.post("/v1/adapters/jira", json={})
    assert (unknown.status_code, "zendesk" in unknown.json()["detail"]) == (404, True)


def test_a_draft_is_checked_against_the_ticket_it_answers(client: TestClient) -> None:
    ticket_id = an_id()
    post(client, ticket_id)
    client.post(f"/v1/tickets/{ticket_id}/corrections", json={"by": "an", "labels": {"causes": ["broken_promise"]}})
    draft = "您好,我没这么说过。"
    found = client.post("/v1/replies/check", json={"text": draft, "ticket_id": ticket_id}).json()["findings"]
    assert "我没这么说过" in [draft[item["start"] : item["end"]] for item in found]
    kind = client.post("/v1/replies/check", json={"text": "非常抱歉,我今天18点前给您答复。"}).json()
    assert kind == {"findings": []}
    assert client.post("/v1/replies/check", json={"text": "好", "ticket_id": an_id()}).status_code == 404
