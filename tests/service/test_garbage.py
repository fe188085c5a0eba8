"""Whatever is sent to whatever address, it is answered or explained: no 5xx but 503."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live import Live

_EXAMPLES = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
_FIELDS = ("id", "text", "items", "by", "labels", "why", "limit", "metadata", "created_at", "channel", "url", "filters")
_ALMOST = st.dictionaries(st.sampled_from(_FIELDS), _JSON, max_size=5)


@pytest.fixture(scope="module")
def operations(client: TestClient) -> list[tuple[str, str]]:
    """Method and path of every operation; not the one that calls other servers."""
    paths = client.get("/openapi.json").json()["paths"]
    return [(method, path) for path, methods in paths.items() for method in methods if not path.endswith("/test")]


@_EXAMPLES
@given(
    body=_JSON | _ALMOST, part=st.text(min_size=1, max_size=40), query=st.dictionaries(st.text(), st.text(), max_size=3)
)
def test_any_json_to_any_endpoint(
    client: TestClient, operations: list[tuple[str, str]], body: Any, part: str, query: dict[str, str]
) -> None:
    for method, path in operations:
        name = quote(part.encode("utf-8", "replace"), safe="")
        address = path.replace("{ticket_id}", name).replace("{system}", "generic").replace("{webhook_id}", name)
        pairs = "&".join(
            f"{quote(key.encode('utf-8', 'replace'))}={quote(value.encode('utf-8', 'replace'))}"
            for key, value in (query | {"q": part, "cursor": part}).items()
        )
        content = json.dumps(body) if method == "post" else None
        headers = {"Content-Type": "application/json"} if content else {}
        answer = client.request(method, f"{address}?{pairs}", content=content, headers=headers)
        assert answer.status_code < 500, (method, address, answer.text)


@_EXAMPLES
@given(
    body=st.binary(max_size=300), kind=st.sampled_from(["application/json", "text/plain", "multipart/form-data", ""])
)
def test_any_bytes_to_any_endpoint(
    client: TestClient, operations: list[tuple[str, str]], body: bytes, kind: str
) -> None:
    for method, path in operations:
        address = path.replace("{ticket_id}", "T-1").replace("{system}", "generic").replace("{webhook_id}", "wh_0")
        answer = client.request(method, address, content=body, headers={"Content-Type": kind} if kind else {})
        assert answer.status_code < 500, (method, address, answer.text)


def test_the_api_does_as_its_document_says(tiny_bundle: Path, tmp_path: Path) -> None:
    service = Live(tiny_bundle, f"sqlite:///{tmp_path / 'fankui.db'}")
    try:
        schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{service.port}/openapi.json")
        for found in schema.exclude(path_regex="/test$").get_all_operations():

            @_EXAMPLES
            @given(case=found.ok().as_strategy())
            def check(case: schemathesis.Case) -> None:
                case.call_and_validate()

            check()
    finally:
        service.stop()
