"""Runs a model archive inside AWS's handler service, as the worker of their PyTorch container does.

Started with the interpreter of .venv-stock and the folder of an unpacked archive. Each line of its input is a request
as JSON, each line of its output what the caller would get; the last line says what the process tried beside answering.
"""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

FORBIDDEN = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "socket.connect")
"""What a start-time pip would need."""


class Context:
    """TorchServe's context, as far as AWS's packages and the hooks use it: one for all requests of a worker.

    https://github.com/pytorch/serve/blob/master/ts/context.py
    """

    def __init__(self, model_dir: str) -> None:
        self.system_properties = {"model_dir": model_dir}
        self.request_processor: list[RequestProcessor] = []
        self.answer: dict[str, Any] = {}

    def set_response_content_type(self, idx: int, value: str) -> None:
        self.answer["content_type"] = value

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        self.answer |= {"status": code, "phrase": phrase}


class RequestProcessor:
    """The headers of a request."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers

    def get_request_properties(self) -> dict[str, str]:
        return self.headers


def main(model_dir: str) -> None:
    """Answers the requests on standard input."""
    tried: list[str] = []

    from sagemaker_pytorch_serving_container.handler_service import HandlerService

    sys.addaudithook(lambda event, _: tried.append(event) if event in FORBIDDEN else None)
    context = Context(model_dir)
    service = HandlerService()
    service.initialize(context)
    for line in sys.stdin:
        request = json.loads(line)
        context.request_processor = [RequestProcessor(request["headers"])]
        context.answer = {"status": 200}
        [body] = service.handle([{"body": base64.b64decode(request["body"])}], context)
        print(json.dumps({**context.answer, "body": body}), flush=True)
    print(json.dumps(tried), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
