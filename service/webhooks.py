"""Webhooks out: events signed after Standard Webhooks (https://www.standardwebhooks.com) and sent until acknowledged.

Where a webhook goes its owner decides, who must not reach our own network through it: a URL is checked when it is set,
and the addresses of its host before each sending, which then goes to a checked address.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import random
import re
import secrets
import socket
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from importlib.metadata import version
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from time import monotonic

import httpx

from fankui.errors import FankuiError
from service.metrics import Metrics
from service.settings import Settings
from service.store import webhooks
from service.store.database import Database
from service.store.webhooks import Due

log = logging.getLogger(__name__)

LONGEST_URL = 2_000
_SECRET_PREFIX = "whsec_"
_USER_AGENT = f"fankui/{version('fankui')}"
_PRIVATE_SETTING = "FANKUI_WEBHOOK_PRIVATE_ADDRESSES"

_MINUTE, _HOUR = 60, 3600
# How long to wait after each failed attempt, as the specification suggests.
_BACKOFF_SECONDS = (
    5, 5 * _MINUTE, 30 * _MINUTE, 2 * _HOUR, 5 * _HOUR, 10 * _HOUR, 14 * _HOUR, 20 * _HOUR, 24 * _HOUR,
)  # fmt: skip
_JITTER = 0.1

_MOST_AT_ONCE = 16
_MOST_PER_WEBHOOK = 4
_POLL_SECONDS = 2.0
_LEASE_SLACK_SECONDS = 30.0

_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*|[0-9a-f:.]+")
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


class UnusableUrlError(FankuiError):
    """A webhook may not go to this URL."""


class UnusableSecretError(FankuiError):
    """This is not a secret after Standard Webhooks."""


def new_secret() -> str:
    """A secret for a new webhook."""
    return _SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def signing_key(secret: str) -> bytes:
    """The bytes that a secret stands for. Raises UnusableSecretError."""
    try:
        key = base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_SECRET_PREFIX) or not 24 <= len(key) <= 64:
        raise UnusableSecretError(
            f"This must be {_SECRET_PREFIX} and the base64 of 24 to 64 bytes; leave it out to have one made."
        )
    return key


def signature(secret: str, message_id: str, timestamp: int, body: str) -> str:
    """The `webhook-signature` of a message."""
    signed = hmac.digest(signing_key(secret), f"{message_id}.{timestamp}.{body}".encode(), hashlib.sha256)
    return f"v1,{base64.b64encode(signed).decode()}"


def check_url(text: str, *, private: bool) -> httpx.URL:
    """The URL, if a webhook may go there as far as one can tell without asking for its host's addresses.

    `private` allows plain HTTP, and private and loopback addresses. Raises UnusableUrlError.
    """
    if len(text) > LONGEST_URL:
        raise UnusableUrlError(f"The URL has {len(text):,} characters; {LONGEST_URL:,} are allowed.")
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError) as error:
        raise UnusableUrlError("This is not a URL; send one like https://example.com/hook.") from error
    if url.scheme != "https" and not (private and url.scheme == "http"):
        raise UnusableUrlError(f"The URL must begin with https://; {_PRIVATE_SETTING}=true also allows http://.")
    if url.userinfo:
        raise UnusableUrlError("The URL must not hold a user or password; events are signed with the secret instead.")
    if not _HOST.fullmatch(_host(url)) or not 1 <= _port(url) <= 65_535:
        raise UnusableUrlError("The URL has no usable host and port; send one like https://example.com/hook.")
    with suppress(ValueError):  # A name is no address yet.
        _check_address(_host(url), private=private)
    return url


def _host(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii")


def _port(url: httpx.URL) -> int:
    return url.port if url.port is not None else 443 if url.scheme == "https" else 80


def _check_address(text: str, *, private: bool) -> None:
    if not private and not _is_public(ip_address(text)):
        raise UnusableUrlError(f"The URL leads to an address that is not public; {_PRIVATE_SETTING}=true allows that.")


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast
    if address in _NAT64:
        return _is_public(IPv4Address(address.packed[-4:]))
    if embedded := address.ipv4_mapped or address.sixtofour:
        return _is_public(embedded)
    return address.is_global and address in _GLOBAL_UNICAST


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of sending: the HTTP status, if one came, and why it does not count as delivered (None: it does)."""

    status: int | None
    error: str | None


class Sender:
    """Sends signed messages."""

    def __init__(self, settings: Settings) -> None:
        self._seconds = settings.webhook_timeout_seconds
        self._private = settings.webhook_private_addresses
        self._tls = httpx.create_ssl_context()

    async def send(self, message_id: str, url: str, secret: str, payload: str, now: datetime) -> Reply:
        """Send a message once, and tell how it went."""
        timestamp = int(now.timestamp())
        headers = {
            "content-type": "application/json",
            "user-agent": _USER_AGENT,
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(secret, message_id, timestamp, payload),
        }
        try:
            async with asyncio.timeout(self._seconds):
                target = check_url(url, private=self._private)
                status = await self._post(target, await self._addresses(target), headers, payload.encode())
        except UnusableUrlError as error:
            return Reply(None, str(error))
        except TimeoutError:
            return Reply(None, f"The receiver did not answer within {self._seconds:g} seconds.")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return Reply(None, f"The receiver cannot be reached: {str(error)[:200] or type(error).__name__}.")
        return Reply(status, None if 200 <= status < 300 else f"The receiver answered with status {status}.")

    async def _addresses(self, url: httpx.URL) -> list[str]:
        """The addresses of the URL's host. Raises UnusableUrlError if one of them is not allowed, and OSError."""
        found = await asyncio.get_running_loop().getaddrinfo(_host(url), _port(url), type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
        for address in addresses:
            _check_address(address, private=self._private)
        return addresses

    async def _post(self, url: httpx.URL, addresses: list[str], headers: dict[str, str], body: bytes) -> int:
        """Post to the first of the addresses that takes the connection; returns the status. Raises httpx.HTTPError."""
        # A client for each message: another host with the same address must get neither cookies nor a connection
        # that were meant for this one. No proxy of the environment: it would ask for the addresses again.
        client = httpx.AsyncClient(verify=self._tls, trust_env=False, follow_redirects=False, timeout=None)
        headers = headers | {"host": url.netloc.decode("ascii")}
        failure = httpx.ConnectError("the host has no address")
        async with client:
            for address in addresses:
                target, extensions = url.copy_with(host=address), {"sni_hostname": _host(url)}
                try:
                    async with client.stream(
                        "POST", target, headers=headers, content=body, extensions=extensions
                    ) as response:
                        return response.status_code  # What the body says is of no interest: it is not read.
                except httpx.ConnectError as error:
                    failure = error
        raise failure


class Dispatcher:
    """Sends deliveries when they are due. Any number may run on one database, in one process or several."""

    def __init__(self, database: Database, settings: Settings, metrics: Metrics, wake: asyncio.Event) -> None:
        self._database = database
        self._metrics = metrics
        self._wake = wake
        self._sender = Sender(settings)
        self._lease_seconds = settings.webhook_timeout_seconds + _LEASE_SLACK_SECONDS
        self._busy: Counter[str] = Counter()

    async def run(self) -> None:
        """Send whatever falls due, until cancelled. What is cut off then is sent again when its lease has run out."""
        async with asyncio.TaskGroup() as sending:
            while True:
                self._wake.clear()
                now = datetime.now(UTC)
                try:
                    for delivery in await self._claim(now):
                        sending.create_task(self._deliver(delivery, now))
                except Exception as error:
                    known = isinstance(error, FankuiError)
                    log.error("Webhooks wait, the database is asked again soon: %s", error, exc_info=not known)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_SECONDS):
                        await self._wake.wait()

    async def send_due(self, now: datetime) -> int:
        """One round: send what is due now, as far as there is room, and wait for it; returns how many were sent."""
        claimed = await self._claim(now)
        await asyncio.gather(*(self._deliver(delivery, now) for delivery in claimed))
        return len(claimed)

    async def _claim(self, now: datetime) -> list[Due]:
        room, busy = _MOST_AT_ONCE - self._busy.total(), dict(self._busy)
        if not room:
            return []
        claimed = await self._database.write(
            lambda connection: webhooks.due(
                connection, now, self._lease_seconds, room, per_webhook=_MOST_PER_WEBHOOK, busy=busy
            )
        )
        self._busy.update(delivery.webhook_id for delivery in claimed)
        return claimed

    async def _deliver(self, delivery: Due, now: datetime) -> None:
        """Send a delivery and note how it went. Raises nothing: without a note it is sent again later."""
        started = monotonic()
        try:
            reply = await self._sender.send(delivery.id, delivery.url, delivery.secret, delivery.payload, now)
            ended = now + timedelta(seconds=monotonic() - started)
            again_at = None if reply.error is None else _next_attempt(delivery, reply, ended)
            await self._database.write(
                lambda connection: webhooks.settle(connection, delivery, error=reply.error, again_at=again_at)
            )
            self._metrics.delivery("delivered" if reply.error is None else "failed" if again_at else "dead")
        except Exception:
            log.exception("How the delivery %s went could not be noted; it is sent again.", delivery.id)
        finally:
            self._busy[delivery.webhook_id] -= 1
            self._wake.set()  # There is room for another.


def _next_attempt(delivery: Due, reply: Reply, now: datetime) -> datetime | None:
    """When to send a failed delivery again; None when all attempts are used up, or the receiver is gone for good."""
    if reply.status == HTTPStatus.GONE or delivery.attempts >= len(_BACKOFF_SECONDS):
        return None
    return now + timedelta(seconds=_BACKOFF_SECONDS[delivery.attempts] * random.uniform(1 - _JITTER, 1 + _JITTER))
