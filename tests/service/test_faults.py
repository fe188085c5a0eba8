"""What goes wrong in operation, really done: killed, full, cut off, overrun. Nothing acknowledged is lost."""

from __future__ import annotations

import http.client
import json
import re
import resource
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import postgres
import pytest
from live import Live

from service.settings import Settings
from service.store.database import Database

TEXT = "说好三天到货,十天了还没发"


@contextmanager
def live(bundle: Path, database_url: str, **env: str) -> Iterator[Live]:
    service = Live(bundle, database_url, **env)
    try:
        yield service
    finally:
        service.stop()


@pytest.fixture
def migrated_url(database_url: str) -> str:
    database = Database.of(Settings(database_url=database_url))
    database.upgrade()
    database.close()
    return database_url


def test_killed_while_writing_it_has_lost_no_acknowledged_ticket_and_doubled_none(
    tiny_bundle: Path, migrated_url: str
) -> None:
    acknowledged: list[str] = []
    enough = threading.Event()

    def send(service: Live, worker: int) -> None:
        for number in range(10_000):
            ticket_id = f"T-{worker}-{number}"
            try:
                status, _ = service.call("POST", "/v1/tickets", {"id": ticket_id, "text": f"{TEXT} {ticket_id}"})
            except (OSError, http.client.HTTPException):
                return
            assert status == 200
            acknowledged.append(ticket_id)
            if len(acknowledged) > 100:
                enough.set()

    with live(tiny_bundle, migrated_url) as service, ThreadPoolExecutor(8) as pool:
        for worker in range(8):
            pool.submit(send, service, worker)
        assert enough.wait(60)
        service.process.send_signal(signal.SIGKILL)
    with live(tiny_bundle, migrated_url) as service:
        stored: list[str] = []
        cursor = ""
        while True:
            _, page = service.call("GET", f"/v1/tickets?limit=200{cursor}")
            stored += [item["id"] for item in page["items"]]
            if page["next"] is None:
                break
            cursor = f"&cursor={page['next']}"
        assert len(set(stored)) == len(stored)
        assert set(acknowledged) <= set(stored)
        for ticket_id in acknowledged[-10:]:  # Sent again, as a client would that missed the answer.
            _, answer = service.call("POST", "/v1/tickets", {"id": ticket_id, "text": f"{TEXT} {ticket_id}"})
            assert answer["revision"] == 1


def test_the_database_goes_away_and_comes_back(tiny_bundle: Path) -> None:
    if postgres.programs() is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    with postgres.running() as server:
        url = server.create_database("fankui_test")
        database = Database.of(Settings(database_url=url))
        database.upgrade()
        database.close()
        with live(tiny_bundle, url) as service:
            assert service.call("POST", "/v1/tickets", {"id": "before", "text": TEXT})[0] == 200
            server.stop()
            status, problem = service.call("POST", "/v1/tickets", {"id": "during", "text": TEXT})
            assert (status, problem["type"]) == (503, "urn:fankui:problem:store-unavailable")
            assert service.call("GET", "/readyz")[0] == 503
            assert service.call("GET", "/healthz")[0] == 200
            assert service.call("POST", "/v1/classify", {"text": TEXT})[0] == 200  # It needs no database.
            server.start()
            service.wait_until(lambda: service.call("GET", "/readyz")[0] == 200)
            assert service.call("POST", "/v1/tickets", {"id": "during", "text": TEXT})[0] == 200
            assert service.call("GET", "/v1/tickets/before")[0] == 200


def test_a_full_disk_is_reported_and_work_goes_on_when_there_is_room(tiny_bundle: Path, tmp_path: Path) -> None:
    long = TEXT * 300
    with live(tiny_bundle, f"sqlite:///{tmp_path / 'fankui.db'}") as service:
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))
        acknowledged = []
        for number in range(500):
            status, answer = service.call("POST", "/v1/tickets", {"id": f"T-{number}", "text": f"{long}{number}"})
            if status != 200:
                break
            acknowledged.append(f"T-{number}")
        assert (status, answer["type"]) == (503, "urn:fankui:problem:store-unavailable")
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert service.call("POST", "/v1/tickets", {"id": "later", "text": TEXT})[0] == 200
        for ticket_id in acknowledged:
            assert service.call("GET", f"/v1/tickets/{ticket_id}")[0] == 200


def test_a_corrupted_model_is_not_loaded_and_a_sound_one_is_without_a_failed_request(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    sound = (bundle / "model.onnx").read_bytes()
    stop = threading.Event()
    failed: list[Any] = []

    def keep_asking(service: Live) -> int:
        asked = 0
        while not stop.is_set():
            status, answer = service.call("POST", "/v1/classify", {"text": TEXT})
            asked += 1
            if status != 200:
                failed.append(answer)
        return asked

    with live(bundle, f"sqlite:///{tmp_path / 'fankui.db'}") as service, ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(keep_asking, service) for _ in range(4)]
        (bundle / "model.onnx").write_bytes(sound[:-100] + bytes(100))
        status, problem = service.call("POST", "/v1/models/reload", {})
        assert (status, problem["type"]) == (409, "urn:fankui:problem:unusable-model")
        assert "damaged" in problem["detail"]
        (bundle / "model.onnx").write_bytes(sound)
        assert service.call("POST", "/v1/models/reload", {})[0] == 200
        service.process.send_signal(signal.SIGHUP)
        assert service.call("POST", "/v1/models/reload", {})[0] == 200
        stop.set()
        assert sum(task.result() for task in asking) > 0
        assert failed == []


def test_half_open_and_slow_connections_do_not_keep_others_waiting(tiny_bundle: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'fankui.db'}"
    with live(tiny_bundle, url, FANKUI_REQUEST_TIMEOUT_SECONDS="1") as service:
        head = b"POST /v1/classify HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
        sockets = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(200)]
        for number, half_open in enumerate(sockets):
            half_open.sendall(head + b'{"te' if number % 2 else head[:20])
        assert service.call("POST", "/v1/classify", {"text": TEXT})[0] == 200
        # One whose body does not come is told so, and let go.
        sockets[1].settimeout(60)
        assert b" 408 " in sockets[1].recv(100)
        for half_open in sockets:
            half_open.close()
        assert service.call("POST", "/v1/classify", {"text": TEXT})[0] == 200


def test_work_of_a_client_that_has_gone_is_dropped(tiny_bundle: Path, tmp_path: Path) -> None:
    body = json.dumps({"items": [{"text": TEXT * 100} for _ in range(256)]}).encode()
    head = (
        b"POST /v1/classify/batch HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    with live(tiny_bundle, f"sqlite:///{tmp_path / 'fankui.db'}", FANKUI_MAX_WAIT_SECONDS="1000") as service:
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", service.port)) as client:
                client.sendall(head % len(body) + body)
                service.wait_until(lambda: b"fankui_queue_texts 0.0" not in service.call("GET", "/metrics")[1])
        service.wait_until(lambda: b"fankui_queue_texts 0.0" in service.call("GET", "/metrics")[1])
        service.wait_until(lambda: service.log().count('"status": 408') == 5)
        (texts,) = re.findall(r"fankui_model_call_texts_sum (\d+)", service.call("GET", "/metrics")[1].decode())
        assert int(texts) < 5 * 256


def test_too_much_at_once_is_refused_with_when_to_come_back(tiny_bundle: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'fankui.db'}"
    with live(tiny_bundle, url, FANKUI_MAX_QUEUE_TEXTS="4") as service, ThreadPoolExecutor(32) as pool:
        text = TEXT * 300
        answers = list(pool.map(lambda _: service.call("POST", "/v1/classify", {"text": text}), range(200)))
        statuses = {status for status, _ in answers}
        assert statuses == {200, 503}
        refused = [content for status, content in answers if status == 503]
        assert {content["type"] for content in refused} == {"urn:fankui:problem:overloaded"}
        assert service.call("POST", "/v1/classify", {"text": TEXT})[0] == 200


def test_told_to_stop_it_finishes_what_it_has_accepted(tiny_bundle: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'fankui.db'}"
    items = [{"text": f"{TEXT * 20} {number}"} for number in range(256)]
    with live(tiny_bundle, url) as service, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(service.call, "POST", "/v1/classify/batch", {"items": items})
        service.wait_until(lambda: b"fankui_queue_texts 0.0" not in service.call("GET", "/metrics")[1])
        service.process.send_signal(signal.SIGTERM)
        status, content = answer.result(60)
        assert (status, len(content["results"])) == (200, 256)
        assert service.process.wait(60) in (0, -signal.SIGTERM)


def test_the_log_is_json_with_the_requests_id_and_without_texts(tiny_bundle: Path, tmp_path: Path) -> None:
    with live(tiny_bundle, f"sqlite:///{tmp_path / 'fankui.db'}") as service:
        connection = http.client.HTTPConnection("127.0.0.1", service.port)
        trace = "0af7651916cd43dd8448eb211c80319c"
        headers = {
            "Content-Type": "application/json",
            "X-Request-ID": "mine-1",
            "traceparent": f"00-{trace}-b7ad6b7169203331-01",
        }
        connection.request("POST", "/v1/classify", json.dumps({"text": TEXT}), headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.headers["X-Request-ID"] == "mine-1"
        assert answer.headers["traceparent"].split("-")[1] == trace
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        service.wait_until(lambda: "mine-1" in service.log())
        entries = [json.loads(line) for line in service.log().splitlines()]
        (entry,) = [entry for entry in entries if entry.get("request_id") == "mine-1"]
        assert (entry["route"], entry["status"], entry["trace_id"]) == ("/v1/classify", 200, trace)
        assert TEXT[:4] not in service.log()
