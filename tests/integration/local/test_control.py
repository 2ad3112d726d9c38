from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner, Result

from whippet.cli import app
from whippet.local import control, settings

ROLE = "arn:aws:iam::123456789012:role/role"


def start_a_function(daemon: Any) -> int:
    """Invokes a function; the process that ran it, and stays."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("module.py", "import os\ndef handler(event, context): return os.getpid()")
    client = daemon.client("lambda")
    principal = {"Service": "lambda.amazonaws.com"}
    trust = {"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal}]}
    daemon.client("iam").create_role(RoleName="role", AssumeRolePolicyDocument=json.dumps(trust))
    client.create_function(
        FunctionName="function",
        Runtime="python3.12",
        Handler="module.handler",
        Role=ROLE,
        Code={"ZipFile": packed.getvalue()},
    )
    return int(client.invoke(FunctionName="function")["Payload"].read())


def test_up_status_reset_down(daemon: Any) -> None:
    assert control.status(daemon.port) is None
    started = daemon.up(region="eu-west-1")
    assert started.url == f"http://127.0.0.1:{daemon.port}"
    assert (started.region, started.account, started.functions) == ("eu-west-1", "123456789012", ())
    status = control.status(daemon.port)
    assert status is not None
    assert (status.pid, status.id) == (started.pid, started.id)

    pid = start_a_function(daemon)
    running = control.status(daemon.port)
    assert running is not None
    assert [(one.name, one.environments, one.reserved) for one in running.functions] == [("function", 1, None)]

    emptied = control.reset(daemon.port)
    assert emptied is not None
    assert (emptied.pid, emptied.functions) == (started.pid, ())
    assert emptied.id != started.id
    assert not psutil.pid_exists(pid)

    start_a_function(daemon)
    assert control.down(daemon.port) is True
    assert daemon.processes() == []
    assert control.status(daemon.port) is None
    assert control.down(daemon.port) is False
    assert not (settings.home_of(daemon.port) / "work").exists()


def test_the_commands_keep_what_they_say_they_keep(daemon: Any) -> None:
    def whippet(*words: str) -> Result:
        return CliRunner().invoke(app, ["local", *words, "--port", str(daemon.port)])

    started = json.loads(whippet("up", "--speed", "60", "--concurrency", "10", "--json").stdout)
    assert (started["speed"], started["concurrency"]) == (60, 10)
    daemon.client("s3").create_bucket(Bucket="photos")
    assert whippet("down").stdout == "Local AWS is stopped.\n"
    gone = whippet("status")
    assert gone.exit_code == 1
    assert "whippet local up" in gone.stderr

    assert whippet("up").exit_code == 0
    assert [bucket["Name"] for bucket in daemon.client("s3").list_buckets()["Buckets"]] == ["photos"]
    assert json.loads(whippet("status", "--json").stdout)["id"] == started["id"]
    assert whippet("reset").stdout.startswith("Local AWS is empty")
    assert daemon.client("s3").list_buckets()["Buckets"] == []


def test_a_second_up_finds_the_first(daemon: Any) -> None:
    with ThreadPoolExecutor(3) as pool:
        started = list(pool.map(lambda _: daemon.up(), range(3)))
    assert len({status.pid for status in started}) == 1


def test_a_port_in_use_is_named_with_its_holder(daemon: Any) -> None:
    with socket.create_server(("127.0.0.1", daemon.port)), pytest.raises(control.PortInUseError) as refused:
        control.up(daemon.port)
    assert str(refused.value).startswith(f"Port {daemon.port} is in use by ")
    assert f"(pid {os.getpid()})" in str(refused.value)
    assert "--port" in str(refused.value)


def test_a_port_on_which_another_web_server_answers_is_in_use(daemon: Any) -> None:
    command = [sys.executable, "-m", "http.server", str(daemon.port), "--bind", "127.0.0.1"]
    other = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        daemon.eventually(lambda: socket.socket().connect_ex(("127.0.0.1", daemon.port)) == 0)
        assert control.status(daemon.port) is None
        with pytest.raises(control.PortInUseError):
            control.up(daemon.port)
    finally:
        other.kill()
        other.wait()


def test_a_reset_also_empties_one_that_does_not_run(daemon: Any) -> None:
    assert control.reset(daemon.port) is None
    before = daemon.up().id
    daemon.client("s3").create_bucket(Bucket="photos")
    control.down(daemon.port)
    assert control.identity(daemon.port) == before
    assert control.reset(daemon.port) is None
    assert control.identity(daemon.port) is None
    assert daemon.up().id != before
    assert daemon.client("s3").list_buckets()["Buckets"] == []


def test_a_second_up_changes_the_pace_of_the_clock(daemon: Any) -> None:
    assert daemon.up(speed=60.0).speed == 60.0
    assert daemon.up().speed == 60.0
    faster = daemon.up(speed=600.0)
    assert faster.speed == 600.0
    reached = datetime.fromisoformat(faster.now)
    control.down(daemon.port)
    again = daemon.up()
    assert again.speed == 1.0
    assert datetime.fromisoformat(again.now) >= reached  # it never goes back


def test_the_accounts_concurrency_is_set_at_the_start(daemon: Any) -> None:
    assert daemon.up(concurrency=200).concurrency == 200
    assert daemon.up(concurrency=200).concurrency == 200
    with pytest.raises(control.LocalAwsError, match="concurrency of 200"):
        daemon.up(concurrency=300)


def test_nobody_else_can_read_what_it_keeps(daemon: Any) -> None:
    status = daemon.up()
    assert status.state.parent.stat().st_mode & 0o077 == 0
    assert status.state.stat().st_mode & 0o077 == 0


def test_a_start_that_fails_is_one_line_and_leaves_no_process(daemon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(control.StartError) as failed:
        control.up(daemon.port, container_command=["'"], timeout=0.01)
    assert "\n" not in str(failed.value)
    assert not [one for one in psutil.process_iter() if str(daemon.port) in _command_line(one)]


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline() if process.status() != psutil.STATUS_ZOMBIE else []
    except psutil.Error:
        return []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_it_however_it_ends(daemon: Any, number: signal.Signals) -> None:
    status = daemon.up()
    pid = start_a_function(daemon)
    assert {status.pid, pid} < {process.pid for process in daemon.processes()}
    os.kill(status.pid, number)
    daemon.eventually(lambda: daemon.processes() == [])
    assert control.status(daemon.port) is None
    # and nothing it left behind is in the way
    assert daemon.up().pid != status.pid


def test_down_ends_one_that_does_not_answer(daemon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    status = daemon.up()
    start_a_function(daemon)
    monkeypatch.setattr(control, "ANSWER_TIMEOUT", 0.5)
    os.kill(status.pid, signal.SIGSTOP)
    with pytest.raises(control.LocalAwsError, match="does not answer"):
        control.status(daemon.port)
    assert control.down(daemon.port, timeout=2.0) is True
    daemon.eventually(lambda: daemon.processes() == [])
    assert not (settings.home_of(daemon.port) / "work").exists()


def test_the_users_aws_settings_stay_out(daemon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "not-in-any-file")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    status = daemon.up()
    environment = psutil.Process(status.pid).environ()
    assert not [name for name in environment if name.startswith("AWS_")]


def test_the_aws_cli_and_curl_work_unmodified(daemon: Any, tmp_path: Path) -> None:
    daemon.up()
    start_a_function(daemon)
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "AWS_ENDPOINT_URL": control.url(daemon.port),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    answer = tmp_path / "answer.json"
    cli = ["aws", "lambda", "invoke", "--function-name", "function", "--payload", '{"a": 1}', str(answer)]
    subprocess.run(cli, env=environment, check=True, capture_output=True)
    url = f"{control.url(daemon.port)}/2015-03-31/functions/function/invocations"
    curl = ["curl", "-sf", "--user", "test:test", "--aws-sigv4", "aws:amz:us-east-1:lambda", "--data", "{}", url]
    done = subprocess.run(curl, env=environment, check=True, capture_output=True)
    assert int(done.stdout) == int(answer.read_text())
