"""The function's settings, from its environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

#: The largest body that SageMaker's InvokeEndpoint takes, in bytes.
#: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
MAX_ENDPOINT_BYTES = 6 * 1024 * 1024


#: A host name, or "*." and a domain for every name below it. The last label begins with a letter, so that no spelling
#: of an IP address is one, and a domain has two labels, so that nobody allows all of ".com".
HOST = re.compile(r"(\*\.)?([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]([a-z0-9-]*[a-z0-9])?")


#: What CloudWatch takes, less what AWS keeps for itself.
#: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html
NAMESPACE = re.compile(r"(?!AWS/)[A-Za-z0-9._/#-]{0,255}")


class ConfigError(Exception):
    """The function's environment lacks something or holds nonsense; the text names the variable."""


class Config(NamedTuple):
    """What the environment says.

    Attributes:
        endpoint_name: The SageMaker endpoint to ask; empty where the model lies in the package.
        allowed_url_hosts: Hosts that `{"url": ...}` events may name, each a name or "*." and a domain; none means that
            such events are refused.
        max_photo_bytes: The largest photo that is passed on.
        metrics_namespace: Of the CloudWatch metrics in the log; an empty one means none.
        model_dir: The model's folder in the package; empty where an endpoint is asked.
    """

    endpoint_name: str
    allowed_url_hosts: frozenset[str] = frozenset()
    max_photo_bytes: int = MAX_ENDPOINT_BYTES
    metrics_namespace: str = ""
    model_dir: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Config:
        """Reads WHIPPET_ENDPOINT_NAME or _MODEL_DIR, _ALLOWED_URL_HOSTS, _MAX_PHOTO_BYTES and _METRICS_NAMESPACE.

        Raises:
            ConfigError: There is neither endpoint nor model or both, a host or namespace is not one, or the size is
                not a whole number above 0.
        """
        name = environment.get("WHIPPET_ENDPOINT_NAME", "").strip()
        model_dir = environment.get("WHIPPET_MODEL_DIR", "").strip()
        if bool(name) == bool(model_dir):
            raise ConfigError(
                "Set WHIPPET_ENDPOINT_NAME to the name of the SageMaker endpoint, or WHIPPET_MODEL_DIR to the model's "
                "folder in the package, and not both."
            )
        listed = environment.get("WHIPPET_ALLOWED_URL_HOSTS", "").split(",")
        hosts = frozenset(host.strip().lower() for host in listed if host.strip())
        for host in sorted(hosts):
            if not HOST.fullmatch(host):
                raise ConfigError(
                    f"WHIPPET_ALLOWED_URL_HOSTS takes names such as images.example.org or *.example.org, not {host!r}."
                )
        size = environment.get("WHIPPET_MAX_PHOTO_BYTES", str(MAX_ENDPOINT_BYTES))
        if not re.fullmatch("[0-9]{1,18}", size) or int(size) < 1:
            raise ConfigError(f"WHIPPET_MAX_PHOTO_BYTES must be a whole number above 0, not {size!r}.")
        namespace = environment.get("WHIPPET_METRICS_NAMESPACE", "").strip()
        if not NAMESPACE.fullmatch(namespace):
            raise ConfigError(f"WHIPPET_METRICS_NAMESPACE takes a name such as Whippet, not {namespace!r}.")
        return cls(
            endpoint_name=name,
            allowed_url_hosts=hosts,
            max_photo_bytes=min(int(size), MAX_ENDPOINT_BYTES),
            metrics_namespace=namespace,
            model_dir=model_dir,
        )
