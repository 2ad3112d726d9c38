"""Asks the model that lies in the function's own package, by the hooks of its archive: no endpoint, no second hop.

The hooks are those that AWS's PyTorch container calls (`code/inference.py`), and they are called as it calls them:
https://github.com/aws/sagemaker-inference-toolkit/blob/master/src/sagemaker_inference/transformer.py
"""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from types import ModuleType
from typing import Any

from whippet_lambda.config import ConfigError
from whippet_lambda.deadline import Deadline, too_slow
from whippet_lambda.endpoint import CUSTOM_ATTRIBUTES, detail
from whippet_lambda.problem import Problem

#: The name that the hooks are imported by; their dataclasses look themselves up by it.
HOOKS = "whippet_model_hooks"


class HookContext:
    """What the container calls its context: the request's headers, and the status of the answer.

    Args:
        headers: Of the request.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers
        self.status = HTTPStatus.OK
        self.request_processor = [self]

    def get_request_properties(self) -> Mapping[str, str]:
        """The request's headers."""
        return self._headers

    def set_response_status(self, code: int, phrase: str) -> None:
        """Sets the status of the answer."""
        self.status = HTTPStatus(code)


class BundledModel:
    """A loaded model.

    Args:
        folder: An unpacked model archive: model.json, weights and code/inference.py.

    Raises:
        ConfigError: It cannot be loaded.
    """

    def __init__(self, folder: str) -> None:
        try:
            self._hooks = _load(Path(folder, "code", "inference.py"))
            self._model = self._hooks.model_fn(folder)
        except Exception as error:  # whatever a package for another processor or Python makes them raise
            raise ConfigError(
                f"The model in WHIPPET_MODEL_DIR cannot be loaded ({type(error).__name__}): build the package again "
                "for this function's processor and Python (scripts/build_single_hop.py)."
            ) from error
        self._lock = threading.Lock()

    def invoke(
        self,
        photo: bytes,
        content_type: str,
        top_k: int | None,
        deadline: Deadline,
        on_retry: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
        """Asks about one photo; see `whippet_lambda.endpoint.Endpoint.invoke`.

        Args:
            photo: An encoded picture.
            content_type: Its media type.
            top_k: How many classes to return; None leaves it to the hooks.
            deadline: Until when there is an answer; a step that has begun is not cut off, but no other begins then.
            on_retry: Never called: computing again would give the same.

        Raises:
            Problem: What the hooks say of the photo (4xx), 504 too late to begin.
        """
        context = HookContext({} if top_k is None else {CUSTOM_ATTRIBUTES: f"top_k={top_k}"})
        # A photo that was given up is decoded to its end all the same, and memory is enough for one at a time
        if not self._lock.acquire(timeout=deadline.remaining("The photo")):
            raise too_slow("The photo")
        try:
            request = self._hooks.input_fn(photo, content_type, context)
            deadline.remaining("The photo")
            prediction = self._hooks.predict_fn(request, self._model, context)
        finally:
            self._lock.release()
        body, _ = self._hooks.output_fn(prediction, "application/json", context)
        if context.status != HTTPStatus.OK:
            raise Problem(context.status, detail(body))
        answer: dict[str, Any] = json.loads(body)
        return answer


def _load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(HOOKS, file)
    if spec is None or spec.loader is None:  # never of a .py file
        raise ImportError(f"{file} is no Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[HOOKS] = module
    spec.loader.exec_module(module)
    return module
