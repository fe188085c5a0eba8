"""`fankui serve` as a real process, and the container's health check against it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from typer.testing import CliRunner

from service.cli import serve_command

ROOT = Path(__file__).parents[2]
SERVE = "from service.cli import serve_command; serve_command()"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def health_check() -> list[str]:
    """The image's health check, run with this interpreter."""
    (found,) = re.findall(r"HEALTHCHECK [^\[]*CMD (\[.*\])", DOCKERFILE)
    _python, *arguments = json.loads(found)
    return [sys.executable, *arguments]


@pytest.fixture(scope="module")
def server(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A service that listens, and its port."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, "--port", "0", "--model", str(tiny_bundle), "--threads", "1"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ
        | {"FANKUI_PORT": "1", "FANKUI_DATABASE_URL": f"sqlite:///{tmp_path_factory.mktemp('store')}/f.db"},
    )
    assert process.stderr
    said = []
    for line in process.stderr:
        said.append(line)
        if started := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
            yield process, int(started[1])
            break
    else:
        pytest.fail("the service did not start:\n" + "".join(said))
    process.kill()
    process.wait()


def test_it_answers_without_telling_what_it_runs_on(server: tuple[subprocess.Popen[str], int]) -> None:
    with urlopen(f"http://127.0.0.1:{server[1]}/healthz") as response:
        assert response.status == 200
        assert "server" not in response.headers


def test_it_refuses_a_large_body_over_a_real_connection(server: tuple[subprocess.Popen[str], int]) -> None:
    url = f"http://127.0.0.1:{server[1]}/v1/classify"
    request = Request(url, b" " * (2 * 1024 * 1024 + 1), {"Content-Type": "application/json"})
    with pytest.raises(HTTPError) as refused:
        urlopen(request)
    assert refused.value.code == 413


def test_it_refuses_a_large_chunked_body_over_a_real_connection(server: tuple[subprocess.Popen[str], int]) -> None:
    with socket.create_connection(("127.0.0.1", server[1])) as connection:
        connection.sendall(
            b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        for _ in range(33):
            connection.sendall(chunk)
        connection.sendall(b"0\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 413"


def test_the_health_check_succeeds_only_while_the_service_runs(
    server: tuple[subprocess.Popen[str], int], health_check: list[str]
) -> None:
    assert subprocess.run(health_check, env={"FANKUI_PORT": str(server[1])}, check=False).returncode == 0
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        free = str(unused.getsockname()[1])
        stopped = subprocess.run(health_check, env={"FANKUI_PORT": free}, check=False, capture_output=True)
    assert stopped.returncode == 1


def test_it_stops_when_told_to(server: tuple[subprocess.Popen[str], int]) -> None:
    process, _ = server
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) in (0, -signal.SIGTERM)


@pytest.mark.parametrize(("arguments", "says"), [(["--port", "70000"], "port"), (["--threads", "-1"], "threads")])
def test_a_faulty_option_is_named(arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(serve_command, arguments)
    assert result.exit_code == 2
    assert says in result.stderr


def test_the_image_runs_as_a_numeric_user_without_root_rights() -> None:
    (user,) = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)
    assert all(int(part) >= 1000 for part in user.split(":"))
