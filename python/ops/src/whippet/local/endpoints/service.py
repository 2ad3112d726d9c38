"""SageMaker endpoints: moto keeps the records, fleets of processes answer.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateEndpoint.html
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import urllib3
from moto.core.exceptions import ServiceException
from moto.core.utils import utcnow
from moto.s3.models import s3_backends
from moto.sagemaker.models import sagemaker_backends
from werkzeug.wrappers import Response

from whippet.local.access.actions import Need
from whippet.local.access.policies import Decision
from whippet.local.access.principals import role_principal
from whippet.local.calls import AwsError, Call, json_answer
from whippet.local.endpoints.instances import Fleet, FleetRetiredError, Instance, InstanceError, Variant
from whippet.local.services import Forward, Handlers
from whippet.local.settings import ACCOUNT, Settings

log = logging.getLogger(__name__)

#: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
MAX_BODY_BYTES = 6_291_456
#: Headers of an invocation that the container sees, and headers of its answer that the caller sees.
REQUEST_HEADERS = ("Content-Type", "Accept", "X-Amzn-SageMaker-Custom-Attributes", "X-Amzn-SageMaker-Inference-Id")
RESPONSE_HEADERS = ("Content-Type", "X-Amzn-SageMaker-Custom-Attributes")
#: Seconds that an instance gets to end when everything is stopped or reset.
FORGET_GRACE = 2.0


class DeploymentError(Exception):
    """An endpoint cannot be brought up; the text is the FailureReason."""


@dataclass
class Endpoint:
    """An endpoint that exists.

    Attributes:
        region: where it is.
        name: its name.
        record: moto's record of it, which Describe and List read.
        fleet: what answers; None until the first deployment is healthy.
        starting: the fleet that is to take over.
        is_forgotten: it went with a reset; nothing may be started for it any more.
    """

    region: str
    name: str
    record: Any
    fleet: Fleet | None = None
    starting: Fleet | None = None
    is_forgotten: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def arn(self) -> str:
        """The ARN of the endpoint."""
        return str(self.record.arn)


class Endpoints:
    """All endpoints of local AWS."""

    def __init__(self, settings: Settings, random: Random) -> None:
        self._settings = settings
        self._random = random
        self._endpoints: dict[tuple[str, str], Endpoint] = {}
        self._lock = threading.Lock()

    def handlers(self) -> Handlers:
        """The operations that are answered here."""
        return {
            ("sagemaker", "CreateEndpoint"): self.create,
            ("sagemaker", "UpdateEndpoint"): self.update,
            ("sagemaker", "DeleteEndpoint"): self.delete,
            ("sagemaker-runtime", "InvokeEndpoint"): self.invoke,
        }

    def create(self, call: Call, forward: Forward) -> Response:
        """CreateEndpoint: the record at once, the instances behind it in the background."""
        name = call.params["EndpointName"]
        key = (call.region, name)
        with self._lock:
            if key in self._endpoints:
                arn = self._endpoints[key].arn
                raise AwsError("ValidationException", f'Cannot create already existing endpoint "{arn}".')
            answer = forward(call)
            if answer.status_code != 200:
                return answer
            record = sagemaker_backends[ACCOUNT][call.region].endpoints[name]
            record.endpoint_status = "Creating"
            _note_deployment_config(record, call)
            endpoint = self._endpoints[key] = Endpoint(call.region, name, record)
        _in_background(self._deploy, endpoint, record.endpoint_config_name)
        return answer

    def update(self, call: Call, forward: Forward) -> Response:
        """UpdateEndpoint, which moto lacks: the new fleet takes over once it is healthy, else the old one stays."""
        endpoint = self._find(call)
        config_name = call.params["EndpointConfigName"]
        with endpoint.lock:
            if endpoint.record.endpoint_status not in ("InService", "Failed"):
                raise AwsError("ValidationException", f'Cannot update in-progress endpoint "{endpoint.arn}".')
            if config_name not in sagemaker_backends[ACCOUNT][call.region].endpoint_configs:
                arn = call.arn(f"endpoint-config/{config_name}")
                raise AwsError("ValidationException", f'Could not find endpoint configuration "{arn}".')
            endpoint.record.endpoint_status = "Updating"
            endpoint.record.failure_reason = None
            endpoint.record.last_modified_time = utcnow()
            _note_deployment_config(endpoint.record, call)
        _in_background(self._deploy, endpoint, config_name)
        return json_answer({"EndpointArn": endpoint.arn})

    def delete(self, call: Call, forward: Forward) -> Response:
        """DeleteEndpoint: the record is there, as Deleting, until the instances have stopped."""
        endpoint = self._find(call)
        with endpoint.lock:
            if endpoint.record.endpoint_status not in ("InService", "Failed"):
                raise AwsError("ValidationException", f'Cannot update in-progress endpoint "{endpoint.arn}".')
            endpoint.record.endpoint_status = "Deleting"
        _in_background(self._finish_delete, endpoint)
        return Response(status=200, content_type="application/x-amz-json-1.1")

    def invoke(self, call: Call, forward: Forward) -> Response:
        """InvokeEndpoint: passed on to an instance."""
        body = call.body
        if len(body) > MAX_BODY_BYTES:
            raise AwsError("ValidationError", f"Request body of {len(body)} bytes exceeds {MAX_BODY_BYTES} bytes.")
        endpoint, fleet, variant, instance = self._acquire(call)
        try:
            return self._pass_on(call, endpoint, variant, instance, body)
        finally:
            fleet.release(instance)

    def status(self) -> list[dict[str, Any]]:
        """The endpoints, for `whippet local status`."""
        return [
            {
                "name": endpoint.name,
                "status": endpoint.record.endpoint_status,
                "instances": [
                    {"pid": instance.process.pid, "port": instance.port}
                    for fleet in (endpoint.fleet, endpoint.starting)
                    if fleet is not None
                    for instance in fleet.instances()
                ],
            }
            for endpoint in list(self._endpoints.values())
        ]

    def resume(self) -> None:
        """Nothing is on record when a local AWS starts."""

    def stop(self) -> None:
        """Stops every process and forgets every endpoint."""
        with self._lock:
            endpoints = list(self._endpoints.values())
            self._endpoints.clear()
        retirers = [threading.Thread(target=self._forget, args=(endpoint,)) for endpoint in endpoints]
        for retirer in retirers:
            retirer.start()
        for retirer in retirers:
            retirer.join()

    def _forget(self, endpoint: Endpoint) -> None:
        with endpoint.lock:
            endpoint.is_forgotten = True
            fleets = [fleet for fleet in (endpoint.fleet, endpoint.starting) if fleet is not None]
            endpoint.fleet = endpoint.starting = None
        for fleet in fleets:
            fleet.retire(drain=0, grace=min(FORGET_GRACE, self._settings.stop_grace))

    def _acquire(self, call: Call) -> tuple[Endpoint, Fleet, str, Instance]:
        """Chooses what answers an invocation."""
        name = call.labels["EndpointName"]
        target = call.request.headers.get("X-Amzn-SageMaker-Target-Variant")
        while True:
            endpoint = self._endpoints.get((call.region, name))
            fleet = endpoint.fleet if endpoint else None
            if endpoint is None or fleet is None:
                raise AwsError("ValidationError", f"Endpoint {name} of account {call.account} not found.")
            try:
                chosen = fleet.acquire(target)
            except FleetRetiredError:  # between the two lines above another fleet has taken over, or none is left
                continue
            if chosen is None:
                raise AwsError("ValidationError", f"Variant {target} of endpoint {name} not found.")
            return endpoint, fleet, *chosen

    def _find(self, call: Call) -> Endpoint:
        name = call.params.get("EndpointName", "")
        endpoint = self._endpoints.get((call.region, name))
        if endpoint is None:
            raise AwsError("ValidationException", f'Could not find endpoint "{call.arn(f"endpoint/{name}")}".')
        return endpoint

    def _deploy(self, endpoint: Endpoint, config_name: str) -> None:
        """Starts the instances of a configuration and lets them take over, or keeps what there is."""
        record = endpoint.record
        fleet = None
        try:
            config = sagemaker_backends[ACCOUNT][endpoint.region].describe_endpoint_config(config_name)
            variants = [self._variant(endpoint, variant) for variant in config["ProductionVariants"]]
            fleet = Fleet(variants, self._settings.work, self._settings.invocation_timeout, self._random)
            with endpoint.lock:
                if endpoint.is_forgotten:
                    return
                endpoint.starting = fleet
            fleet.start()
        except (DeploymentError, InstanceError, ServiceException) as error:
            log.warning("endpoint %s: %s", endpoint.name, error)
            self._roll_back(endpoint, fleet, error.message if isinstance(error, ServiceException) else str(error))
            return
        with endpoint.lock:
            if endpoint.is_forgotten:
                return
            retired, endpoint.fleet, endpoint.starting = endpoint.fleet, fleet, None
            record.endpoint_config_name = config_name
            record.production_variants = record._process_production_variants(config["ProductionVariants"])
            record.last_modified_time = utcnow()
            record.endpoint_status = "InService"
        if retired is not None:
            self._retire(retired)

    def _roll_back(self, endpoint: Endpoint, fleet: Fleet | None, reason: str) -> None:
        """Ends a deployment that failed: with a fleet that answers, the update has failed and the endpoint has not."""
        if fleet is not None:
            endpoint.record.endpoint_status = "RollingBack" if endpoint.fleet else "Creating"
            self._retire(fleet)
        with endpoint.lock:
            endpoint.starting = None
            endpoint.record.failure_reason = reason
            endpoint.record.endpoint_status = "InService" if endpoint.fleet else "Failed"

    def _finish_delete(self, endpoint: Endpoint) -> None:
        with endpoint.lock:
            fleet, endpoint.fleet = endpoint.fleet, None
        if fleet is not None:
            self._retire(fleet)
        self._endpoints.pop((endpoint.region, endpoint.name), None)
        sagemaker_backends[ACCOUNT][endpoint.region].endpoints.pop(endpoint.name, None)

    def _retire(self, fleet: Fleet) -> None:
        fleet.retire(drain=self._settings.invocation_timeout, grace=self._settings.stop_grace)

    def _variant(self, endpoint: Endpoint, variant: dict[str, Any]) -> Variant:
        model = sagemaker_backends[ACCOUNT][endpoint.region].describe_model(variant["ModelName"])
        container = model.primary_container or next(iter(model.containers), {})
        archive = self._fetch_model(container.get("ModelDataUrl", ""), model.execution_role_arn)
        return Variant(
            name=variant["VariantName"],
            weight=variant.get("InitialVariantWeight", 1.0),
            count=variant.get("InitialInstanceCount", 1),
            command=tuple(word.replace("{model}", str(archive)) for word in self._settings.container_command),
            environment={"AWS_REGION": endpoint.region, **container.get("Environment", {})},
            health_check_timeout=variant.get(
                "ContainerStartupHealthCheckTimeoutInSeconds", self._settings.health_check_timeout
            ),
            role_arn=model.execution_role_arn,
            region=endpoint.region,
            log_group=log_group(endpoint.name),
        )

    def _fetch_model(self, url: str, role_arn: str) -> Path:
        """Copies a model archive out of S3, as the model's execution role.

        Raises:
            DeploymentError: there is none, or the role may not read it.
        """
        parts = urlsplit(url)
        bucket, key = parts.netloc, parts.path.lstrip("/")
        may_read = role_principal(role_arn).decide(Need("s3:GetObject", f"arn:aws:s3:::{bucket}/{key}"))
        buckets = s3_backends[ACCOUNT]["aws"]
        found = buckets.get_object(bucket, key) if bucket in buckets.buckets else None
        if found is None or may_read is not Decision.ALLOWED:
            raise DeploymentError(
                f'Could not access model data at {url}. Please ensure that the role "{role_arn}" exists and that its '
                'policies allow "s3:GetObject", and that the object exists.'
            )
        path = self._settings.work / "models" / f"{re.sub(r'[^0-9a-zA-Z-]', '', found.etag)}.tar.gz"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as partial:
                partial.write(found.value)
            os.replace(partial.name, path)  # noqa: PTH105 - two deployments may fetch the same model at once
        return path

    def _pass_on(self, call: Call, endpoint: Endpoint, variant: str, instance: Instance, body: bytes) -> Response:
        headers = {name: value for name in REQUEST_HEADERS if (value := call.request.headers.get(name)) is not None}
        try:
            answer = instance.invoke(body, headers)
        except urllib3.exceptions.ReadTimeoutError:
            message = f"Your invocation timed out while waiting for a response from container {variant}"
            raise _model_error(endpoint, 0, message) from None
        except urllib3.exceptions.HTTPError as error:
            log.warning("endpoint %s: instance on port %d: %s", endpoint.name, instance.port, error)
            raise _model_error(endpoint, 500, "The container closed the connection.") from None
        if not 200 <= answer.status < 300:
            raise _model_error(endpoint, answer.status, answer.data.decode(errors="replace"))
        passed_back = {name: answer.headers[name] for name in RESPONSE_HEADERS if name in answer.headers}
        return Response(answer.data, 200, {**passed_back, "x-Amzn-Invoked-Production-Variant": variant})


def _model_error(endpoint: Endpoint, status: int, message: str) -> AwsError:
    """The 424 with which AWS tells a caller that the container failed."""
    group = log_group(endpoint.name)
    kind = "client" if 400 <= status < 500 else "server"
    console = f"https://{endpoint.region}.console.aws.amazon.com/cloudwatch/home?region={endpoint.region}"
    text = (
        f'Received {kind} error ({status}) from primary with message "{message}". '
        f"See {console}#logEventViewer:group={group} in account {ACCOUNT} for more information."
    )
    return AwsError(
        "ModelError",
        text,
        members={
            "ErrorCode": "CLIENT_ERROR_FROM_MODEL" if kind == "client" else "INTERNAL_FAILURE_FROM_MODEL",
            "OriginalStatusCode": status,
            "OriginalMessage": message,
            "LogStreamArn": f"arn:aws:logs:{endpoint.region}:{ACCOUNT}:log-group:{group}",
        },
    )


def log_group(endpoint_name: str) -> str:
    """Where the containers of an endpoint log."""
    return f"/aws/sagemaker/Endpoints/{endpoint_name}"


def _note_deployment_config(record: Any, call: Call) -> None:
    # moto's record gives its attributes as members of DescribeEndpoint's answer.
    record.last_deployment_config = call.params.get("DeploymentConfig")


def _in_background(target: Any, *args: Any) -> None:
    threading.Thread(target=target, args=args, daemon=True).start()
