"""What comes and goes leaves nothing: `benchmarks/local_aws.py` does the same for long, and looks at memory too."""

from __future__ import annotations

from typing import Any

import psutil

from whippet.local.settings import home_of

ROUNDS = 20


def holdings(daemon: Any) -> dict[str, int]:
    """How much of the machine local AWS has."""
    session = daemon.processes()
    [own] = [process for process in session if process.pid == daemon.session]
    return {
        "processes": len(session),
        "ports": sum(one.status == psutil.CONN_LISTEN for process in session for one in process.net_connections()),
        "descriptors": own.num_fds(),
        "threads": own.num_threads(),
        "files": sum(path.is_file() for path in home_of(daemon.port).rglob("*")),
    }


def come_and_go(daemon: Any, role: str) -> None:
    """Creates, invokes and deletes an endpoint and a function."""
    sagemaker, functions, logs = (daemon.client(service) for service in ("sagemaker", "lambda", "logs"))
    daemon.create_endpoint(role)
    daemon.client("sagemaker-runtime").invoke_endpoint(EndpointName="endpoint", Body=b"photo")["Body"].read()
    sagemaker.delete_endpoint(EndpointName="endpoint")
    daemon.eventually(lambda: sagemaker.list_endpoints()["Endpoints"] == [])
    sagemaker.delete_endpoint_config(EndpointConfigName="config")
    sagemaker.delete_model(ModelName="model")
    daemon.create_function(role)
    functions.invoke(FunctionName="function", Payload=b'{"number": 1}')["Payload"].read()
    functions.delete_function(FunctionName="function")
    for group in logs.describe_log_groups()["logGroups"]:
        logs.delete_log_group(logGroupName=group["logGroupName"])


def test_what_comes_and_goes_leaves_no_process_port_or_file(daemon: Any) -> None:
    daemon.up(container_command=daemon.container)
    role = daemon.create_role()
    for _ in range(3):
        come_and_go(daemon, role)
    before = holdings(daemon)
    for _ in range(ROUNDS):
        come_and_go(daemon, role)
    # What ends a little after it was deleted may still be there, before and after.
    daemon.eventually(lambda: all(now <= before[name] for name, now in holdings(daemon).items()))
