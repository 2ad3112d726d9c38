"""The Lambda's entry point: a photo in, the breed out. The interface is described in docs/lambda-interface.md."""

from __future__ import annotations

import os
from typing import Any

from whippet_lambda.answer import answer, not_set_up, predictor
from whippet_lambda.config import Config, ConfigError
from whippet_lambda.endpoint import Endpoint

METRICS_NAMESPACE = ""
# Made once, while the environment starts: every call after that finds the settings read and the connection open.
try:
    CONFIG = Config.from_environment(os.environ)
    METRICS_NAMESPACE = CONFIG.metrics_namespace
    PREDICT = predictor(CONFIG, Endpoint.from_environment(CONFIG.endpoint_name, os.environ))
except ConfigError as error:
    PREDICT = not_set_up(error)


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Answers one event; see `whippet_lambda.answer.answer`."""
    return answer(event, context, PREDICT, METRICS_NAMESPACE)
