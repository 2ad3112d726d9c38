from __future__ import annotations

import logging
import sys
from enum import StrEnum

from pythonjsonlogger.json import JsonFormatter


class LogFormat(StrEnum):
    """How log lines look; ``auto`` writes text to a terminal, and JSON to whatever collects lines."""

    AUTO = "auto"
    TEXT = "text"
    JSON = "json"


def set_up_logging(format_: LogFormat, requests: bool) -> None:
    """Write the log to standard error, a line an event. No line holds a photo or anything of its sender.

    Args:
        format_: Text, or JSON with the fields time, level, logger and message, and what the event adds to them.
        requests: Write a line for every request.
    """
    handler = logging.StreamHandler(sys.stderr)
    if format_ is LogFormat.TEXT or (format_ is LogFormat.AUTO and sys.stderr.isatty()):
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    else:
        fields = {"asctime": "time", "levelname": "level", "name": "logger"}
        handler.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s", rename_fields=fields))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("whippet_serving").setLevel(logging.INFO)
    logging.getLogger("whippet_serving.access").setLevel(logging.INFO if requests else logging.WARNING)
