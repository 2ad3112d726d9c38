from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from whippet.terraform import Terraform

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of terraform/, so that tests leave no state, lock file or provider link in the checkout."""
    return Path(
        shutil.copytree(
            REPOSITORY / "terraform",
            tmp_path_factory.mktemp("configuration") / "terraform",
            ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*", "terraform.tfstate.d"),
        )
    )


@pytest.fixture(scope="session")
def root(configuration: Path) -> Terraform:
    terraform = Terraform(configuration)
    terraform.init()
    return terraform


@pytest.fixture(scope="session")
def aws_url() -> Iterator[str]:
    """Stock moto: enough to plan against, which only asks who the caller is."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def ami(aws_url: str) -> str:
    ec2 = boto3.client(
        "ec2", endpoint_url=aws_url, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    return ec2.describe_images()["Images"][0]["ImageId"]
