"""A running application on the tiny bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings

Serve = Callable[..., AbstractContextManager[TestClient]]


@contextmanager
def _running(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        deadline = monotonic() + 60
        while "still being loaded" in client.get("/readyz").text:
            assert monotonic() < deadline, "the model did not load within a minute"
        yield client


@pytest.fixture(scope="session")
def serve(tiny_bundle: Path) -> Serve:
    """`with serve(max_batch_items=2) as client:` runs an application with these settings, its load finished."""

    def start(**settings: Any) -> AbstractContextManager[TestClient]:
        return _running(Settings(**({"model": tiny_bundle, "threads": 1} | settings)))

    return start


@pytest.fixture(scope="session")
def client(serve: Serve) -> Iterator[TestClient]:
    with serve() as client:
        yield client
