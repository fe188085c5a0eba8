"""`fankui serve` as a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

ROOT = Path(__file__).parents[2]
SERVE = "from service.cli import serve_command; serve_command()"


class Live:
    """A service that listens on a port of its own choice, in development mode."""

    def __init__(self, bundle: Path, database_url: str, **env: str) -> None:
        descriptor, name = tempfile.mkstemp(prefix="fankui-log-")
        self._log = Path(name)
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, "--port", "0", "--threads", "1", "--dev"],
            cwd=ROOT,
            stderr=descriptor,
            env=os.environ | {"FANKUI_MODEL": str(bundle), "FANKUI_DATABASE_URL": database_url} | env,
        )
        os.close(descriptor)
        self.wait_until(lambda: "running on" in self.log() or self.process.poll() is not None)
        started = re.search(r"running on http://127\.0\.0\.1:(\d+)", self.log())
        assert started, f"the service did not start:\n{self.log()}"
        self.port = int(started[1])
        self.wait_until(lambda: self.call("GET", "/readyz")[0] == 200)

    def log(self) -> str:
        """All that it has logged."""
        return self._log.read_text(encoding="utf-8")

    def call(self, method: str, path: str, content: Any = None, *, timeout: float = 60) -> tuple[int, Any]:
        """Status and JSON of an answer. Raises OSError and HTTPException."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            body = None if content is None else json.dumps(content).encode()
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            read = answer.read()
            return answer.status, json.loads(read) if read.startswith(b"{") else read
        finally:
            connection.close()

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Until the condition holds; for a minute at most."""
        deadline = monotonic() + 60
        while not holds():
            assert monotonic() < deadline, "it did not happen within a minute"
            sleep(0.05)

    def stop(self) -> None:
        """End it, whatever it is doing."""
        self.process.kill()
        self.process.wait()
        self._log.unlink()
