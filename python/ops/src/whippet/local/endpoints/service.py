"""SageMaker endpoints: moto keeps the records, fleets of processes answer.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateEndpoint.html
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from random import Random
from typing import Any

from moto.sagemaker.models import sagemaker_backends
from werkzeug.wrappers import Response

from whippet.local.access.actions import Need
from whippet.local.access.policies import Decision
from whippet.local.access.principals import role_principal
from whippet.local.calls import AwsError, Call, answer
from whippet.local.clock import Clock
from whippet.local.constraints import constrained
from whippet.local.endpoints import capacity, deployment, policy
from whippet.local.endpoints.capture import Captures
from whippet.local.endpoints.configuration import Configuration, configurations_of, read_configuration
from whippet.local.endpoints.description import describe
from whippet.local.endpoints.endpoint import CHANGEABLE, DELETABLE, Endpoint
from whippet.local.endpoints.fleet import Traffic
from whippet.local.endpoints.invocation import invoke
from whippet.local.endpoints.metering import Metering
from whippet.local.endpoints.records import Capacity, Deployed, deployed_in, initial_capacities
from whippet.local.monitoring.alarms import alarm_state
from whippet.local.monitoring.metrics import Metrics
from whippet.local.scaling.targets import targets_of
from whippet.local.services import Forward, Handlers
from whippet.local.settings import ACCOUNT, Settings
from whippet.local.state import State


class Endpoints:
    """All endpoints of local AWS.

    Args:
        settings: how it runs.
        clock: what waits follow.
        metrics: take what CloudWatch learns.
        state: told of what changes outside of a call.
        random: chooses among variants, and what data is captured.
    """

    def __init__(self, settings: Settings, clock: Clock, metrics: Metrics, state: State, random: Random) -> None:
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._state = state
        self._random = random
        self._endpoints: dict[tuple[str, str], Endpoint] = {}
        self._lock = threading.Lock()
        self._captures = Captures(clock, random, state)
        self._metering = Metering(clock, metrics, lambda: list(self._endpoints.values()), settings.home)
        self.capacity = capacity.VariantCapacity(lambda region, name: self._endpoints.get((region, name)))

    def handlers(self) -> Handlers:
        """The operations that are answered here."""
        operations = {
            "CreateEndpoint": self.create,
            "CreateEndpointConfig": self.create_config,
            "DeleteEndpoint": self.delete,
            "DeleteEndpointConfig": self.delete_config,
            "DescribeEndpoint": self.describe,
            "DescribeEndpointConfig": self.describe_config,
            "UpdateEndpoint": self.update,
            "UpdateEndpointWeightsAndCapacities": self.update_weights_and_capacities,
        }
        return {
            **constrained({("sagemaker", name): handler for name, handler in operations.items()}),
            ("sagemaker-runtime", "InvokeEndpoint"): self.invoke,
            ("sagemaker-runtime", "InvokeEndpointAsync"): self.refuse,
            ("sagemaker-runtime", "InvokeEndpointWithResponseStream"): self.refuse,
        }

    def create_config(self, call: Call, forward: Forward) -> Response:
        """CreateEndpointConfig: moto drops some parameters, and lets a second one of a name replace the first."""
        params = call.params
        name = params["EndpointConfigName"]
        if name in sagemaker_backends[ACCOUNT][call.region].endpoint_configs:
            arn = call.arn(f"endpoint-config/{name}")
            raise AwsError("ValidationException", f'Cannot create already existing endpoint configuration "{arn}".')
        names = [one["VariantName"] for one in params["ProductionVariants"]]
        if len(set(names)) < len(names):
            raise AwsError("ValidationException", "The variant names of an endpoint configuration must be unique.")
        if any("ModelName" not in one for one in params["ProductionVariants"]):
            message = "Local AWS has no inference components: each variant needs a ModelName."
            raise AwsError("ValidationException", message)
        answered = forward(call)
        if answered.status_code == 200:
            configurations_of(call.region)[name] = {key: value for key, value in params.items() if key != "Tags"}
        return answered

    def delete_config(self, call: Call, forward: Forward) -> Response:
        """DeleteEndpointConfig: an endpoint that runs it goes on running it."""
        answered = forward(call)
        if answered.status_code == 200:
            configurations_of(call.region).pop(call.params["EndpointConfigName"], None)
        return answered

    def describe_config(self, call: Call, forward: Forward) -> Response:
        """DescribeEndpointConfig: moto makes up a data capture of zeros, which Terraform takes for a change."""
        name = call.params["EndpointConfigName"]
        record = sagemaker_backends[ACCOUNT][call.region].endpoint_configs.get(name)
        params = configurations_of(call.region).get(name)
        if record is None or params is None:
            arn = call.arn(f"endpoint-config/{name}")
            raise AwsError("ValidationException", f'Could not find endpoint configuration "{arn}".')
        defaults = {"InitialVariantWeight": 1.0}
        variants = [{**defaults, **one} for one in params["ProductionVariants"]]
        return answer(
            call,
            {
                **params,
                "EndpointConfigArn": record.endpoint_config_arn,
                "ProductionVariants": variants,
                "CreationTime": record.creation_time,
            },
        )

    def create(self, call: Call, forward: Forward) -> Response:
        """CreateEndpoint: the record at once, the instances behind it in the background."""
        name = call.params["EndpointName"]
        config = call.params.get("DeploymentConfig")
        policy.check(config or {})
        with self._lock:
            if (call.region, name) in self._endpoints:
                message = f'Cannot create already existing endpoint "{call.arn(f"endpoint/{name}")}".'
                raise AwsError("ValidationException", message)
            configuration = read_configuration(call.region, call.params["EndpointConfigName"])
            answered = forward(call)
            if answered.status_code != 200:
                return answered
            record = sagemaker_backends[ACCOUNT][call.region].endpoints[name]
            record.endpoint_status = "Creating"
            record.creation_time = record.last_modified_time = self._clock.now().replace(tzinfo=None)
            deployed = deployed_in(call.region)[name] = Deployed(
                configuration, config, capacities=initial_capacities(configuration), capture=configuration.capture
            )
            endpoint = self._add(call.region, record, deployed)
        endpoint.in_background(deployment.create, endpoint)
        return answered

    def update(self, call: Call, forward: Forward) -> Response:
        """UpdateEndpoint, which moto lacks: a new fleet takes over once it is healthy, else the old one stays.

        https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_UpdateEndpoint.html
        """
        params = call.params
        endpoint = self._find(call)
        configuration = read_configuration(call.region, params["EndpointConfigName"])
        with endpoint.lock:
            deployed = endpoint.deployed
            config = params.get("DeploymentConfig")
            if config is None and params.get("RetainDeploymentConfig"):
                config = deployed.deployment_config
            excluded = {one["VariantPropertyType"] for one in params.get("ExcludeRetainedVariantProperties", [])}
            retained: set[str] = set()
            if params.get("RetainAllVariantProperties"):
                retained = {"DesiredInstanceCount", "DesiredWeight", "DataCaptureConfig"} - excluded
            capacities = _retain(configuration, deployed.capacities, retained)
            policy.check(config or {})
            policy.check_update(
                config or {},
                {name: one.count for name, one in deployed.capacities.items()},
                {name: one.count for name, one in capacities.items()},
            )
            _check_alarms(call, policy.read(config), configuration)
            _check_scaled(endpoint, configuration)
            endpoint.begin("Updating", CHANGEABLE)
            deployed.deployment_config = config
            endpoint.pending = deployment.pending(endpoint, configuration, capacities)
            capture = deployed.capture if "DataCaptureConfig" in retained else configuration.capture
            endpoint.in_background(deployment.update, endpoint, endpoint.traffic.fleets, config, capture)
        return answer(call, {"EndpointArn": endpoint.arn})

    def update_weights_and_capacities(self, call: Call, forward: Forward) -> Response:
        """UpdateEndpointWeightsAndCapacities: instances come and go while the others serve."""
        endpoint = self._find(call)
        with endpoint.lock:
            capacity.begin(endpoint, capacity.checked(endpoint, call.params["DesiredWeightsAndCapacities"]))
        return answer(call, {"EndpointArn": endpoint.arn})

    def delete(self, call: Call, forward: Forward) -> Response:
        """DeleteEndpoint: the record is there, as Deleting, until the instances have stopped."""
        endpoint = self._find(call)
        endpoint.begin("Deleting", DELETABLE)
        endpoint.in_background(self._finish_delete, endpoint)
        return answer(call)

    def describe(self, call: Call, forward: Forward) -> Response:
        """DescribeEndpoint."""
        return answer(call, describe(self._find(call)))

    def invoke(self, call: Call, forward: Forward) -> Response:
        """InvokeEndpoint."""
        endpoint = self._endpoints.get((call.region, call.labels["EndpointName"]))
        return invoke(call, endpoint, self._metrics, self._captures)

    def refuse(self, call: Call, forward: Forward) -> Response:
        """The other ways to invoke, which moto would answer with what it makes up.

        Raises:
            AwsError: always.
        """
        raise AwsError("NotImplemented", f"Local AWS does not implement {call.service}:{call.operation}.", status=501)

    def status(self) -> list[dict[str, Any]]:
        """The endpoints, for `whippet local status`."""
        return [
            {
                "name": endpoint.name,
                "status": endpoint.status,
                "instances": [
                    {"pid": instance.pid, "port": instance.port}
                    for fleet in endpoint.fleets
                    for instance in fleet.instances()
                ],
            }
            for endpoint in list(self._endpoints.values())
        ]

    def resume(self) -> None:
        """Starts the endpoints on record: what was being updated comes back with its last configuration."""
        self._captures.start()
        self._metering.start()
        for region, backend in list(sagemaker_backends[ACCOUNT].items()):
            for name, deployed in list(deployed_in(region).items()):
                record = backend.endpoints.get(name)
                if record is None or record.endpoint_status == "Deleting":
                    backend.endpoints.pop(name, None)
                    del deployed_in(region)[name]
                    continue
                with self._lock:
                    endpoint = self._add(region, record, deployed)
                if endpoint.status == "Failed":
                    continue
                is_interrupted = deployed.configuration is not None and endpoint.status in ("Updating", "RollingBack")
                reason = deployment.INTERRUPTED if is_interrupted else record.failure_reason
                endpoint.note("Creating", reason)
                endpoint.in_background(deployment.create, endpoint)

    def stop(self) -> None:
        """Stops every process and forgets every endpoint."""
        with self._lock:
            endpoints = list(self._endpoints.values())
            self._endpoints.clear()
        stoppers = [threading.Thread(target=endpoint.stop) for endpoint in endpoints]
        for stopper in stoppers:
            stopper.start()
        for stopper in stoppers:
            stopper.join()
        self._metering.stop()
        self._captures.stop()

    def _add(self, region: str, record: Any, deployed: Deployed) -> Endpoint:
        endpoint = Endpoint(
            region,
            record,
            deployed,
            Traffic(self._random),
            settings=self._settings,
            clock=self._clock,
            state=self._state,
        )
        self._endpoints[region, endpoint.name] = endpoint
        return endpoint

    def _find(self, call: Call) -> Endpoint:
        name = call.params.get("EndpointName", "")
        endpoint = self._endpoints.get((call.region, name))
        if endpoint is None:
            raise AwsError("ValidationException", f'Could not find endpoint "{call.arn(f"endpoint/{name}")}".')
        return endpoint

    def _finish_delete(self, endpoint: Endpoint) -> None:
        endpoint.traffic.set()
        endpoint.retire(*endpoint.fleets)
        with self._lock:
            if endpoint.stopped.is_set():
                return
            del self._endpoints[endpoint.region, endpoint.name]
            sagemaker_backends[ACCOUNT][endpoint.region].endpoints.pop(endpoint.name, None)
            deployed_in(endpoint.region).pop(endpoint.name, None)
        endpoint.save()


def _retain(configuration: Configuration, current: Mapping[str, Capacity], retained: set[str]) -> dict[str, Capacity]:
    """What the variants of a new configuration shall have, where some properties are kept as they are.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_VariantProperty.html
    """
    return {
        name: Capacity(
            weight=current[name].weight if name in current and "DesiredWeight" in retained else initial.weight,
            count=current[name].count if name in current and "DesiredInstanceCount" in retained else initial.count,
        )
        for name, initial in initial_capacities(configuration).items()
    }


def _check_alarms(call: Call, update: policy.Policy, configuration: Configuration) -> None:
    """Checks that the alarms of a deployment are there, and that the execution role may look at them.

    The second is documented; that the call is refused, and its words, are not:
    https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-configuration.html

    Raises:
        AwsError: ValidationException.
    """
    for name in update.alarms:
        if alarm_state(call.region, name) is None:
            raise AwsError("ValidationException", f'Could not find alarm "{name}".')
        need = Need("cloudwatch:DescribeAlarms", call.arn(f"alarm:{name}", "cloudwatch"))
        for role in {variant.role_arn for variant in configuration.variants}:
            if role_principal(role).decide(need) is not Decision.ALLOWED:
                message = f'The role "{role}" is not authorized to perform: {need.action} on alarm "{name}".'
                raise AwsError("ValidationException", message)


def _check_scaled(endpoint: Endpoint, configuration: Configuration) -> None:
    """Checks that no variant which Application Auto Scaling scales gets instances of another type, or goes.

    The rule is documented, its words are not: https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-scaling-update.html

    Raises:
        AwsError: ValidationException.
    """
    types = {variant.name: variant.members.get("InstanceType") for variant in configuration.variants}
    scaled = {key.resource_id for key in list(targets_of(endpoint.region))}
    current = endpoint.deployed.configuration
    for variant in current.variants if current is not None else ():
        is_same = variant.name in types and types[variant.name] == variant.members.get("InstanceType")
        if not is_same and f"endpoint/{endpoint.name}/variant/{variant.name}" in scaled:
            message = (
                f"The variant {variant.name} is registered as a scalable target. Deregister it with "
                "application-autoscaling:DeregisterScalableTarget before you remove it or change its instance type."
            )
            raise AwsError("ValidationException", message)
