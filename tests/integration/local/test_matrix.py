"""Every kind of resource that the project has or will have, changed in whatever can be changed, without drift."""

from __future__ import annotations

import json
import re
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from support.stack import ROOT, STATES
from whippet.local import control
from whippet.local.settings import ACCOUNT
from whippet.terraform import Terraform

MATRIX = Path(__file__).with_name("matrix")
CONTAINER = ROOT / "tests" / "unit" / "ops" / "local" / "container.py"

#: What AWS cannot change in place: a configuration has a successor, to which the endpoint moves.
REPLACED = {"module.hosting.aws_sagemaker_endpoint_configuration.this": "replace"}

#: What has no argument that can be changed in place.
FIXED = {
    "aws_cloudwatch_log_stream",
    "aws_iam_role_policy_attachment",
    "aws_lambda_layer_version",
    "aws_lambda_permission",
    "aws_route_table_association",
}

#: What must be gone in the end: an operation that lists it, and where in the answer.
LISTS = [
    ("application-autoscaling", "describe_scalable_targets", "ScalableTargets"),
    ("application-autoscaling", "describe_scaling_policies", "ScalingPolicies"),
    ("application-autoscaling", "describe_scheduled_actions", "ScheduledActions"),
    ("budgets", "describe_budgets", "Budgets"),
    ("cloudwatch", "describe_alarms", "MetricAlarms"),
    ("cloudwatch", "describe_alarms", "CompositeAlarms"),
    ("cloudwatch", "list_dashboards", "DashboardEntries"),
    ("ec2", "describe_addresses", "Addresses"),
    ("ec2", "describe_flow_logs", "FlowLogs"),
    ("ec2", "describe_instances", "Reservations"),
    ("ec2", "describe_internet_gateways", "InternetGateways"),
    ("ec2", "describe_launch_templates", "LaunchTemplates"),
    ("ec2", "describe_nat_gateways", "NatGateways"),
    ("ec2", "describe_network_interfaces", "NetworkInterfaces"),
    ("ec2", "describe_security_groups", "SecurityGroups"),
    ("ec2", "describe_subnets", "Subnets"),
    ("ec2", "describe_volumes", "Volumes"),
    ("ec2", "describe_vpc_endpoints", "VpcEndpoints"),
    ("ec2", "describe_vpcs", "Vpcs"),
    ("iam", "list_instance_profiles", "InstanceProfiles"),
    ("iam", "list_open_id_connect_providers", "OpenIDConnectProviderList"),
    ("iam", "list_policies", "Policies"),
    ("iam", "list_roles", "Roles"),
    ("kms", "list_aliases", "Aliases"),
    ("lambda", "list_code_signing_configs", "CodeSigningConfigs"),
    ("lambda", "list_event_source_mappings", "EventSourceMappings"),
    ("lambda", "list_functions", "Functions"),
    ("lambda", "list_layers", "Layers"),
    ("logs", "describe_log_groups", "logGroups"),
    ("logs", "describe_metric_filters", "metricFilters"),
    ("logs", "describe_resource_policies", "resourcePolicies"),
    ("s3", "list_buckets", "Buckets"),
    ("sagemaker", "list_endpoint_configs", "EndpointConfigs"),
    ("sagemaker", "list_endpoints", "Endpoints"),
    ("sagemaker", "list_model_package_groups", "ModelPackageGroupSummaryList"),
    ("sagemaker", "list_models", "Models"),
    ("sagemaker", "list_notebook_instance_lifecycle_configs", "NotebookInstanceLifecycleConfigs"),
    ("sagemaker", "list_notebook_instances", "NotebookInstances"),
    ("sns", "list_subscriptions", "Subscriptions"),
    ("sns", "list_topics", "Topics"),
    ("sqs", "list_queues", "QueueUrls"),
    ("ssm", "describe_parameters", "Parameters"),
]

#: What their operations must be given, once for each time that they are asked.
ARGUMENTS = {
    "application-autoscaling": [{"ServiceNamespace": "lambda"}, {"ServiceNamespace": "sagemaker"}],
    "budgets": [{"AccountId": ACCOUNT}],
    "list_policies": [{"Scope": "Local"}],
}

#: What of that is not Terraform's: what AWS tells of for some time after its end, the default VPC, AWS's own keys, and
#: the log groups of what ran.
OTHERS = re.compile(
    "'State': 'deleted'|'Name': 'terminated'|'IsDefault': True|'DefaultForAz': True|default VPC security group"
    "|alias/aws/|/aws/sagemaker/Endpoints/|/aws/lambda/matrix-functions-plain"
)


#: What local AWS writes into its log where it cannot do what it is asked.
COMPLAINTS = re.compile("does not implement|Traceback")


class Matrix:
    """The configuration in a folder of its own."""

    def __init__(self, folder: Path, url: str) -> None:
        shutil.copytree(MATRIX, folder, ignore=STATES)
        for step in ("first", "second"):
            with zipfile.ZipFile(folder / "functions" / f"{step}.zip", "w") as package:
                package.writestr(
                    "module.py", f"def handler(event, context):\n    return '{step}'\n\n\nother = handler\n"
                )
        self.terraform = Terraform(folder)
        self.terraform.init()
        self._url = url

    def run(self, command: str, *arguments: str, changed: bool = False, check: bool = True) -> Any:
        return self.terraform.run(command, *arguments, *self._options(changed), check=check)

    def drift(self, changed: bool) -> str:
        """What Terraform would do right after it has applied the same."""
        planned = self.run("plan", "-detailed-exitcode", changed=changed, check=False)
        return "" if planned.returncode == 0 else f"{planned.stdout}{planned.stderr}"

    def change(self) -> dict[str, str]:
        """Changes everything; what Terraform has done to each resource, by its address."""
        actions = {}

        def note(event: dict[str, Any]) -> None:
            if event["type"] == "planned_change":
                actions[event["change"]["resource"]["addr"]] = event["change"]["action"]

        options = ["-auto-approve", "-refresh=false", *self._options(changed=True)]
        self.terraform.stream("apply", *options, on_event=note)
        return actions

    def _options(self, changed: bool) -> list[str]:
        variables = ["-var", f"local_aws_url={self._url}", "-var", f"changed={json.dumps(changed)}"]
        return ["-input=false", "-no-color", "-parallelism=40", *variables]


def remaining(daemon: Any) -> dict[str, list[str]]:
    """What there is of everything that the matrix makes."""
    found = {}
    for service, operation, key in LISTS:
        listing = getattr(daemon.client(service), operation)
        asked = ARGUMENTS.get(operation) or ARGUMENTS.get(service) or [{}]
        listed = [str(one) for arguments in asked for one in listing(**arguments).get(key, [])]
        if left := [one for one in listed if not OTHERS.search(one)]:
            found[f"{service} {key}"] = left
    return found


@pytest.fixture
def matrix(daemon: Any, tmp_path: Path) -> Matrix:
    daemon.up(container_command=[sys.executable, "-S", str(CONTAINER), "{model}"])
    return Matrix(tmp_path / "matrix", control.url(daemon.port))


def kinds_in(folder: Path) -> set[str]:
    """The kinds of resources of AWS in a configuration and its modules."""
    text = "".join(file.read_text() for file in folder.rglob("*.tf"))
    return set(re.findall(r'^resource "(aws_\w+)"', text, re.MULTILINE))


def kind_of(address: str) -> str:
    """The kind of the resource at an address such as `module.storage.aws_s3_bucket.this`."""
    return address.split(".")[2]


#: Applied, changed and destroyed without drift with the training instance's examples: see test_examples.
IN_EXAMPLES = {"aws_autoscaling_group", "aws_autoscaling_policy"}


def test_every_kind_of_resource_of_the_project_is_in_the_matrix() -> None:
    assert kinds_in(ROOT / "terraform") - IN_EXAMPLES <= kinds_in(MATRIX)


def test_everything_is_applied_changed_in_place_and_destroyed_without_drift(daemon: Any, matrix: Matrix) -> None:
    matrix.run("apply", "-auto-approve", "-refresh=false")
    assert matrix.drift(changed=False) == ""

    actions = matrix.change()
    assert {address: action for address, action in actions.items() if action != "update"} == REPLACED
    assert kinds_in(MATRIX) - {kind_of(address) for address in actions} == FIXED
    assert matrix.drift(changed=True) == ""

    matrix.run("destroy", "-auto-approve", "-refresh=false", changed=True)
    assert matrix.terraform.resources() == []
    assert remaining(daemon) == {}
    status = control.status(daemon.port)
    assert status is not None
    assert [line for line in status.log.read_text().splitlines() if COMPLAINTS.search(line)] == []
