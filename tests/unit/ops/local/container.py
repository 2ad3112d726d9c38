"""A small inference container: it does what the bytes of its model and of each request tell it to."""

import json
import os
import signal
import socketserver
import sys
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

MODEL = Path(sys.argv[1]).read_text()


STARTED = time.monotonic()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        is_late = MODEL.startswith("healthy after ") and time.monotonic() - STARTED < float(MODEL[14:])
        self.answer(503 if MODEL == "never healthy" or is_late else 200, b"")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if MODEL == "always fails":
            self.answer(500, b"the model is broken")
            return
        if body.startswith(b"fail "):
            self.answer(int(body[5:]), b"the model says no")
            return
        if body.startswith(b"sleep "):
            time.sleep(float(body[6:]))
        if body in (b"die", b"hang"):
            os.kill(os.getpid(), signal.SIGKILL if body == b"die" else signal.SIGSTOP)
            time.sleep(60)  # another thread may take the signal, a moment later
        if body == b"flood":
            self.answer(200, bytes(6_291_457))
            return
        seen = {
            "model": MODEL,
            "pid": os.getpid(),
            "bytes": len(body),
            "content_type": self.headers["Content-Type"],
            "accept": self.headers["Accept"],
            "custom_attributes": self.headers["X-Amzn-SageMaker-Custom-Attributes"],
            "inference_id": self.headers["X-Amzn-SageMaker-Inference-Id"],
            "environment": dict(os.environ),
        }
        self.answer(200, json.dumps(seen).encode())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Amzn-SageMaker-Custom-Attributes", "seen=yes")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


if MODEL == "crash":
    print("loading the model", flush=True)
    raise SystemExit("the weights are broken")
print("the container listens", flush=True)
# Not http.server's own class, which asks the name service for this machine's name and may wait for it.
socketserver.ThreadingTCPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
