"""A running application on the tiny bundle, and databases to run it on."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import postgres
import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from service.store.database import Database

Serve = Callable[..., AbstractContextManager[TestClient]]


@contextmanager
def _running(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        deadline = monotonic() + 60
        while "still being loaded" in client.get("/readyz").text:
            assert monotonic() < deadline, "the model did not load within a minute"
        yield client


@pytest.fixture(scope="session")
def serve(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Serve:
    """`with serve(max_batch_items=2) as client:` runs an application with these settings, its load finished.

    Without further words it is in development mode on an empty SQLite file.
    """

    def start(**settings: Any) -> AbstractContextManager[TestClient]:
        file = tmp_path_factory.mktemp("store") / "fankui.db"
        usual = {"model": tiny_bundle, "threads": 1, "development": True, "database_url": f"sqlite:///{file}"}
        return _running(Settings(**(usual | settings)))

    return start


@pytest.fixture(scope="session")
def client(serve: Serve) -> Iterator[TestClient]:
    with serve() as client:
        yield client


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    if postgres.programs() is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    with postgres.running() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'fankui.db'}"
    server: postgres.Server = request.getfixturevalue("postgres_server")
    return server.create_database(f"test_{secrets.token_hex(6)}")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database of each kind with its tables."""
    found = Database.of(Settings(database_url=database_url))
    found.upgrade()
    yield found
    found.close()
