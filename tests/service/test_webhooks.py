"""Webhooks: events of new tickets, signed and sent until acknowledged, on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import socket
import ssl
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select, text
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from fankui.replies import ReplyRules
from service import problem
from service.api import webhooks as api
from service.api.deps import Parts
from service.auth import Gatekeeper, Scope, new_key
from service.inference import Inference
from service.metrics import Metrics
from service.observe import Observe
from service.rate_limit import RateLimit
from service.settings import Settings
from service.store import keys, tickets, webhooks
from service.store.database import Database
from service.store.tables import AuditEntry, Delivery
from service.store.tickets import Labels, NewTicket
from service.ticketing import Ticketing
from service.webhooks import (
    Dispatcher,
    UnusableSecretError,
    UnusableUrlError,
    _is_public,
    check_url,
    new_secret,
    signing_key,
)

NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)
SECRET = "whsec_" + base64.b64encode(b"thirty-two bytes only for tests.").decode()
TEXT = "约好周六上门装空调，等了一天没人来"


class _Server(ThreadingHTTPServer):
    request_queue_size = 64  # With the usual 5, connections that come at once are dropped on a busy machine.


class Receiver:
    """A real HTTP server: answers with `status`, and remembers what it was sent."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.status = 204
        self.headers: dict[str, str] = {}
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.open = threading.Event()
        """Requests are answered while this is set."""
        self.open.set()
        self.waiting = threading.Semaphore(0)
        """Released for each request that came in."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
                receiver.waiting.release()
                receiver.open.wait(30)
                with suppress(OSError):  # The sender may have given up.
                    self.send_response(receiver.status)
                    for name, value in receiver.headers.items():
                        self.send_header(name, value)
                    self.end_headers()

            do_GET = do_POST  # noqa: N815 (the server looks for this name)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.requests]

    def close(self) -> None:
        self.open.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def receiving(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    server = Receiver(tls)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


def put(database: Database, ticket_id: str = "T-1", now: datetime = NOW, **changes: Any) -> int:
    """Store a new ticket and announce it; returns how many webhooks want it."""
    loyalty = changes.pop("loyalty", "none")
    evidence = [{"start": 0, "end": 7, "text": TEXT[:7]}]
    values: dict[str, Any] = {
        "id": ticket_id,
        "text": TEXT,
        "text_sha256": tickets.text_hash(TEXT),
        "channel": "hotline",
        "attributes": {"customer": "陈女士"},
        "created_at": now,
        "tags": {
            "id": ticket_id,
            "causes": [{"label": "broken_promise", "score": 0.9, "evidence": evidence}],
            "loyalty": {"label": loyalty, "score": 0.8},
        },
        "labels": Labels(2, "negative", "complaint", ("broken_promise", "ignored_feelings")),
        "confidence": 0.7,
        "review": None,
    }
    ticket = NewTicket(**(values | changes))
    return database.write_now(
        lambda connection: webhooks.announce(connection, tickets.put_all(connection, [ticket], now)[0][0], now)
    )


def subscribe(database: Database, url: str, now: datetime = NOW, **filters: Any) -> str:
    """Add a webhook; returns its id."""
    return str(database.write_now(lambda connection: webhooks.add(connection, url, SECRET, filters, now)).id)


def dispatcher(database: Database, **settings: Any) -> Dispatcher:
    usual: dict[str, Any] = {"webhook_private_addresses": True}
    return Dispatcher(database, Settings(**(usual | settings)), Metrics(), asyncio.Event())


def send(database: Database, now: datetime = NOW, **settings: Any) -> int:
    return asyncio.run(dispatcher(database, **settings).send_due(now))


def send_all(database: Database, now: datetime = NOW) -> int:
    """Rounds until nothing is due any more."""
    sending = dispatcher(database)

    async def rounds() -> int:
        total = 0
        while sent := await sending.send_due(now):
            total += sent
        return total

    return asyncio.run(rounds())


def delivery(database: Database) -> Any:
    """The one delivery that there is."""
    return database.read_now(lambda connection: connection.execute(select(Delivery.__table__)).one())


def states(database: Database) -> dict[str, int]:
    query = select(Delivery.state)
    return Counter(database.read_now(lambda connection: connection.execute(query).scalars().all()))


# What is announced to whom


def test_an_event_tells_the_prediction_and_the_labels_and_nothing_else_of_the_text(
    database: Database, receiver: Receiver
) -> None:
    subscribe(database, receiver.url)
    assert put(database) == 1
    assert send(database) == 1
    ((headers, body),) = receiver.requests
    assert headers["content-type"] == "application/json"
    event = json.loads(body)
    assert event["type"] == "ticket.classified"
    assert datetime.fromisoformat(event["timestamp"]) == NOW
    assert event["data"].keys() == {"id", "revision", "prediction", "labels"}
    assert (event["data"]["id"], event["data"]["revision"]) == ("T-1", 1)
    assert event["data"]["prediction"]["causes"][0]["evidence"][0]["text"] == TEXT[:7]
    assert event["data"]["labels"] == {
        "grade": 2,
        "polarity": "negative",
        "request": "complaint",
        "causes": ["broken_promise", "ignored_feelings"],
    }
    told = body.decode()
    assert TEXT not in told
    assert "陈女士" not in told
    assert told == json.dumps(event, ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({}, True),
        ({"causes": ["ignored_feelings", "other"]}, True),
        ({"causes": ["quality_below_requirement"]}, False),
        ({"polarity": ["neutral", "negative"]}, True),
        ({"polarity": ["positive"]}, False),
        ({"grades": [1, 2]}, True),
        ({"grades": [1]}, False),
        ({"request": ["complaint"]}, True),
        ({"request": ["praise"]}, False),
        ({"loyalty": ["churn"]}, True),
        ({"loyalty": ["loyal", "none"]}, False),
        ({"needs_review": True}, True),
        ({"needs_review": False}, False),
        ({"grades": [2], "polarity": ["negative"], "loyalty": ["churn"], "needs_review": True}, True),
        ({"grades": [2], "polarity": ["positive"]}, False),
    ],
)
def test_a_webhook_is_told_of_tickets_with_one_value_of_each_of_its_filters(
    database: Database, filters: dict[str, Any], wanted: bool
) -> None:
    subscribe(database, "https://example.com/hook", **filters)
    assert put(database, loyalty="churn", review="uncertain") == wanted


def test_each_webhook_that_wants_a_ticket_gets_a_delivery_of_its_own(database: Database, receiver: Receiver) -> None:
    for grades in ([1, 2], [2, 3], [4, 5]):
        subscribe(database, receiver.url, grades=grades)
    assert put(database) == 2
    assert send_all(database) == 2
    assert len(set(receiver.ids)) == 2


def test_an_event_is_lost_with_its_ticket_and_not_alone(database: Database, receiver: Receiver) -> None:
    subscribe(database, receiver.url)
    put(database)
    put(database, "T-2")
    database.write_now(lambda connection: tickets.erase(connection, "T-1"))
    assert send_all(database) == 1
    assert json.loads(receiver.requests[0][1])["data"]["id"] == "T-2"


# How it is sent


def test_the_signature_verifies_and_a_changed_body_or_other_secret_does_not(
    database: Database, receiver: Receiver
) -> None:
    now = datetime.now(UTC)
    subscribe(database, receiver.url)
    put(database, now=now)
    send(database, now)
    ((headers, body),) = receiver.requests
    assert headers["webhook-id"].startswith("msg_")
    assert Verifier(SECRET).verify(body, headers)["data"]["id"] == "T-1"
    for secret, changed in ((SECRET, body.replace(b"T-1", b"T-2")), (new_secret(), body)):
        with pytest.raises(WebhookVerificationError):
            Verifier(secret).verify(changed, headers)


def test_a_made_secret_stands_for_32_bytes_and_no_two_are_alike() -> None:
    first, second = new_secret(), new_secret()
    assert first != second
    assert len(signing_key(first)) == 32


@pytest.mark.parametrize("length", [24, 64])
def test_a_given_secret_of_24_to_64_bytes_is_taken(length: int) -> None:
    assert signing_key("whsec_" + base64.b64encode(bytes(length)).decode()) == bytes(length)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        base64.b64encode(bytes(32)).decode(),
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        "whsec_" + "机密" * 20,
        "whsec_" + "*" * 44,
        "whsec_" + "A" * 33,
    ],
)
def test_an_unusable_secret_is_refused(secret: str) -> None:
    with pytest.raises(UnusableSecretError, match="24 to 64 bytes"):
        signing_key(secret)


def test_a_redirect_is_a_failure_and_not_followed(database: Database, receiver: Receiver) -> None:
    with receiving() as elsewhere:
        receiver.status, receiver.headers = 307, {"Location": elsewhere.url}
        subscribe(database, receiver.url)
        put(database)
        send(database)
        assert elsewhere.requests == []
    assert len(receiver.requests) == 1
    found = delivery(database)
    assert (found.state, found.attempts) == ("waiting", 1)
    assert "307" in found.last_error


def test_a_cookie_of_a_receiver_is_not_sent_back(database: Database, receiver: Receiver) -> None:
    receiver.headers = {"Set-Cookie": "a=b"}
    subscribe(database, receiver.url)
    put(database)
    put(database, "T-2")
    sending = dispatcher(database)

    async def one_after_the_other() -> None:
        await sending.send_due(NOW)
        put(database, "T-3")
        await sending.send_due(NOW)

    asyncio.run(one_after_the_other())
    assert len(receiver.requests) == 3
    assert not any("cookie" in headers for headers, _ in receiver.requests)


def test_a_receiver_that_takes_too_long_has_not_got_it(database: Database, receiver: Receiver) -> None:
    receiver.open.clear()
    subscribe(database, receiver.url)
    put(database)
    send(database, webhook_timeout_seconds=0.05)
    found = delivery(database)
    assert found.state == "waiting"
    assert "within 0.05 seconds" in found.last_error


def test_a_slow_receiver_gets_four_at_a_time_and_does_not_hold_up_others(
    database: Database, receiver: Receiver
) -> None:
    with receiving() as slow:
        slow.open.clear()
        subscribe(database, slow.url)
        quick = subscribe(database, receiver.url, grades=[5])
        for number in range(20):
            put(database, f"T-{number}")

        async def scenario() -> None:
            running = asyncio.create_task(dispatcher(database).run())
            await asyncio.to_thread(lambda: [slow.waiting.acquire(timeout=20) for _ in range(4)])
            for number in range(20, 26):
                put(database, f"T-{number}", labels=Labels(5, "positive", "praise", ()))
            assert await asyncio.to_thread(lambda: all(receiver.waiting.acquire(timeout=20) for _ in range(6)))
            assert len(slow.requests) == 4
            slow.open.set()
            assert await asyncio.to_thread(lambda: all(slow.waiting.acquire(timeout=20) for _ in range(22)))
            while states(database) != {"delivered": 32}:
                await asyncio.sleep(0.01)
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

        asyncio.run(asyncio.wait_for(scenario(), 60))
        assert sorted(Counter(slow.ids).values()) == [1] * 26
    assert len(set(receiver.ids)) == len(receiver.ids) == 6
    listed = database.read_now(lambda connection: webhooks.deliveries(connection, quick, "delivered", 50))
    assert {row.id for row in listed} == set(receiver.ids)


def test_a_round_has_room_for_sixteen(database: Database, receiver: Receiver) -> None:
    for _ in range(6):
        subscribe(database, receiver.url)
    for number in range(5):
        put(database, f"T-{number}")
    assert send(database) == 16
    assert send_all(database) == 14


# Until it is acknowledged


def test_a_receiver_that_is_down_for_an_hour_gets_everything_afterwards_once(
    database: Database, receiver: Receiver
) -> None:
    subscribe(database, receiver.url)
    receiver.status = 503
    for minute in range(0, 60, 3):
        now = NOW + timedelta(minutes=minute)
        put(database, f"T-{minute}", now)
        send_all(database, now)
    refused = len(receiver.requests)
    assert refused > 20
    assert states(database) == {"waiting": 20}
    receiver.status = 200
    # The first ones have been refused so often that they wait for two hours now.
    assert send_all(database, NOW + timedelta(hours=5)) == 20
    assert states(database) == {"delivered": 20}
    assert send_all(database, NOW + timedelta(days=9)) == 0
    acknowledged = receiver.requests[refused:]
    assert sorted(json.loads(body)["data"]["id"] for _, body in acknowledged) == sorted(
        f"T-{minute}" for minute in range(0, 60, 3)
    )
    assert set(receiver.ids[:refused]) == set(receiver.ids[refused:])


def test_a_port_that_nothing_listens_on_is_a_failure_like_any(database: Database) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        subscribe(database, f"http://127.0.0.1:{free.getsockname()[1]}/hook")
        put(database)
        send(database)
    found = delivery(database)
    assert (found.state, found.attempts) == ("waiting", 1)
    assert "cannot be reached" in found.last_error


def test_retries_follow_the_schedule_and_end_after_three_days(database: Database, receiver: Receiver) -> None:
    receiver.status = 500
    subscribe(database, receiver.url)
    put(database)
    now, minute, hour = NOW, 60, 3600
    for seconds in (5, 5 * minute, 30 * minute, 2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour):
        assert send(database, now) == 1
        found = delivery(database)
        assert found.state == "waiting"
        wait = (found.due_at - now).total_seconds()
        assert 0.9 * seconds <= wait < 1.1 * seconds + 10  # Ten for the time that sending takes.
        assert send(database, found.due_at - timedelta(milliseconds=1)) == 0
        now = found.due_at
    assert send(database, now) == 1
    found = delivery(database)
    assert (found.state, found.attempts) == ("dead", 10)
    assert "500" in found.last_error
    assert send(database, now + timedelta(days=9)) == 0
    assert len(set(receiver.ids)) == 1


def test_a_receiver_that_is_gone_is_not_asked_again(database: Database, receiver: Receiver) -> None:
    receiver.status = 410
    subscribe(database, receiver.url)
    put(database)
    assert send(database) == 1
    assert states(database) == {"dead": 1}
    assert send(database, NOW + timedelta(days=9)) == 0


def test_metrics_count_what_became_of_attempts(database: Database, receiver: Receiver) -> None:
    subscribe(database, receiver.url)
    put(database)
    metrics = Metrics()
    sending = Dispatcher(database, Settings(webhook_private_addresses=True), metrics, asyncio.Event())
    for day, status in enumerate((500, 410)):
        receiver.status = status
        asyncio.run(sending.send_due(NOW + timedelta(days=day)))
    receiver.status = 202
    put(database, "T-2")
    asyncio.run(sending.send_due(NOW))
    told = metrics.exposition().decode()
    for outcome in ("delivered", "failed", "dead"):
        assert f'fankui_webhook_deliveries_total{{outcome="{outcome}"}} 1.0' in told


def test_two_dispatchers_on_one_database_send_nothing_twice(
    database: Database, database_url: str, receiver: Receiver
) -> None:
    for _ in range(8):
        subscribe(database, receiver.url)
    for number in range(8):
        put(database, f"T-{number}")
    other = Database.of(Settings(database_url=database_url))
    try:

        async def scenario() -> int:
            pair, total = (dispatcher(database), dispatcher(other)), 0
            while sent := sum(await asyncio.gather(*(each.send_due(NOW) for each in pair))):
                total += sent
            return total

        assert asyncio.run(scenario()) == 64
    finally:
        other.close()
    assert len(receiver.ids) == len(set(receiver.ids)) == 64


def claim(database: Database, now: datetime) -> list[webhooks.Due]:
    return database.write_now(lambda connection: webhooks.due(connection, now, 40, 16, per_webhook=4, busy={}))


def settle(database: Database, due: webhooks.Due, error: str | None, again_at: datetime | None = None) -> None:
    database.write_now(lambda connection: webhooks.settle(connection, due, error=error, again_at=again_at))


def test_what_a_crashed_process_had_claimed_is_sent_with_the_same_id_once_the_lease_has_run_out(
    database: Database, receiver: Receiver
) -> None:
    subscribe(database, receiver.url)
    put(database)
    (claimed,) = claim(database, NOW)
    assert send(database, NOW + timedelta(seconds=39)) == 0
    assert send(database, NOW + timedelta(seconds=40)) == 1
    assert receiver.ids == [claimed.id]


def test_a_failure_reported_after_the_lease_changes_nothing_but_an_acknowledgement_counts(database: Database) -> None:
    subscribe(database, "https://example.com/hook")
    put(database)
    (late,) = claim(database, NOW)
    (present,) = claim(database, late.leased_until)
    settle(database, late, "too late")
    found = delivery(database)
    assert (found.state, found.attempts, found.due_at) == ("waiting", 0, present.leased_until)
    settle(database, late, None)
    assert delivery(database).state == "delivered"
    settle(database, present, "the other one failed", NOW)
    assert delivery(database).state == "delivered"


def test_a_database_failure_does_not_end_the_dispatcher(
    database: Database, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    subscribe(database, receiver.url)
    put(database)

    def rename(old: str, new: str) -> None:
        database.write_now(lambda connection: connection.execute(text(f"ALTER TABLE {old} RENAME TO {new}")).close())

    async def scenario() -> None:
        rename("webhooks", "elsewhere")
        wake = asyncio.Event()
        sending = Dispatcher(database, Settings(webhook_private_addresses=True), Metrics(), wake)
        running = asyncio.create_task(sending.run())
        while "Webhooks wait" not in caplog.text:
            await asyncio.sleep(0.01)
        rename("elsewhere", "webhooks")
        wake.set()
        assert await asyncio.to_thread(receiver.waiting.acquire, timeout=20)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    asyncio.run(asyncio.wait_for(scenario(), 60))
    assert len(receiver.requests) == 1


# Where it may go


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hook?team=7",
        "https://例子.example:8443/推送",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]:444/",
        "https://example.com/" + "a" * 1980,
    ],
)
def test_a_public_https_url_is_taken(url: str) -> None:
    check_url(url, private=False)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://example.com/", "https://"),
        ("ftp://example.com/", "https://"),
        ("example.com", "https://"),
        ("", "https://"),
        ("https://", "host"),
        ("https:///hook", "host"),
        ("https://a b/", "host"),
        ("https://example.com:0/", "port"),
        ("https://example.com:99999/", "port"),
        ("https://exa\nmple.com/", "not a URL"),
        ("https://[::1/", "not a URL"),
        ("https://user:pass@example.com/", "user or password"),
        ("https://example.com\\@8.8.8.8/", "user or password"),
        ("https://example.com/" + "a" * 1981, "2,001 characters"),
        ("https://127.0.0.1/", "not public"),
        ("https://10.1.2.3/", "not public"),
        ("https://169.254.169.254/latest", "not public"),
        ("https://[::1]/", "not public"),
        ("https://[::ffff:192.168.0.1]/", "not public"),
        ("https://[fd00::1]/", "not public"),
    ],
)
def test_an_unusable_url_is_refused_with_the_reason(url: str, says: str) -> None:
    with pytest.raises(UnusableUrlError, match=says):
        check_url(url, private=False)


@pytest.mark.parametrize("url", ["http://10.1.2.3:8080/hook", "http://localhost/", "https://[::1]/"])
def test_a_setting_allows_private_receivers(url: str) -> None:
    check_url(url, private=True)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.1.1", "172.16.0.1", "192.168.1.1", "198.18.0.1",
        "224.0.0.1", "255.255.255.255", "::", "::1", "::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::1",
        "2002:a00:1::", "2001:db8::1", "fc00::1", "fe80::1", "fec0::1", "ff02::1",
    ],
)  # fmt: skip
def test_an_address_of_a_network_of_its_own_is_not_public(address: str) -> None:
    assert not _is_public(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::8.8.8.8"])
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert _is_public(ip_address(address))


@pytest.mark.parametrize("host", ["localhost", "127.1", "0x7f000001", "2130706433"])
def test_a_host_that_turns_out_to_be_private_is_not_connected_to(
    database: Database, receiver: Receiver, host: str
) -> None:
    subscribe(database, f"https://{host}:{receiver.port}/hook")
    put(database)
    assert send(database, webhook_private_addresses=False) == 1
    assert receiver.requests == []
    found = delivery(database)
    assert found.state == "waiting"
    assert "not public" in found.last_error


def test_a_name_that_does_not_exist_is_a_failure_like_any(database: Database) -> None:
    subscribe(database, "https://" + "a" * 64 + ".invalid/hook")
    put(database)
    send(database)
    assert "cannot be reached" in delivery(database).last_error


def certificate(folder: Path, name: str) -> ssl.SSLContext:
    """A certificate for a host name, signed by itself: `folder / "certificate.pem"`."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    key, found = folder / "key.pem", folder / "certificate.pem"
    subject = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subprocess.run([*made, "-keyout", key, "-out", found, *subject], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(found, key)
    return context


def test_tls_asks_for_the_name_although_it_connects_to_the_address(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls, asked = certificate(tmp_path, "localhost"), []
    tls.sni_callback = lambda _socket, name, _context: asked.append(name)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    with receiving(tls) as server:
        subscribe(database, f"https://localhost:{server.port}/hook?team=7")
        put(database)
        send(database)
        assert states(database) == {"delivered": 1}, delivery(database).last_error
        ((headers, _),) = server.requests
        assert headers["host"] == f"localhost:{server.port}"
    assert asked == ["localhost"]


def test_a_certificate_of_another_name_is_refused(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = certificate(tmp_path, "other.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    with receiving(tls) as server:
        subscribe(database, f"https://localhost:{server.port}/hook")
        put(database)
        send(database)
        assert server.requests == []
    assert "certificate" in delivery(database).last_error


# Over HTTP


@pytest.fixture(scope="module")
def inference(tiny_bundle: Path) -> Inference:
    loaded = Inference(Settings(model=tiny_bundle, threads=1))
    asyncio.run(loaded.reload())
    return loaded


Start = Callable[..., TestClient]


@pytest.fixture
def start(database: Database, inference: Inference) -> Start:
    """Makes applications of the webhooks alone, with these settings."""

    def make(**settings: Any) -> TestClient:
        usual: dict[str, Any] = {"development": True, "webhook_private_addresses": True}
        chosen = Settings(**(usual | settings))
        app, metrics = FastAPI(), Metrics()
        app.state.parts = Parts(
            settings=chosen,
            metrics=metrics,
            database=database,
            inference=inference,
            ticketing=Ticketing(chosen, database, inference, metrics),
            gatekeeper=Gatekeeper(database),
            rate_limit=RateLimit(0),
            reply_rules=ReplyRules.load(),
        )
        app.add_middleware(Observe, metrics=metrics)
        problem.install(app)
        app.include_router(api.router)
        return TestClient(app, raise_server_exceptions=False)

    return make


def audit(database: Database) -> list[tuple[str, str]]:
    query = select(AuditEntry.action, AuditEntry.subject).order_by(AuditEntry.id)
    return [(row.action, row.subject) for row in database.read_now(lambda connection: connection.execute(query).all())]


def test_a_webhook_is_made_listed_and_removed_and_its_secret_shown_once(start: Start, database: Database) -> None:
    client = start()
    filters = {"causes": ["broken_promise"], "polarity": ["negative"], "grades": [1, 2], "needs_review": False}
    made = client.post("/v1/webhooks", json={"url": "https://example.com/hook", "filters": filters}).json()
    assert len(signing_key(made.pop("secret"))) == 32
    assert {name: value for name, value in made["filters"].items() if value is not None} == filters
    assert client.get("/v1/webhooks").json() == {"items": [made]}
    assert client.delete(f"/v1/webhooks/{made['id']}").status_code == 204
    assert client.get("/v1/webhooks").json() == {"items": []}
    assert audit(database) == [("webhook.create", made["id"]), ("webhook.remove", made["id"])]


def test_filters_set_over_http_decide_who_is_told(start: Start, database: Database) -> None:
    client = start()
    for filters in ({"needs_review": True}, {"needs_review": False}, {"loyalty": ["churn"], "grades": [1]}, {}):
        made = client.post("/v1/webhooks", json={"url": "https://example.com/hook", "filters": filters})
        assert made.status_code == 200
    assert put(database) == 2
    assert put(database, "T-2", review="sample", loyalty="churn", labels=Labels(1, "negative", "complaint", ())) == 3


def test_a_secret_of_the_callers_own_signs_the_ping(start: Start, receiver: Receiver) -> None:
    client = start()
    made = client.post("/v1/webhooks", json={"url": receiver.url, "secret": SECRET}).json()
    assert made["secret"] == SECRET
    answer = client.post(f"/v1/webhooks/{made['id']}/test")
    assert answer.json() == {"delivered": True, "status": 204, "error": None}
    ((headers, body),) = receiver.requests
    event = Verifier(SECRET).verify(body, headers)
    assert (event["type"], event["data"]) == ("ping", {})


def test_a_ping_that_fails_tells_the_status_and_is_no_delivery(start: Start, receiver: Receiver) -> None:
    client = start()
    receiver.status = 401
    webhook_id = client.post("/v1/webhooks", json={"url": receiver.url}).json()["id"]
    answer = client.post(f"/v1/webhooks/{webhook_id}/test").json()
    assert (answer["delivered"], answer["status"]) == (False, 401)
    assert "401" in answer["error"]
    assert client.get(f"/v1/webhooks/{webhook_id}/deliveries").json() == {"items": []}


@pytest.mark.parametrize(
    ("change", "field", "says"),
    [
        ({"url": "http://example.com/"}, "url", "https://"),
        ({"url": "https://192.168.1.1/"}, "url", "not public"),
        ({"secret": "whsec_short"}, "secret", "24 to 64 bytes"),
        ({"filters": {"causes": ["lateness"]}}, "filters.causes", "'lateness' is not a label; there are: unmet"),
        ({"filters": {"request": ["complaint", "refund"]}}, "filters.request", "'refund' is not a label"),
        ({"filters": {"loyalty": ["maybe"]}}, "filters.loyalty", "churn"),
        ({"filters": {"grades": [0, 5]}}, "filters.grades", "0 is not a label; there are: 1, 2, 3, 4, 5."),
        ({"filters": {"polarity": ["bad"]}}, "filters.polarity.0", "negative"),
        ({"filters": {"causes": []}}, "filters.causes", "at least 1"),
        ({"filters": {"cause": ["broken_promise"]}}, "filters.cause", "not known"),
        ({"filter": {}}, "filter", "not known"),
    ],
)
def test_a_faulty_webhook_is_refused_and_names_the_field(
    start: Start, change: dict[str, Any], field: str, says: str
) -> None:
    client = start(webhook_private_addresses=False)
    answer = client.post("/v1/webhooks", json={"url": "https://example.com/hook"} | change)
    assert answer.status_code == 422
    assert {fault["field"]: fault["message"] for fault in answer.json()["errors"]}[field].find(says) >= 0
    assert client.get("/v1/webhooks").json() == {"items": []}


def test_dead_deliveries_are_listed_and_sent_again_on_request(
    start: Start, database: Database, receiver: Receiver
) -> None:
    client = start()
    webhook_id = client.post("/v1/webhooks", json={"url": receiver.url}).json()["id"]
    path = f"/v1/webhooks/{webhook_id}"
    receiver.status = 410
    for number in range(3):
        put(database, f"T-{number}", NOW + timedelta(seconds=number))
    send_all(database, NOW + timedelta(minutes=1))
    receiver.status = 500
    put(database, "T-3", NOW + timedelta(minutes=2))
    send_all(database, NOW + timedelta(minutes=2))
    dead = client.get(f"{path}/deliveries", params={"state": "dead"}).json()["items"]
    assert [entry["ticket_id"] for entry in dead] == ["T-2", "T-1", "T-0"]
    assert all((entry["attempts"], entry["due_at"]) == (1, None) for entry in dead)
    assert "410" in dead[0]["last_error"]
    newest = client.get(f"{path}/deliveries", params={"limit": 1}).json()["items"]
    assert [(entry["ticket_id"], entry["state"]) for entry in newest] == [("T-3", "waiting")]
    assert datetime.fromisoformat(newest[0]["due_at"]) > NOW + timedelta(minutes=2)

    receiver.status, before = 200, len(receiver.requests)
    assert client.post(f"{path}/replay").json() == {"replayed": 3}
    assert client.post(f"{path}/replay").json() == {"replayed": 0}
    send_all(database, datetime.now(UTC) + timedelta(minutes=1))
    assert {entry["id"] for entry in dead} <= set(receiver.ids[before:])
    delivered = client.get(f"{path}/deliveries", params={"state": "delivered"}).json()["items"]
    assert len(delivered) == 4
    assert all(entry["last_error"] is None for entry in delivered)
    assert ("webhook.replay", webhook_id) in audit(database)


def test_a_removed_webhook_takes_its_deliveries_along(start: Start, database: Database, receiver: Receiver) -> None:
    client = start()
    webhook_id = client.post("/v1/webhooks", json={"url": receiver.url}).json()["id"]
    put(database)
    client.delete(f"/v1/webhooks/{webhook_id}")
    assert send_all(database) == 0
    assert states(database) == {}


@pytest.mark.parametrize(
    ("method", "path"), [("DELETE", ""), ("GET", "/deliveries"), ("POST", "/replay"), ("POST", "/test")]
)
def test_a_webhook_that_is_not_there_is_reported(start: Start, method: str, path: str) -> None:
    answer = start().request(method, f"/v1/webhooks/wh_000000000000{path}")
    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:fankui:problem:no-such-webhook"
    assert "wh_000000000000" in answer.json()["detail"]


def authorised(database: Database, scope: Scope) -> dict[str, str]:
    """The header of a new key with this scope."""
    token, key = new_key("crm", [scope])
    database.write_now(lambda connection: keys.add(connection, key, NOW))
    return {"Authorization": f"Bearer {token}"}


def test_only_a_key_with_the_scope_admin_may_do_any_of_it(start: Start, database: Database) -> None:
    client = start(development=False)
    other, admin = authorised(database, "tickets:write"), authorised(database, "admin")
    for method, path, allowed in (
        ("POST", "", 200),
        ("GET", "", 200),
        ("DELETE", "/wh_0", 404),
        ("GET", "/wh_0/deliveries", 404),
        ("POST", "/wh_0/replay", 404),
        ("POST", "/wh_0/test", 404),
    ):
        for headers, expected in ((None, 401), (other, 403), (admin, allowed)):
            body = {"url": "https://example.com/hook"}
            answer = client.request(method, f"/v1/webhooks{path}", json=body, headers=headers)
            assert answer.status_code == expected, (method, path)


def test_the_examples_are_accepted_and_answers(start: Start) -> None:
    client = start(webhook_private_addresses=False)
    document = client.get("/openapi.json").json()
    create = document["paths"]["/v1/webhooks"]["post"]
    for example in create["requestBody"]["content"]["application/json"]["examples"].values():
        assert client.post("/v1/webhooks", json=example["value"]).status_code == 200
    api.CreatedWebhook.model_validate(create["responses"]["200"]["content"]["application/json"]["example"])
