"""The API's documentation is valid, complete and true."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.openapi.models import OpenAPI
from fastapi.testclient import TestClient
from pydantic import BaseModel

from fankui.tags import Tags
from fankui.taxonomy import Taxonomy
from service.api import examples
from service.api.schemas import BatchResult, Health, Models, Readiness
from service.app import create_app
from service.problem import ProblemDetails
from service.settings import Settings

ROOT = Path(__file__).parents[2]
ANSWERS: dict[str, type[BaseModel]] = {
    "classify": Tags,
    "classify_batch": BatchResult,
    "list_models": Models,
    "healthz": Health,
    "readyz": Readiness,
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    content: dict[str, Any] = TestClient(create_app(Settings())).get("/openapi.json").json()
    return content


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def _examples(content: dict[str, Any]) -> list[Any]:
    if "example" in content:
        return [content["example"]]
    return [example["value"] for example in content["examples"].values()]


def test_the_document_is_openapi_and_its_references_resolve(document: dict[str, Any]) -> None:
    OpenAPI.model_validate(document)
    for reference in re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(document)):
        assert reference in document["components"]["schemas"]


def test_every_operation_is_described_in_chinese_and_english(document: dict[str, Any]) -> None:
    operations = list(_operations(document))
    assert len({operation["operationId"] for operation in operations}) == len(operations) > 20
    known = {tag["name"] for tag in document["tags"] if tag["description"]}
    for operation in operations:
        for text in (operation["summary"], operation["description"], document["info"]["description"]):
            assert re.search(r"[A-Za-z]{3}", text)
            assert re.search(r"[\u4e00-\u9fff]{2}", text)
        assert set(operation["tags"]) <= known


def test_every_request_and_response_has_a_description_and_an_example(document: dict[str, Any]) -> None:
    for operation in _operations(document):
        for status, response in operation["responses"].items():
            assert response["description"]
            if status == "204" or operation["operationId"] == "metrics":
                continue
            ((media_type, content),) = response["content"].items()
            assert media_type == ("application/json" if status < "300" else "application/problem+json")
            assert content["schema"]
            assert _examples(content)
        for content in operation.get("requestBody", {"content": {}})["content"].values():
            assert _examples(content)


def test_the_examples_of_answers_are_answers(document: dict[str, Any]) -> None:
    for operation in _operations(document):
        for status, response in operation["responses"].items():
            if status == "204" or operation["operationId"] == "metrics":
                continue
            (content,) = response["content"].values()
            for example in _examples(content):
                if status >= "300":
                    assert ProblemDetails.model_validate(example).status == int(status)
                elif operation["operationId"] in ANSWERS:
                    ANSWERS[operation["operationId"]].model_validate(example)


def test_the_examples_use_labels_of_the_taxonomy_and_quote_their_texts() -> None:
    taxonomy = Taxonomy.load(ROOT / "data" / "taxonomy.yaml")
    sent = {item["id"]: item["text"] for item in examples.BATCH["three"]["value"]["items"]}
    for result in map(Tags.model_validate, (examples.TAGS, examples.BATCH_RESULT["results"][2])):
        for head in taxonomy.heads:
            labels = getattr(result, head.field)
            for scored in labels if isinstance(labels, tuple) else (labels,):
                head.index(scored.label)
        for cause in result.causes:
            for span in cause.evidence:
                assert sent[str(result.id)][span.start : span.end] == span.text


def test_the_examples_of_requests_are_accepted(document: dict[str, Any], client: TestClient) -> None:
    client.post("/v1/tickets", json=examples.NEW_TICKET["hotline"]["value"])  # The others are about this one.
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if "requestBody" in operation and operation["operationId"] != "release_review":
                for example in _examples(operation["requestBody"]["content"]["application/json"]):
                    address = path.format(ticket_id="T-1", system="generic")
                    assert client.request(method, address, json=example).status_code in (200, 201)


def test_the_interactive_documentation_is_served(client: TestClient) -> None:
    assert "swagger" in client.get("/docs").text.lower()
