"""docs/api.md names all that there is, and its examples run: against a real service, and one that refuses at first."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import socket
from time import sleep
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from fankui.client import Client
from service import problem
from service.api import examples
from service.app import create_app
from service.auth import SCOPES
from service.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
# How a block of each language is run; the file has the name that Java insists on.
PROGRAMS = {
    "sh": ("bash", "example.sh", ["bash", "-euo", "pipefail"]),
    "python": (sys.executable, "example.py", [sys.executable]),
    "java": ("java", "PostTicket.java", ["java", "-Dfile.encoding=UTF-8"]),
    "javascript": ("node", "example.mjs", ["node"]),
}
# An example that is refused must not pass because curl ends well.
_STRICT_CURL = 'curl() { command curl --fail-with-body "$@"; }\n'


def _blocks(language: str, page: str = PAGE) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def _requests() -> list[str]:
    """The blocks of curl, without those of the command line."""
    return [block for block in _blocks("sh") if "curl" in block]


def _complete_example(language: str) -> str:
    (section,) = re.findall(r"^## 完整示例.*?(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
    (block,) = _blocks(language, section)
    return str(block)


def _run(language: str, code: str, folder: Path, environment: dict[str, str]) -> str:
    """What the code prints; fails when it fails, skips when there is nothing to run it with."""
    program, name, command = PROGRAMS[language]
    for needed in (program, "curl") if language == "sh" else (program,):
        if not shutil.which(needed):
            pytest.skip(f"{needed} is not installed, so the {language} example is not run")
    (folder / name).write_text(code, encoding="utf-8")
    done = subprocess.run(
        [*command, name],
        cwd=folder,
        env=os.environ | {"PYTHONUTF8": "1"} | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _fankui(name: str, *arguments: str) -> list[str]:
    """The command line of a command of `fankui`, without the need of an installed script."""
    return [sys.executable, "-c", f"from service.cli import {name}_command; {name}_command()", *arguments]


def _new_key(arguments: list[str], environment: dict[str, str]) -> str:
    command = _fankui("keys", *arguments)
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def service(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """`fankui serve`, asking for keys; gives the variables that the page's examples read."""
    folder = tmp_path_factory.mktemp("docs")
    with socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = str(unused.getsockname()[1])
    settings = {
        "FANKUI_DATABASE_URL": f"sqlite:///{folder / 'fankui.db'}",
        "FANKUI_MODEL": str(tiny_bundle),
        "FANKUI_THREADS": "1",
        "FANKUI_PORT": port,
        "FANKUI_REVIEW_SAMPLE": "1",
    }
    (command,) = re.findall(r"^fankui keys (create .*)$", PAGE, re.MULTILINE)
    variables = {
        "FANKUI_URL": f"http://127.0.0.1:{port}",
        "FANKUI_KEY": _new_key(shlex.split(command), settings),
        "FANKUI_ADMIN_KEY": _new_key(["create", "operations", "--scope", "admin"], settings),
    }
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(_fankui("serve"), env=os.environ | settings, stderr=log)
    try:
        with Client(base_url=variables["FANKUI_URL"], retries=600, sleep=lambda _: sleep(0.1)) as client:
            client.ready()
        yield variables
    finally:
        process.terminate()
        process.wait()


class _Refusing(BaseHTTPRequestHandler):
    """Refuses with 429, then with 503, then takes what comes."""

    received: list[tuple[str | None, Any]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append((self.headers["Authorization"], json.loads(body)))
        status = {1: 429, 2: 503}.get(len(self.received), 200)
        answer = json.dumps(examples.TICKET if status == 200 else {"title": "Busy", "detail": "Wait."}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        if status == 429:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name in the base class)
        pass


@pytest.fixture
def refusing() -> Iterator[tuple[str, list[tuple[str | None, Any]]]]:
    """The address of a service that refuses twice, and what it received."""
    received: list[tuple[str | None, Any]] = []
    handler = type("_Handler", (_Refusing,), {"received": received})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def paths() -> dict[str, Any]:
    """The routes, by path and method."""
    found: dict[str, Any] = create_app(Settings()).openapi()["paths"]
    return found


def test_the_page_names_every_route_and_no_other(paths: dict[str, Any]) -> None:
    routes = {f"{method.upper()} {path}" for path, operations in paths.items() for method in operations}
    named = set(re.findall(r"^\| `((?:GET|POST|PUT|PATCH|DELETE) /[^`]*)` \|", PAGE, re.MULTILINE))
    assert named == routes


def test_every_route_is_named_with_the_scope_that_it_asks_for(service: dict[str, str]) -> None:
    rows = re.findall(r"^\| `([A-Z]+) (/[^`]*)` \| `?([^`|]*)`? \|", PAGE, re.MULTILINE)
    assert {scope for *_, scope in rows} == {*SCOPES, "无需密钥"}
    with httpx.Client(base_url=service["FANKUI_URL"]) as client:
        for method, path, scope in rows:
            body: dict[str, Any] | None = {} if method == "POST" else None
            if scope not in SCOPES:
                assert client.request(method, path, json=body).status_code == 200
                continue
            assert client.request(method, path, json=body).status_code == 401, path
            others = service["FANKUI_KEY" if scope == "admin" else "FANKUI_ADMIN_KEY"]
            refused = client.request(method, path, headers={"Authorization": f"Bearer {others}"}, json=body)
            assert (refused.status_code, f"lacks the scope {scope};" in refused.text) == (403, True), path


def test_the_page_names_every_scope_and_every_kind_of_problem() -> None:
    kinds = [kind.slug for name, kind in vars(problem).items() if isinstance(kind, problem.Kind) and name[0] != "_"]
    assert len(kinds) > 10
    for name in (*kinds, *SCOPES):
        assert f"`{name}`" in PAGE


def test_the_page_names_only_settings_that_there_are() -> None:
    named = set(re.findall(r"FANKUI_[A-Z_]+", PAGE)) - {"FANKUI_URL", "FANKUI_KEY", "FANKUI_ADMIN_KEY"}
    assert named <= {f"FANKUI_{name.upper()}" for name in Settings.model_fields}


def test_the_links_within_the_page_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    # As GitHub makes them: punctuation goes, each blank becomes a hyphen.
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]*)\)", PAGE)) <= anchors


@pytest.mark.parametrize("language", PROGRAMS)
def test_the_complete_example_stores_a_ticket(language: str, service: dict[str, str], tmp_path: Path) -> None:
    code = _complete_example(language)
    printed = _run(language, code, tmp_path, service)
    (ticket_id,) = re.findall(r"T-\d+", code)
    with Client(base_url=service["FANKUI_URL"], api_key=service["FANKUI_KEY"]) as client:
        ticket = client.get_ticket(ticket_id)
    assert ticket.text in code
    assert ticket.sentiment.label in printed


@pytest.mark.parametrize("language", PROGRAMS)
def test_the_complete_example_tries_again_when_refused(
    language: str, refusing: tuple[str, list[tuple[str | None, Any]]], tmp_path: Path
) -> None:
    address, received = refusing
    _run(language, _complete_example(language), tmp_path, {"FANKUI_URL": address, "FANKUI_KEY": "fk_a_b"})
    assert len(received) == 3
    assert received[0] == received[1] == received[2]
    assert received[0][0] == "Bearer fk_a_b"


def test_all_examples_of_curl_run_one_after_the_other(service: dict[str, str], tmp_path: Path) -> None:
    assert len(_requests()) > 5
    _run("sh", _STRICT_CURL + "\n".join(_requests()), tmp_path, service)


def test_all_examples_of_python_run_one_after_the_other(service: dict[str, str], tmp_path: Path) -> None:
    blocks = _blocks("python")
    assert len(blocks) > 5
    # The curl examples' ticket is among those that the Python ones find.
    with Client(base_url=service["FANKUI_URL"], api_key=service["FANKUI_KEY"]) as client:
        client.post_ticket("T-1001", "说好周一上门，等到周三也没人来")
    printed = "".join(_run("python", block, tmp_path, service) for block in blocks)
    assert "T-1001" in printed and "不满原因" in printed


def test_the_signature_example_accepts_what_is_genuine_and_nothing_else() -> None:
    (block,) = (block for block in _blocks("python") if "def is_genuine" in block)
    namespace: dict[str, Any] = {}
    exec(block, namespace)
    is_genuine = namespace["is_genuine"]
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", '{"type":"ping","data":{"说":"好"}}'

    def headers(at: datetime, message: str = "msg_1") -> dict[str, str]:
        signature = Webhook(secret).sign(message, at, body)
        return {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": f"v1,AAAA {signature}",
        }

    now = datetime.now(UTC)
    assert is_genuine(secret, headers(now), body.encode())
    assert not is_genuine(secret, headers(now), body.encode() + b" ")
    assert not is_genuine(secret, headers(now, "msg_2"), body.encode())
    assert not is_genuine("whsec_" + "A" * 32, headers(now), body.encode())
    assert not is_genuine(secret, headers(now - timedelta(minutes=6)), body.encode())
