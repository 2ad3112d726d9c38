"""The server as a process of its own."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import threading
from collections.abc import Iterable
from io import BytesIO
from typing import Any

import psutil
from PIL import Image

READY = re.compile(r"Serving .* on http://127\.0\.0\.1:(\d+)")


def green_jpeg() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (60, 50), (10, 200, 30)).save(buffer, "JPEG")
    return buffer.getvalue()


class Server:
    """A server process that has said that it is ready, and whose log is read as it is written."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log = ""
        self.port = 0
        assert process.stderr is not None
        for line in process.stderr:
            self.log += line
            if ready := READY.search(line):
                self.port = int(ready[1])
                break
        else:
            raise AssertionError(f"the server ended with {process.wait()}:\n{self.log}")
        self._reader = threading.Thread(target=self._read, args=(process.stderr,), daemon=True)
        self._reader.start()

    def _read(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.log += line

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def request(self, method: str, path: str, **options: Any) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, **options)
            response = connection.getresponse()
            body = response.read()
            return response.status, json.loads(body) if body else {}
        finally:
            connection.close()

    def end(self) -> int:
        """Waits until the process has ended and returns its exit code."""
        code = self.process.wait(timeout=60)
        self._reader.join(60)
        return code

    def decoders(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()
