"""The Lambda's entry point: a photo in, the breed out. The interface is described in docs/lambda-interface.md."""

from __future__ import annotations

import os
from typing import Any

from whippet_lambda.answer import Classifier, answer, not_set_up, predictor
from whippet_lambda.config import Config, ConfigError
from whippet_lambda.endpoint import Endpoint


def classifier(config: Config) -> Classifier:
    """What answers for photos: the endpoint, or the model in the package.

    Raises:
        ConfigError: The environment lacks something, or the model cannot be loaded.
    """
    if not config.model_dir:
        return Endpoint.from_environment(config.endpoint_name, os.environ)
    # imports that a function in front of an endpoint does not pay for
    from whippet_lambda.bundled import BundledModel

    return BundledModel(os.path.join(os.environ.get("LAMBDA_TASK_ROOT", ""), config.model_dir))  # noqa: PTH118 - pathlib takes 3 ms


METRICS_NAMESPACE = ""
# Made once, while the environment starts: every call after that finds the settings read, and the connection open or
# the model loaded.
try:
    CONFIG = Config.from_environment(os.environ)
    METRICS_NAMESPACE = CONFIG.metrics_namespace
    PREDICT = predictor(CONFIG, classifier(CONFIG))
except ConfigError as error:
    PREDICT = not_set_up(error)


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Answers one event; see `whippet_lambda.answer.answer`."""
    return answer(event, context, PREDICT, METRICS_NAMESPACE)
