"""Roles that calls pass on to services: whether the caller may, and whether the role lets the service have it.

https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_passrole.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from whippet.local.access.actions import Need
from whippet.local.access.policies import Decision, Policy, parse_policy
from whippet.local.access.principals import find_role, iam, service_principal
from whippet.local.access.resources import named, resources_of
from whippet.local.calls import AwsError, Call
from whippet.local.settings import ACCOUNT

LAMBDA, SAGEMAKER, EC2 = "lambda.amazonaws.com", "sagemaker.amazonaws.com", "ec2.amazonaws.com"


class Passing(NamedTuple):
    """A role in the parameters of an operation.

    Attributes:
        path: where the parameters have it, as JMESPath finds it.
        service: whom it is passed to.
    """

    path: str
    service: str


_EXECUTION = Passing("Role", LAMBDA)
_ROLE = Passing("RoleArn", SAGEMAKER)
_PROFILE_ARN = Passing("IamInstanceProfile.Arn", EC2)
_PROFILE_NAME = Passing("IamInstanceProfile.Name", EC2)
_PROFILE = (_PROFILE_ARN, _PROFILE_NAME)

#: The operations that pass a role, or an instance profile with one in it.
PASSED: dict[tuple[str, str], tuple[Passing, ...]] = {
    ("application-autoscaling", "RegisterScalableTarget"): (
        Passing("RoleARN", "application-autoscaling.amazonaws.com"),
    ),
    ("budgets", "CreateBudgetAction"): (Passing("ExecutionRoleArn", "budgets.amazonaws.com"),),
    ("ec2", "AssociateIamInstanceProfile"): _PROFILE,
    ("ec2", "ReplaceIamInstanceProfileAssociation"): _PROFILE,
    ("ec2", "RequestSpotInstances"): (
        Passing("LaunchSpecification.IamInstanceProfile.Arn", EC2),
        Passing("LaunchSpecification.IamInstanceProfile.Name", EC2),
    ),
    ("ec2", "RunInstances"): _PROFILE,
    ("events", "PutRule"): (Passing("RoleArn", "events.amazonaws.com"),),
    ("events", "PutTargets"): (Passing("Targets[].RoleArn", "events.amazonaws.com"),),
    ("iam", "AddRoleToInstanceProfile"): (Passing("RoleName", EC2),),
    ("lambda", "CreateFunction"): (_EXECUTION,),
    ("lambda", "UpdateFunctionConfiguration"): (_EXECUTION,),
    ("logs", "PutDestination"): (Passing("roleArn", "logs.amazonaws.com"),),
    ("logs", "PutSubscriptionFilter"): (Passing("roleArn", "logs.amazonaws.com"),),
    ("s3", "PutBucketReplication"): (Passing("ReplicationConfiguration.Role", "s3.amazonaws.com"),),
    ("sagemaker", "CreateAutoMLJob"): (_ROLE,),
    ("sagemaker", "CreateAutoMLJobV2"): (_ROLE,),
    ("sagemaker", "CreateCompilationJob"): (_ROLE,),
    ("sagemaker", "CreateEndpointConfig"): (Passing("ExecutionRoleArn", SAGEMAKER),),
    ("sagemaker", "CreateHyperParameterTuningJob"): (
        Passing("TrainingJobDefinition.RoleArn", SAGEMAKER),
        Passing("TrainingJobDefinitions[].RoleArn", SAGEMAKER),
    ),
    ("sagemaker", "CreateModel"): (Passing("ExecutionRoleArn", SAGEMAKER),),
    ("sagemaker", "CreateNotebookInstance"): (_ROLE,),
    ("sagemaker", "CreatePipeline"): (_ROLE,),
    ("sagemaker", "CreateProcessingJob"): (_ROLE,),
    ("sagemaker", "CreateTrainingJob"): (_ROLE,),
    ("sagemaker", "UpdateNotebookInstance"): (_ROLE,),
    ("scheduler", "CreateSchedule"): (Passing("Target.RoleArn", "scheduler.amazonaws.com"),),
    ("scheduler", "UpdateSchedule"): (Passing("Target.RoleArn", "scheduler.amazonaws.com"),),
    ("stepfunctions", "CreateStateMachine"): (Passing("roleArn", "states.amazonaws.com"),),
}


class Pass(NamedTuple):
    """A role that a call passes on, to which service, and for which resource."""

    role_arn: str
    service: str
    resource: str

    @property
    def need(self) -> Need:
        """What the caller must be allowed."""
        return Need("iam:PassRole", self.role_arn)

    @property
    def context(self) -> dict[str, str]:
        """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html."""
        return {"iam:passedtoservice": self.service, "iam:associatedresourcearn": self.resource}


def passes_of(call: Call) -> Iterator[Pass]:
    """The roles that a call passes on."""
    passings = PASSED.get((call.service, call.operation), ())
    for passing in passings:
        for name in named(call, passing.path):
            if role_arn := _role_arn(name, passing.path):
                yield Pass(role_arn, passing.service, resources_of(call)[0])


def _role_arn(name: str, path: str) -> str:
    """The ARN of a role that is given by ARN, by name or by the instance profile that it is in."""
    if "IamInstanceProfile" in path:
        profiles = list(iam().instance_profiles.values())
        profile = next((one for one in profiles if name in (one.arn, one.name)), None)
        return str(profile.roles[0].arn) if profile and profile.roles else ""
    if name.startswith("arn:"):
        return name
    role = next((role for role in list(iam().roles.values()) if role.name == name), None)
    return f"arn:aws:iam::{ACCOUNT}:role/{name}" if role is None else str(role.arn)


def trust_policy(role_arn: str) -> Policy | None:
    """Who may assume a role; None where there is no such role."""
    role = find_role(role_arn)
    try:
        return None if role is None else parse_policy(role.assume_role_policy_document)
    except ValueError:  # which moto takes: it trusts nobody
        return ()


def can_be_assumed(role_arn: str, service: str, source_arn: str) -> bool:
    """Whether a role exists and trusts a service.

    Args:
        role_arn: the role.
        service: as in `lambda.amazonaws.com`.
        source_arn: for which resource the service assumes it, as
            https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html has it.
    """
    trust = trust_policy(role_arn)
    if trust is None:
        return False
    context = {"aws:sourceaccount": ACCOUNT, "aws:sourcearn": source_arn}
    need = Need("sts:AssumeRole", role_arn)
    return (
        service_principal(service).judge(need, context, trust, is_resource_decisive=True).decision is Decision.ALLOWED
    )


def _lambda_error(role_arn: str) -> AwsError:
    message = "The role defined for the function cannot be assumed by Lambda."
    return AwsError("InvalidParameterValueException", message, members={"Type": "User"})


def _sagemaker_error(role_arn: str) -> AwsError:
    message = f"Could not assume role {role_arn}. Please ensure that the role exists and allows principal "
    return AwsError("ValidationException", f"{message}'{SAGEMAKER}' to assume the role.")


#: The services that try a role when they are given it; EC2 and others find out when they need it.
_ERRORS: dict[str, Callable[[str], AwsError]] = {LAMBDA: _lambda_error, SAGEMAKER: _sagemaker_error}


def check_trust(call: Call) -> None:
    """Checks that the services to which a call passes roles can assume them.

    Raises:
        AwsError: one cannot, or there is no such role.
    """
    for passed in passes_of(call):
        error = _ERRORS.get(passed.service)
        if error and not can_be_assumed(passed.role_arn, passed.service, passed.resource):
            raise error(passed.role_arn)
