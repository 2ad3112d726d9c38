"""Writes to CloudWatch Logs as the services do: with the permissions of a role, and silently not without them."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from moto.logs.models import logs_backends

from whippet.local.access.actions import Need, log_stream_arn
from whippet.local.access.policies import Decision
from whippet.local.access.principals import role_principal
from whippet.local.clock import Clock
from whippet.local.settings import ACCOUNT

#: moto's groups and streams are plain lists and dictionaries, and two streams may want the same group at once.
_writing = threading.Lock()


class LogStream:
    """One stream of a log group, made with its first lines.

    Args:
        role_arn: whose permissions decide; lines it may not write are dropped, as on AWS.
        region: where the group is.
        group: the name of the group; made where the role may.
        name: the name of the stream.
        clock: gives the time of the lines.
    """

    def __init__(self, role_arn: str, region: str, group: str, name: str, clock: Clock) -> None:
        self.region = region
        self.group = group
        self.name = name
        self._role_arn = role_arn
        self._clock = clock

    @property
    def group_arn(self) -> str:
        """The ARN of the log group."""
        return f"arn:aws:logs:{self.region}:{ACCOUNT}:log-group:{self.group}"

    def write(self, lines: Sequence[str]) -> None:
        """Appends lines, one event each."""
        if not lines:
            return
        now = int(self._clock.time() * 1000)
        with _writing:
            if self._exists() and self._may("logs:PutLogEvents", self.name):
                events = [{"timestamp": now, "message": line} for line in lines]
                # Of the group and not of the backend, which drops what is beyond the wall's time, as a fast clock is.
                logs_backends[ACCOUNT][self.region].groups[self.group].put_log_events(self.name, events)

    def _exists(self) -> bool:
        """Makes the group and the stream where they are missing and the role may."""
        backend = logs_backends[ACCOUNT][self.region]
        if self.group not in backend.groups:
            if not self._may("logs:CreateLogGroup", ""):
                return False
            backend.create_log_group(self.group, {})
        if self.name not in backend.groups[self.group].streams:
            if not self._may("logs:CreateLogStream", self.name):
                return False
            backend.create_log_stream(self.group, self.name)
        return True

    def _may(self, action: str, stream: str) -> bool:
        need = Need(action, log_stream_arn(self.region, ACCOUNT, self.group, stream))
        return role_principal(self._role_arn).decide(need) is Decision.ALLOWED
