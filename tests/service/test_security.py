"""Keys, scopes, rate limits, headers, and what development mode may do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from typer.testing import CliRunner

from service import auth
from service.cli import config_command, db_command, keys_command
from service.rate_limit import RateLimit
from service.settings import Settings, SettingsError
from service.store.database import Database
from service.store.tables import ApiKey, Base

TEXT = "说好三天到货,十天了还没发"
Make = Callable[..., dict[str, str]]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'fankui.db'}"


@pytest.fixture
def guarded(serve: Any, url: str) -> Iterator[TestClient]:
    """The service as it is without development mode."""
    with serve(development=False, database_url=url) as client:
        yield client


@pytest.fixture
def key(url: str, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a key with `fankui keys create`; returns the header to send."""
    monkeypatch.setenv("FANKUI_DATABASE_URL", url)

    def make(*scopes: str) -> dict[str, str]:
        arguments = ["create", "crm", *(part for scope in scopes for part in ("--scope", scope))]
        made = CliRunner().invoke(keys_command, arguments)
        assert made.exit_code == 0, made.output
        return {"Authorization": f"Bearer {made.stdout.strip()}"}

    return make


def test_without_a_key_nothing_of_the_api_is_answered(guarded: TestClient) -> None:
    open_to_all = {"/healthz", "/readyz", "/metrics"}
    for path, operations in guarded.get("/openapi.json").json()["paths"].items():
        for method in operations:
            address = path.replace("{ticket_id}", "T-1").replace("{system}", "generic").replace("{webhook_id}", "wh_0")
            answer = guarded.request(method, address, json={"id": "T-1", "text": TEXT} if method == "post" else None)
            assert (answer.status_code == 200) == (path in open_to_all), path
            if path not in open_to_all:
                assert answer.json()["type"] == "urn:fankui:problem:unauthenticated", path
                assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_key_opens_what_its_scopes_say_and_no_more(guarded: TestClient, key: Make) -> None:
    header = key("classify")
    assert guarded.post("/v1/classify", json={"text": TEXT}, headers=header).status_code == 200
    refused = guarded.post("/v1/tickets", json={"id": "T-1", "text": TEXT}, headers=header)
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:fankui:problem:forbidden")
    assert "tickets:write" in refused.json()["detail"]
    both = key("tickets:write", "tickets:read")
    assert guarded.post("/v1/tickets", json={"id": "T-1", "text": TEXT}, headers=both).status_code == 200
    assert guarded.get("/v1/tickets/T-1", headers=both).status_code == 200
    assert guarded.post("/v1/models/reload", headers=both).status_code == 403


@pytest.mark.parametrize(
    "header",
    ["Basic Zm86YmFy", "Bearer", "Bearer x", "Bearer fk__", "Bearer fk_0_", "Bearer " + "x" * 5000, "Bearer fk_a_\xe9"],
)
def test_a_wrong_key_is_refused(guarded: TestClient, header: str) -> None:
    answer = guarded.get("/v1/tickets", headers={"Authorization": header.encode("latin-1")})
    assert answer.status_code == 401


def test_a_key_with_another_ones_id_is_refused(guarded: TestClient, key: Make) -> None:
    one, other = key("classify")["Authorization"], key("classify")["Authorization"]
    mixed = "_".join([*other.split("_")[:2], one.split("_", 2)[2]])
    assert guarded.get("/v1/models", headers={"Authorization": mixed}).status_code == 401


def test_a_revoked_key_is_refused(guarded: TestClient, key: Make, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    header = key("classify")
    assert guarded.get("/v1/models", headers=header).status_code == 200
    key_id = header["Authorization"].split("_")[1]
    assert CliRunner().invoke(keys_command, ["revoke", key_id]).exit_code == 0
    later = auth.monotonic() + 11
    monkeypatch.setattr(auth, "monotonic", lambda: later)  # What was remembered is old by then.
    assert guarded.get("/v1/models", headers=header).status_code == 401
    listed = CliRunner().invoke(keys_command, ["list"])
    assert key_id in listed.stdout
    assert CliRunner().invoke(keys_command, ["revoke", key_id]).exit_code == 2


def test_only_a_hash_of_a_key_is_stored(key: Make, url: str) -> None:
    secret = key("classify")["Authorization"].rsplit("_", 1)[1]
    database = Database(url)
    with database.engine.connect() as connection:
        for table in Base.metadata.sorted_tables:
            assert secret not in str(connection.execute(select(table)).all())
        (stored,) = connection.execute(select(ApiKey.secret_sha256)).scalars()
        assert len(stored) == 32
    database.close()


def test_a_key_needs_a_scope_that_there_is(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANKUI_DATABASE_URL", url)
    made = CliRunner().invoke(keys_command, ["create", "crm", "--scope", "everything"])
    assert made.exit_code == 2
    assert "tickets:write" in made.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com"])
def test_development_mode_is_refused_on_an_address_that_others_reach(host: str) -> None:
    with pytest.raises(SettingsError, match="loopback"):
        Settings.read(development=True, host=host)


def test_a_key_that_sends_too_much_is_told_when_to_come_back(serve: Any) -> None:
    with serve(rate_limit_per_minute=3) as client:
        answers = [client.get("/v1/models") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert answers[0].headers["RateLimit-Policy"] == '"key";q=3;w=60'
        assert answers[0].headers["RateLimit"].startswith('"key";r=2;t=')
        assert 1 <= int(answers[3].headers["Retry-After"]) <= 20
        assert answers[3].json()["type"] == "urn:fankui:problem:rate-limited"
        assert client.get("/healthz").status_code == 200


def test_an_answer_given_again_counts_as_well(serve: Any) -> None:
    with serve(rate_limit_per_minute=3) as client:
        sent = {"id": "T-1", "text": "说好三天到货,十天了还没发"}
        headers = {"Idempotency-Key": "once"}
        answers = [client.post("/v1/tickets", json=sent, headers=headers) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert answers[1].headers["Idempotency-Replayed"] == "true"


def test_each_key_has_an_allowance_of_its_own_that_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("service.rate_limit.monotonic", lambda: now[0])
    limit = RateLimit(60)
    assert all(limit.take("a").passes for _ in range(60))
    assert not limit.take("a").passes
    assert limit.take("b").passes
    now[0] += 1.0
    assert limit.take("a").passes
    assert not limit.take("a").passes


def test_other_origins_may_call_only_when_so_set(serve: Any) -> None:
    headers = {"Origin": "https://crm.example.com", "Access-Control-Request-Method": "POST"}
    with serve() as client:
        assert "access-control-allow-origin" not in client.options("/v1/classify", headers=headers).headers
    with serve(cors_origins="https://crm.example.com, https://b.example.com") as client:
        allowed = client.options("/v1/classify", headers=headers).headers["access-control-allow-origin"]
        assert allowed == "https://crm.example.com"


def test_every_answer_has_security_headers_and_a_request_id(client: TestClient) -> None:
    for path in ("/v1/models", "/nowhere", "/healthz"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Request-ID"]
        assert headers["traceparent"].startswith("00-")
    odd = client.get("/v1/models", headers={"X-Request-ID": "a b\tc", "traceparent": "00-0-0-0"}).headers
    assert odd["X-Request-ID"] != "a b\tc"


def test_metrics_tell_requests_model_calls_labels_and_the_model(client: TestClient) -> None:
    client.post("/v1/classify", json={"text": TEXT})
    client.get("/nowhere")
    found = client.get("/metrics").text
    for line in (
        'fankui_requests_total{method="POST",route="/v1/classify",status="200"}',
        'fankui_requests_total{method="GET",route="none",status="404"}',
        'fankui_request_seconds_bucket{le="0.1",route="/v1/classify"}',
        "fankui_model_call_texts_count",
        "fankui_model_tokens_total",
        'fankui_labels_total{head="sentiment"',
        "fankui_classified_total{needs_review=",
        "fankui_queue_texts 0.0",
        "fankui_database_connections",
        'fankui_model{version="0.0.1"} 1.0',
    ):
        assert line in found, line


def test_config_prints_each_setting_and_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANKUI_PORT", "9000")
    monkeypatch.setenv("FANKUI_DATABASE_URL", "postgresql://fankui:geheim@db/fankui")
    printed = CliRunner().invoke(config_command, [], env={"COLUMNS": "300"}).stdout
    assert "geheim" not in printed
    for name in Settings.model_fields:
        assert name in printed
    (port,) = [line for line in printed.splitlines() if "│ port " in line or " port " in line[:8]]
    assert "9000" in port
    assert "FANKUI_PORT" in port


def test_what_people_said_becomes_texts_to_train_on(
    url: str, serve: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    texts = {"T-1": "说好三天到货,十天了还没发", "T-2": "屏幕裂了,要求换货", "T-3": "师傅很耐心", "T-4": "等了一个小时"}
    with serve(database_url=url) as client:
        for ticket_id, text in texts.items():
            assert client.post("/v1/tickets", json={"id": ticket_id, "text": text}).status_code == 200
        for ticket_id, labels in (
            ("T-1", {"causes": ["ignored_feelings"], "loyalty": "none"}),
            ("T-1", {"causes": ["broken_promise"]}),
            ("T-2", {}),
            ("T-3", {"sentiment": "very_satisfied"}),
        ):
            corrected = client.post(f"/v1/tickets/{ticket_id}/corrections", json={"by": "li.na", "labels": labels})
            assert corrected.status_code == 200
        # Nobody has looked at its new text.
        client.post("/v1/tickets", json={"id": "T-3", "text": "师傅很耐心,可是没修好"})
        predicted = client.get("/v1/tickets/T-2").json()
    monkeypatch.setenv("FANKUI_DATABASE_URL", url)
    file = tmp_path / "corrected.jsonl"
    done = CliRunner().invoke(db_command, ["corrections", "-o", str(file)])
    assert (done.exit_code, "2 tickets" in done.stdout) == (0, True)
    first, second = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    assert (first["id"], first["text"]) == ("T-1", texts["T-1"])
    assert (first["labels"]["causes"], first["labels"]["loyalty"]) == (["broken_promise"], "none")
    assert second["labels"]["request"] == predicted["request"]["label"]
    assert second["labels"]["causes"] == [cause["label"] for cause in predicted["causes"]]
    assert set(second["labels"]) == {"sentiment", "causes", "request", "servqual", "demand", "loyalty"}
    nowhere = CliRunner().invoke(db_command, ["corrections", "-o", str(tmp_path / "no" / "x.jsonl")])
    assert (nowhere.exit_code, "cannot be written" in nowhere.stderr) == (2, True)


def test_purge_erases_what_is_past_its_time_and_says_how_much(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANKUI_DATABASE_URL", url)
    assert CliRunner().invoke(db_command, ["upgrade"]).exit_code == 0
    kept = CliRunner().invoke(db_command, ["purge"])
    assert "no retention period is set" in kept.stdout
    done = CliRunner().invoke(db_command, ["purge", "--older-than-days", "30"])
    assert (done.exit_code, "Erased 0 tickets older than 30 days" in done.stdout) == (0, True)
