from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from whippet.local.clock import Clock
from whippet.local.logs import LogStream

STREAMS = 16


def test_streams_that_start_at_once_share_a_group_and_lose_no_line(local_aws: Any) -> None:
    role = local_aws.create_role("writer", local_aws.allow("logs:*"))
    start = threading.Barrier(STREAMS)

    def write(number: int) -> None:
        stream = LogStream(role, "us-east-1", "group", f"stream-{number}", Clock())
        start.wait()
        for line in range(5):
            stream.write([f"{number} {line}"])

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # a thread may lose its turn between any two steps
    try:
        with ThreadPoolExecutor(STREAMS) as pool:
            list(pool.map(write, range(STREAMS)))
    finally:
        sys.setswitchinterval(interval)
    expected = {f"{number} {line}" for number in range(STREAMS) for line in range(5)}
    assert set(local_aws.logged("group")) == expected


def test_the_permission_is_for_the_group(local_aws: Any) -> None:
    group = "arn:aws:logs:us-east-1:123456789012:log-group"
    role = local_aws.create_role("writer", local_aws.allow("logs:*", f"{group}:mine:*"))
    for name in ("mine", "other"):
        LogStream(role, "us-east-1", name, "stream", Clock()).write(["line"])
    [found] = local_aws.client("logs").describe_log_groups()["logGroups"]
    assert found["logGroupName"] == "mine"
