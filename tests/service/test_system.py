"""Readiness, the served model, the settings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from fankui.engine import Tagger
from fankui.taxonomy import Taxonomy
from service.api.schemas import Models
from service.app import create_app
from service.settings import Settings, SettingsError

Serve = Callable[..., AbstractContextManager[TestClient]]


def test_a_running_service_is_healthy_and_ready(client: TestClient, tagger: Tagger) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready", "model": tagger.bundle.manifest.version}


def test_before_the_model_is_loaded_the_service_is_healthy_but_not_ready(tiny_bundle: Path) -> None:
    not_started = TestClient(create_app(Settings(model=tiny_bundle, development=True)))
    assert not_started.get("/healthz").status_code == 200
    for response in (
        not_started.get("/readyz"),
        not_started.get("/v1/taxonomy"),
        not_started.get("/v1/models"),
        not_started.post("/v1/classify", json={"text": "坏了"}),
    ):
        assert response.status_code == 503
        assert response.json()["type"] == "urn:fankui:problem:not-ready"
        assert "still being loaded" in response.json()["detail"]
        assert response.headers["retry-after"]


def test_without_a_usable_model_the_service_stays_up_and_says_why(serve: Serve, tmp_path: Path) -> None:
    with serve(model=tmp_path / "nowhere") as client:
        assert client.get("/healthz").status_code == 200
        response = client.get("/readyz")
        assert response.status_code == 503
        assert "could not be loaded" in response.json()["detail"]
        assert "nowhere" in response.json()["detail"]


def test_the_taxonomy_is_that_of_the_model(client: TestClient, tagger: Tagger) -> None:
    response = client.get("/v1/taxonomy")
    assert Taxonomy.model_validate_json(response.content) == tagger.bundle.taxonomy


def test_the_served_model_is_described(client: TestClient, tagger: Tagger) -> None:
    (model,) = Models.model_validate_json(client.get("/v1/models").content).models
    manifest = tagger.bundle.manifest
    assert (model.version, model.created, model.metrics) == (manifest.version, manifest.created, manifest.metrics)
    assert model.current
    assert model.size_bytes == sum(file.stat().st_size for file in tagger.bundle.path.rglob("*.*"))


def test_settings_come_from_the_environment_and_options_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANKUI_PORT", "9000")
    monkeypatch.setenv("FANKUI_HOST", "0.0.0.0")
    monkeypatch.setenv("FANKUI_MODEL", "")
    settings = Settings.read(port=9001, host=None)
    assert (settings.port, settings.host, settings.model) == (9001, "0.0.0.0", None)


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "70000"), ("THREADS", "-1"), ("MAX_BATCH_ITEMS", "257"), ("REQUEST_TIMEOUT_SECONDS", "soon")],
)
def test_a_setting_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"FANKUI_{name}", value)
    with pytest.raises(SettingsError, match=name.lower()):
        Settings.read()


def test_importing_the_service_loads_no_training_library() -> None:
    check = (
        "import sys, service.app, service.cli, fankui.cli\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'sklearn'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
