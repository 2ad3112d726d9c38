"""What local AWS can be told when it starts, and where it keeps its files."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import platformdirs

#: The account that everything lives in; the same one that moto and the AWS documentation use.
ACCOUNT = "123456789012"
DEFAULT_PORT = 4566
DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True)
class Settings:
    """How one local AWS runs.

    Attributes:
        home: folder for its log, its lock and what it unpacks.
        port: on 127.0.0.1; what the clients' `AWS_ENDPOINT_URL` names.
        region: the region that is reported; resources live in whichever region a call is signed for.
        speed: seconds of local AWS's clock in one of the wall: see `Clock`.
        container_command: starts one endpoint instance; `{model}` becomes the path of the fetched model.tar.gz.
        account_concurrency: Lambda's account-wide limit of environments,
            https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
        environment_idle: seconds of the clock after which a Lambda environment that has nothing to do is ended. AWS
            does not tell its figure.
        init_timeout: seconds for a Lambda environment's init phase,
            https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
        health_check_timeout: seconds for an endpoint instance to answer /ping, unless its variant says otherwise,
            https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
        health_check_interval: seconds between two health checks of an endpoint instance; AWS does not tell its number.
        invocation_timeout: seconds for an endpoint instance to answer an invocation,
            https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
        stop_grace: seconds between SIGTERM and SIGKILL for an endpoint instance; SageMaker gives 30.
        training_command: the Python that runs the programs of training jobs.
        job_stop_grace: seconds between SIGTERM and SIGKILL for a training job,
            https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_StopTrainingJob.html
    """

    home: Path
    port: int = DEFAULT_PORT
    region: str = DEFAULT_REGION
    speed: float = 1.0
    container_command: tuple[str, ...] = (sys.executable, "-m", "whippet_serving", "--model", "{model}")
    account_concurrency: int = 1000
    environment_idle: float = 600.0
    init_timeout: float = 10.0
    health_check_timeout: float = 480.0
    health_check_interval: float = 5.0
    invocation_timeout: float = 60.0
    stop_grace: float = 30.0
    training_command: tuple[str, ...] = (sys.executable,)
    job_stop_grace: float = 120.0

    @property
    def url(self) -> str:
        """What clients connect to."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """The log of the process."""
        return self.home / "local-aws.log"

    @property
    def running_lock(self) -> Path:
        """Held by the process while it runs."""
        return self.home / "running.lock"

    @property
    def state(self) -> Path:
        """What survives the process: see `state`."""
        return self.home / "state"

    @property
    def work(self) -> Path:
        """What the process unpacks and writes while it runs; removed when it stops."""
        return self.home / "work"


def home_of(port: int) -> Path:
    """The folder of the local AWS on this port; `WHIPPET_HOME` moves all of them."""
    root = os.environ.get("WHIPPET_HOME")
    return (Path(root) if root else platformdirs.user_state_path("whippet")) / "local" / str(port)
