"""What a training container finds: the folders of /opt/ml, its configuration files, and its variables.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
https://github.com/aws/sagemaker-training-toolkit/blob/master/ENVIRONMENT_VARIABLES.md
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil

#: Hyperparameters that are for SageMaker's toolkit, which the program does not get as flags.
TOOLKIT_PREFIX = "sagemaker_"
TUNING_METRIC = "_tuning_objective_metric"

#: SageMaker's folder, wherever a text names it. It is a folder of the job here.
_OPT_ML = re.compile(r"(?<![\w/.-])/opt/ml(?![\w.-])")

#: The name of a group of instances in a job that has but one.
INSTANCE_GROUP = "homogeneousCluster"
#: What hyperparameters turn the launch through torchrun, or through SageMaker's own library, on.
DISTRIBUTED = (
    "sagemaker_torch_distributed_enabled",
    "sagemaker_pytorch_ddp_enabled",
    "sagemaker_distributed_dataparallel_enabled",
)


@dataclass(frozen=True)
class Layout:
    """The folders of one instance.

    Attributes:
        root: stands for /opt/ml.
    """

    root: Path

    @property
    def input(self) -> Path:
        """Channels and configuration."""
        return self.root / "input"

    @property
    def config(self) -> Path:
        """The configuration files."""
        return self.input / "config"

    @property
    def data(self) -> Path:
        """A folder for each channel."""
        return self.input / "data"

    @property
    def model(self) -> Path:
        """What becomes model.tar.gz."""
        return self.root / "model"

    @property
    def output(self) -> Path:
        """The file `failure`, and what becomes output.tar.gz."""
        return self.root / "output"

    @property
    def output_data(self) -> Path:
        """What becomes output.tar.gz."""
        return self.output / "data"

    @property
    def code(self) -> Path:
        """The program."""
        return self.root / "code"

    def make(self) -> None:
        """Makes the folders."""
        for folder in (self.config, self.data, self.model, self.output_data, self.output / "intermediate", self.code):
            folder.mkdir(parents=True)

    def localise(self, text: str) -> str:
        """A text in which this layout's root stands for /opt/ml."""
        return _OPT_ML.sub(lambda _: str(self.root), text)


@dataclass(frozen=True)
class Cluster:
    """The instances of a job.

    Attributes:
        instance_type: of each.
        hosts: their names.
        master_port: on 127.0.0.1, for the processes to find one another.
    """

    instance_type: str
    hosts: tuple[str, ...]
    master_port: int


def host_names(count: int) -> tuple[str, ...]:
    """The names of instances: algo-1, algo-2 and so on."""
    return tuple(f"algo-{number}" for number in range(1, count + 1))


def decode(hyperparameters: Mapping[str, str]) -> dict[str, Any]:
    """Hyperparameters as they are meant: SDKs write them as JSON, people write them plain."""
    decoded: dict[str, Any] = {}
    for name, value in hyperparameters.items():
        try:
            decoded[name] = json.loads(value)
        except ValueError:
            decoded[name] = value
    return decoded


def user_hyperparameters(decoded: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are the program's own."""
    return {
        name: value
        for name, value in decoded.items()
        if not name.startswith(TOOLKIT_PREFIX) and name not in (TUNING_METRIC, "default_user_module_name")
    }


def flags(hyperparameters: Mapping[str, Any]) -> list[str]:
    """Hyperparameters as the toolkit hands them to the program."""
    words: list[str] = []
    for name, value in sorted(hyperparameters.items()):
        words.append(f"--{name}" if len(name) > 1 else f"-{name}")
        if isinstance(value, dict):
            value = ",".join(f"{key}={one}" for key, one in sorted(value.items()))
        words.append("" if value is None else str(value))
    return words


def write_config(
    layout: Layout,
    host: str,
    cluster: Cluster,
    hyperparameters: Mapping[str, str],
    channels: Mapping[str, Mapping[str, str]],
) -> None:
    """Writes the configuration files of an instance.

    Args:
        layout: where.
        host: the instance.
        cluster: all instances.
        hyperparameters: as they are given.
        channels: what inputdataconfig.json says of each.
    """
    for name, content in (
        ("hyperparameters", hyperparameters),
        ("inputdataconfig", channels),
        ("resourceconfig", resource_config(host, cluster)),
    ):
        (layout.config / f"{name}.json").write_text(json.dumps(content))


def resource_config(host: str, cluster: Cluster) -> dict[str, Any]:
    """The content of resourceconfig.json."""
    group = {
        "instance_group_name": INSTANCE_GROUP,
        "instance_type": cluster.instance_type,
        "hosts": list(cluster.hosts),
    }
    return {
        "current_host": host,
        "current_instance_type": cluster.instance_type,
        "current_group_name": INSTANCE_GROUP,
        "hosts": list(cluster.hosts),
        "instance_groups": [group],
        "network_interface_name": network_interface(),
    }


def variables(
    layout: Layout,
    host: str,
    cluster: Cluster,
    hyperparameters: Mapping[str, Any],
    channels: Mapping[str, Mapping[str, str]],
    job_name: str,
) -> dict[str, str]:
    """The variables that SageMaker's toolkit sets for a program.

    Jobs with an entry point of their own get them too: nothing else tells them where their folders are.

    Args:
        layout: the folders of the instance.
        host: the instance.
        cluster: all instances.
        hyperparameters: decoded.
        channels: what inputdataconfig.json says of each.
        job_name: the name of the training job.
    """
    mine = user_hyperparameters(hyperparameters)
    program = hyperparameters.get("sagemaker_program")
    framework = {
        name: value
        for name, value in hyperparameters.items()
        if name.startswith(TOOLKIT_PREFIX) and name not in _TOOLKIT_OWN
    }
    distributed_hosts = list(cluster.hosts)
    common: dict[str, Any] = {
        "channel_input_dirs": {name: str(layout.data / name) for name in channels},
        "current_host": host,
        "current_instance_group": INSTANCE_GROUP,
        "current_instance_group_hosts": list(cluster.hosts),
        "current_instance_type": cluster.instance_type,
        "distribution_instance_groups": [INSTANCE_GROUP] if len(cluster.hosts) > 1 else [],
        "framework_module": None,
        "hosts": list(cluster.hosts),
        "input_config_dir": str(layout.config),
        "input_data_config": channels,
        "input_dir": str(layout.input),
        "instance_groups": [INSTANCE_GROUP],
        "instance_groups_dict": {INSTANCE_GROUP: resource_config(host, cluster)["instance_groups"][0]},
        "is_hetero": False,
        "log_level": hyperparameters.get("sagemaker_container_log_level", 20),
        "model_dir": str(layout.model),
        "module_dir": hyperparameters.get("sagemaker_submit_directory", str(layout.code)),
        "module_name": program.removesuffix(".py") if isinstance(program, str) else None,
        "network_interface_name": network_interface(),
        "num_cpus": os.cpu_count() or 1,
        "num_gpus": gpus(),
        "num_neurons": 0,
        "output_data_dir": str(layout.output_data),
        "output_dir": str(layout.output),
        "output_intermediate_dir": str(layout.output / "intermediate"),
        "resource_config": resource_config(host, cluster),
        "user_entry_point": program,
    }
    training_env = {
        **common,
        "additional_framework_parameters": framework,
        "distribution_hosts": distributed_hosts,
        "hyperparameters": mine,
        "is_master": host == cluster.hosts[0],
        "job_name": job_name,
        "master_hostname": cluster.hosts[0],
    }
    told = {
        **{name: value for name, value in common.items() if name != "channel_input_dirs"},
        "channels": sorted(channels),
        "framework_params": framework,
        "hps": mine,
        "training_env": training_env,
        "user_args": flags(mine),
        **{f"channel_{name}": str(layout.data / name) for name in channels},
        **{f"hp_{name}": value for name, value in mine.items()},
    }
    return {f"SM_{name.upper()}": _as_variable(value) for name, value in told.items()}


#: Hyperparameters of the toolkit that are not passed on to a framework.
_TOOLKIT_OWN = {
    f"{TOOLKIT_PREFIX}{name}"
    for name in (
        "program",
        "submit_directory",
        "enable_cloudwatch_metrics",
        "region",
        "container_log_level",
        "job_name",
        "s3_output",
    )
}


def _as_variable(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, separators=(",", ":"))


def distributed_variables(host: str, cluster: Cluster, hyperparameters: Mapping[str, Any]) -> dict[str, str]:
    """What lets the processes of several instances find one another.

    The PyTorch container names the first host and port 7777; here the hosts are processes of one machine. What torchrun
    adds to that is there when the job asks for it:
    https://docs.aws.amazon.com/sagemaker/latest/dg/distributed-data-parallel-use-api.html
    """
    found = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(cluster.master_port)}
    if any(hyperparameters.get(name) in (True, "true", "True") for name in DISTRIBUTED):
        rank = str(cluster.hosts.index(host))
        found |= {
            "RANK": rank,
            "GROUP_RANK": rank,
            "WORLD_SIZE": str(len(cluster.hosts)),
            "LOCAL_RANK": "0",
            "LOCAL_WORLD_SIZE": "1",
        }
    return found


def gpus() -> int:
    """How many NVIDIA GPUs this machine has."""
    return len([path for path in Path("/dev").glob("nvidia*") if path.name.removeprefix("nvidia").isdigit()])


@cache
def network_interface() -> str:
    """The interface that has 127.0.0.1, on which the instances reach one another."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(one.address == "127.0.0.1" for one in addresses):
            return name
    return "lo"
