from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from whippet.local.clock import Clock
from whippet.local.endpoints.instances import Health, Instance, Launch, free_port

CONTAINER = Path(__file__).parents[1] / "container.py"


class Started:
    """Instances that a test starts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.instances: list[Instance] = []
        self.changed = threading.Event()

    def start(self, model: str, timeout: float = 20.0, **options: Any) -> Instance:
        (self.folder / "model").write_text(model)
        launch = Launch(
            variant="main",
            command=(sys.executable, "-S", str(CONTAINER), str(self.folder / "model")),
            environment={},
            folder=self.folder,
            role_arn="arn:aws:iam::123456789012:role/none",
            region="us-east-1",
            log_group="group",
            startup_timeout=timeout,
            invocation_timeout=2.0,
            ping_interval=0.2,
            grace=1.0,
            clock=Clock(),
        )
        self.instances.append(Instance(launch, self.changed.set, **options))
        return self.instances[-1]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    running = Started(tmp_path)
    yield running
    for instance in running.instances:
        instance.stop(0)
        instance.join()


def test_a_container_that_never_becomes_healthy_is_given_up(local_aws: Any, started: Started) -> None:
    instance = started.start("never healthy", timeout=0.6)
    local_aws.eventually(lambda: instance.failure)
    assert "did not pass the ping health check. No answer in 1 s." in instance.failure
    assert not psutil.pid_exists(instance.pid)


def test_a_port_that_another_program_takes_first_is_given_up_for_another(local_aws: Any, started: Started) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = iter((port,))
        instance = started.start("good", choose_port=lambda: next(ports, 0) or free_port())
        local_aws.eventually(lambda: instance.health is Health.HEALTHY)
        assert instance.port != port


def test_a_container_that_does_not_come_back_is_tried_again_and_again(local_aws: Any, started: Started) -> None:
    instance = started.start("good")
    local_aws.eventually(lambda: instance.health is Health.HEALTHY)
    (started.folder / "model").write_text("crash")
    pids = {instance.pid}
    psutil.Process(instance.pid).kill()
    local_aws.eventually(lambda: pids.add(instance.pid) or len(pids) > 2)
    assert (instance.health, instance.failure) != (Health.HEALTHY, "")
    (started.folder / "model").write_text("good")
    local_aws.eventually(lambda: instance.health is Health.HEALTHY)


@pytest.mark.parametrize("how", [b"die", b"hang"])
def test_calls_go_to_the_others_when_an_instance_dies_or_hangs(local_aws: Any, endpoint: Any, how: bytes) -> None:
    local_aws.create_endpoint(InitialInstanceCount=2)
    before = set(endpoint.pids())
    with pytest.raises(ClientError) as failed:
        endpoint.invoke(how)
    assert failed.value.response["Error"]["Code"] == "ModelError"
    assert failed.value.response["OriginalStatusCode"] == 0
    for _ in range(10):
        assert endpoint.invoke()["pid"] in before
    local_aws.eventually(lambda: len({endpoint.invoke()["pid"] for _ in range(4)} - before) == 1)
    assert len(endpoint.pids()) == 2
    assert endpoint.variant()["CurrentInstanceCount"] == 2


def test_an_endpoint_without_a_healthy_instance_is_unavailable_until_it_has_one(local_aws: Any, endpoint: Any) -> None:
    local_aws.create_endpoint()
    endpoint.break_model()
    with pytest.raises(ClientError):
        endpoint.invoke(b"die")
    with pytest.raises(ClientError) as refused:
        endpoint.invoke()
    assert refused.value.response["Error"]["Code"] == "ServiceUnavailable"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    assert endpoint.describe()["EndpointStatus"] == "InService"
