"""Data capture: invocations and their answers, written to S3 in the background.

https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture-endpoint.html
"""

from __future__ import annotations

import base64
import json
import logging
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any

from whippet.local.clock import Clock
from whippet.local.jobs.storage import Location, Storage, StorageError
from whippet.local.state import State

log = logging.getLogger(__name__)

#: A file is written when it has so many bytes, or this many seconds after its first event. AWS tells neither, but that
#: delivery takes a couple of minutes.
MAX_BYTES, MAX_AGE = 4 * 1024 * 1024, 60.0
#: Bytes that may wait for S3: what comes beyond is not captured, so that invocations never wait for it.
MAX_WAITING = 64 * 1024 * 1024


@dataclass
class Payload:
    """The body of a request or of an answer."""

    content_type: str
    body: bytes


@dataclass
class Buffer:
    """Events that are to be one file.

    Attributes:
        role_arn: who writes it.
        folder: where it is written: the destination, the endpoint's name and the variant's.
        kms_key: encrypts it.
        began_at: the time of the first event.
        events: what it holds.
        size: roughly how many bytes that is.
    """

    role_arn: str
    folder: Location
    kms_key: str | None
    began_at: datetime
    events: list[Callable[[], dict[str, Any]]] = field(default_factory=list)
    size: int = 0


def is_enabled(config: Mapping[str, Any] | None) -> bool:
    """Whether a DataCaptureConfig captures: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DataCaptureConfig.html."""
    return config is not None and bool(config.get("EnableCapture", True))


class Captures:
    """The data that all endpoints capture.

    Args:
        clock: gives the time of events, and what the age of a file follows.
        random: chooses the invocations that are captured.
        state: told of what is written.
    """

    def __init__(self, clock: Clock, random: Random, state: State) -> None:
        self._clock = clock
        self._random = random
        self._state = state
        self._buffers: dict[tuple[Location, str], Buffer] = {}
        self._full: list[Buffer] = []
        self._waiting = 0
        self._changed = threading.Condition()
        self._is_stopped = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Writes from now on."""
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="data-capture", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Writes what is left, and then no more."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        self._thread = None

    def note(
        self,
        config: Mapping[str, Any],
        endpoint: str,
        variant: str,
        role_arn: str,
        request: Payload,
        answer: Payload,
        metadata: Mapping[str, Any],
    ) -> None:
        """Takes one invocation, if it is among those that are captured.

        Args:
            config: the DataCaptureConfig.
            endpoint: the endpoint's name.
            variant: the variant's name.
            role_arn: the model's execution role, which writes to S3.
            request: what was asked.
            answer: what was answered.
            metadata: further members of the event's metadata.
        """
        if self._random.uniform(0, 100) >= config["InitialSamplingPercentage"]:
            return
        now = self._clock.now()
        folder = Location.parse(config["DestinationS3Uri"]) / endpoint / variant
        size = len(request.body) + len(answer.body)
        with self._changed:
            if self._waiting + size > MAX_WAITING:
                log.warning("endpoint %s: data capture cannot keep up", endpoint)
                return
            hour = (folder, f"{now:%Y/%m/%d/%H}")
            buffer = self._buffers.setdefault(hour, Buffer(role_arn, folder, config.get("KmsKeyId"), now))
            # Encoded by the thread that writes it.
            buffer.events.append(lambda: event(config, request, answer, now, metadata))
            buffer.size += size
            self._waiting += size
            if buffer.size >= MAX_BYTES:
                self._full.append(self._buffers.pop(hour))
            if self._full or len(buffer.events) == 1:
                self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                due = self._take_due()
                if not due:
                    if self._is_stopped:
                        return
                    self._changed.wait(self._pause())
                    continue
            for buffer in due:
                try:
                    self._write(buffer)
                except Exception:
                    log.exception("data capture to %s failed", buffer.folder)
                with self._changed:
                    self._waiting -= buffer.size

    def _take_due(self) -> list[Buffer]:
        due, self._full = self._full, []
        for key, buffer in list(self._buffers.items()):
            age = self._clock.time() - buffer.began_at.timestamp()
            if self._is_stopped or age >= MAX_AGE:
                due.append(self._buffers.pop(key))
        return due

    def _pause(self) -> float | None:
        """Seconds of the wall until the oldest buffer is due; None if there is none."""
        if not self._buffers:
            return None
        oldest = min(buffer.began_at.timestamp() for buffer in self._buffers.values())
        return max(0.02, (oldest + MAX_AGE - self._clock.time()) / self._clock.speed)

    def _write(self, buffer: Buffer) -> None:
        lines = b"".join(json.dumps(make()).encode() + b"\n" for make in buffer.events)
        began = buffer.began_at
        name = f"{began:%Y/%m/%d/%H/%M-%S}-{began.microsecond // 1000:03d}-{uuid.uuid4()}.jsonl"
        try:
            Storage(buffer.role_arn).put(buffer.folder / name, lines, buffer.kms_key)
        except StorageError as error:
            log.warning("data capture to %s: %s", buffer.folder, error)
            return
        self._state.changed("s3", "aws")


def event(
    config: Mapping[str, Any], request: Payload, answer: Payload, at: datetime, metadata: Mapping[str, Any]
) -> dict[str, Any]:
    """One line of a file.

    Args:
        config: the DataCaptureConfig.
        request: what was asked.
        answer: what was answered.
        at: when.
        metadata: further members of the event's metadata; None values are left out.
    """
    modes = {option["CaptureMode"] for option in config["CaptureOptions"]}
    types = config.get("CaptureContentTypeHeader", {})
    captured: dict[str, Any] = {}
    if modes & {"Input", "InputAndOutput"}:
        captured["endpointInput"] = {**_encoded(request, types), "mode": "INPUT"}
    if modes & {"Output", "InputAndOutput"}:
        captured["endpointOutput"] = {**_encoded(answer, types), "mode": "OUTPUT"}
    given = {name: value for name, value in metadata.items() if value is not None}
    return {
        "captureData": captured,
        "eventMetadata": {"eventId": str(uuid.uuid4()), **given, "inferenceTime": f"{at:%Y-%m-%dT%H:%M:%SZ}"},
        "eventVersion": "0",
    }


def _encoded(payload: Payload, types: Mapping[str, Iterable[str]]) -> dict[str, str]:
    media_type = payload.content_type.partition(";")[0].strip().lower()
    for encoding, member in (("CSV", "CsvContentTypes"), ("JSON", "JsonContentTypes")):
        if media_type in (one.lower() for one in types.get(member, ())):
            data = payload.body.decode(errors="replace")
            return {"observedContentType": payload.content_type, "data": data, "encoding": encoding}
    data = base64.b64encode(payload.body).decode("ascii")
    return {"observedContentType": payload.content_type, "data": data, "encoding": "BASE64"}
