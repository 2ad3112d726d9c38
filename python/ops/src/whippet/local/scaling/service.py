"""Application Auto Scaling's operations: targets, policies, schedules and activities.

https://docs.aws.amazon.com/autoscaling/application/APIReference/Welcome.html
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from werkzeug.wrappers import Response

from whippet.local.calls import AwsError, Call, answer
from whippet.local.clock import Clock
from whippet.local.constraints import constrained
from whippet.local.monitoring.alarms import alarms_of
from whippet.local.monitoring.evaluator import ACTIONS
from whippet.local.monitoring.paging import page
from whippet.local.scaling import following, schedules, tracking
from whippet.local.scaling.engine import Engine, next_due
from whippet.local.scaling.targets import (
    DIMENSIONS,
    NOTHING_SUSPENDED,
    Activity,
    Policy,
    ScheduledAction,
    Target,
    TargetKey,
    activities_of,
    keys_of_activities,
    targets_of,
)
from whippet.local.scaling.tracking import Bounds
from whippet.local.services import Forward, Handlers
from whippet.local.settings import ACCOUNT

#: What a page holds where MaxResults says nothing, and at most; of policies and of everything else.
POLICIES_PAGE, PAGE = 10, 50
#: https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-limits.html
MAX_STEPS = 20
#: What is stored of a scheduled action, and what of it an update keeps that does not name it.
SCHEDULE_MEMBERS = ("Schedule", "Timezone", "StartTime", "EndTime", "ScalableTargetAction")
KEPT_MEMBERS = ("Schedule", "Timezone", "ScalableTargetAction")


class Scaling:
    """Application Auto Scaling as callers see it.

    Args:
        clock: when things are made.
        engine: does what they say.
    """

    def __init__(self, clock: Clock, engine: Engine) -> None:
        self._clock = clock
        self._engine = engine

    def handlers(self) -> Handlers:
        """The operations that are answered here."""
        operations = {
            "DeleteScalingPolicy": self.delete_policy,
            "DeleteScheduledAction": self.delete_action,
            "DeregisterScalableTarget": self.deregister,
            "DescribeScalableTargets": self.describe_targets,
            "DescribeScalingActivities": self.describe_activities,
            "DescribeScalingPolicies": self.describe_policies,
            "DescribeScheduledActions": self.describe_actions,
            "ListTagsForResource": self.list_tags,
            "PutScalingPolicy": self.put_policy,
            "PutScheduledAction": self.put_action,
            "RegisterScalableTarget": self.register,
            "TagResource": self.tag,
            "UntagResource": self.untag,
        }
        return constrained({("application-autoscaling", name): handler for name, handler in operations.items()})

    def resume(self) -> None:
        """Follows the alarms and the schedules on record."""
        self._engine.start()

    def stop(self) -> None:
        """Scales no more."""
        self._engine.stop()

    def register(self, call: Call, forward: Forward) -> Response:
        """RegisterScalableTarget: makes or changes a target; a capacity outside of its bounds is moved into them."""
        params, key = call.params, _key(call.params)
        scalable = self._engine.scalable(key.namespace, key.dimension)
        with self._engine.lock:
            if scalable.capacity(call.region, key.resource_id) is None:
                message = f"The resource does not exist: {key.resource_id}"
                raise AwsError("ValidationException", message)
            targets = targets_of(call.region)
            target = targets.get(key)
            bounds = _bounds(params, target)
            if target is None:
                arn = call.arn(f"scalable-target/{uuid.uuid4().hex}", "application-autoscaling")
                suspended, tags = dict(NOTHING_SUSPENDED), params.get("Tags", {})
                target = targets[key] = Target(key, arn, bounds, suspended, self._clock.time(), tags)
            target.bounds = bounds
            target.suspended |= params.get("SuspendedState", {})
            if not scalable.is_changing(call.region, key.resource_id):  # of one that is not active, nothing is changed
                self._engine.enforce_bounds(call.region, target)
        return answer(call, {"ScalableTargetARN": target.arn})

    def deregister(self, call: Call, forward: Forward) -> Response:
        """DeregisterScalableTarget: its policies, their alarms and its schedules go too."""
        with self._engine.lock:
            self._engine.deregister(call.region, _find(call))
        return answer(call)

    def describe_targets(self, call: Call, forward: Forward) -> Response:
        """DescribeScalableTargets."""
        _check_filter(call.params, "ResourceIds")
        wanted = call.params.get("ResourceIds")
        described = [
            {
                **_key_members(target.key),
                "MinCapacity": target.bounds.minimum,
                "MaxCapacity": target.bounds.maximum,
                "RoleARN": DIMENSIONS[target.key.namespace, target.key.dimension].role_arn,
                "CreationTime": _moment(target.created_at),
                "SuspendedState": target.suspended,
                "ScalableTargetARN": target.arn,
            }
            for target in _matching(call)
            if wanted is None or target.key.resource_id in wanted
        ]
        return _paged(call, "ScalableTargets", described)

    def put_policy(self, call: Call, forward: Forward) -> Response:
        """PutScalingPolicy: a target tracking policy comes with its alarms."""
        params = call.params
        with self._engine.lock:
            target, name = _find(call), params["PolicyName"]
            policy = target.policies.get(name)
            kind = params.get("PolicyType", policy.kind if policy else None)
            if kind is None:
                raise AwsError("ValidationException", "PolicyType must be specified when a scaling policy is created.")
            if policy is not None and policy.kind != kind:
                raise AwsError("ValidationException", f"The type of the policy {name} cannot be changed.")
            configuration = _configuration(params, kind)
            now = self._clock.time()
            if policy is None:
                arn = _own_arn(call.region, "scalingPolicy", target.key, f"policyName/{name}")
                policy = Policy(name, arn, kind, configuration, now)
            if policy.is_tracking:
                following.put_alarms(call.region, target, policy, configuration, now)
            policy.configuration = configuration
            target.policies[name] = policy
            alarms = _alarm_members(call.region, policy)
        return answer(call, {"PolicyARN": policy.arn, "Alarms": alarms})

    def delete_policy(self, call: Call, forward: Forward) -> Response:
        """DeleteScalingPolicy, with its alarms."""
        with self._engine.lock:
            target = targets_of(call.region).get(_key(call.params))
            policy = target.policies.pop(call.params["PolicyName"], None) if target else None
            if policy is None:
                raise _not_found("scaling policy found", call.params)
            following.delete_alarms(call.region, policy)
        return answer(call)

    def describe_policies(self, call: Call, forward: Forward) -> Response:
        """DescribeScalingPolicies."""
        _check_filter(call.params, "ResourceId")
        names = call.params.get("PolicyNames")
        described = [
            {
                **_key_members(target.key),
                "PolicyARN": policy.arn,
                "PolicyName": policy.name,
                "PolicyType": policy.kind,
                f"{policy.kind}PolicyConfiguration": policy.configuration,
                "Alarms": _alarm_members(call.region, policy),
                "CreationTime": _moment(policy.created_at),
            }
            for target in _matching(call)
            for policy in list(target.policies.values())
            if names is None or policy.name in names
        ]
        return _paged(call, "ScalingPolicies", described, POLICIES_PAGE)

    def put_action(self, call: Call, forward: Forward) -> Response:
        """PutScheduledAction: what is left out stays as it was, but for the begin and the end, which are deleted.

        https://docs.aws.amazon.com/autoscaling/application/APIReference/API_PutScheduledAction.html
        """
        params = call.params
        with self._engine.lock:
            target, name, now = _find(call), params["ScheduledActionName"], self._clock.time()
            kept = target.actions.get(name)
            given = {member: params[member] for member in SCHEDULE_MEMBERS if member in params}
            before = kept.parameters if kept else {}
            parameters = {**{member: before[member] for member in KEPT_MEMBERS if member in before}, **given}
            if "Schedule" not in parameters or not parameters.get("ScalableTargetAction"):
                message = "A scheduled action needs a Schedule and a ScalableTargetAction with a capacity."
                raise AwsError("ValidationException", message)
            if kept is not None:
                action = ScheduledAction(name, kept.arn, parameters, kept.created_at, now)
            else:
                arn = _own_arn(call.region, "scheduledAction", target.key, f"scheduledActionName/{name}")
                action = ScheduledAction(name, arn, parameters, now, now)
            try:
                next_due(action)
            except schedules.ScheduleError as error:
                raise AwsError("ValidationException", f"Invalid schedule: {error}") from error
            target.actions[name] = action
        return answer(call)

    def delete_action(self, call: Call, forward: Forward) -> Response:
        """DeleteScheduledAction."""
        with self._engine.lock:
            target = targets_of(call.region).get(_key(call.params))
            if target is None or target.actions.pop(call.params["ScheduledActionName"], None) is None:
                raise _not_found("scheduled action found", call.params)
        return answer(call)

    def describe_actions(self, call: Call, forward: Forward) -> Response:
        """DescribeScheduledActions."""
        _check_filter(call.params, "ResourceId")
        names = call.params.get("ScheduledActionNames")
        described = [
            {
                **_key_members(target.key),
                "ScheduledActionName": action.name,
                "ScheduledActionARN": action.arn,
                "CreationTime": _moment(action.created_at),
                **action.parameters,
            }
            for target in _matching(call)
            for action in list(target.actions.values())
            if names is None or action.name in names
        ]
        return _paged(call, "ScheduledActions", described)

    def describe_activities(self, call: Call, forward: Forward) -> Response:
        """DescribeScalingActivities, the latest first."""
        _check_filter(call.params, "ResourceId")
        found = [
            (key, activity)
            for key in keys_of_activities(call.region)
            if _is_wanted(key, call.params)
            for activity in list(activities_of(call.region, key))
            if activity.not_scaled is None or call.params.get("IncludeNotScaledActivities")
        ]
        found.reverse()
        found.sort(key=lambda one: one[1].started_at, reverse=True)
        return _paged(call, "ScalingActivities", [_described(key, activity) for key, activity in found])

    def list_tags(self, call: Call, forward: Forward) -> Response:
        """ListTagsForResource."""
        return answer(call, {"Tags": _by_arn(call).tags})

    def tag(self, call: Call, forward: Forward) -> Response:
        """TagResource."""
        _by_arn(call).tags.update(call.params["Tags"])
        return answer(call)

    def untag(self, call: Call, forward: Forward) -> Response:
        """UntagResource."""
        target = _by_arn(call)
        for name in call.params["TagKeys"]:
            target.tags.pop(name, None)
        return answer(call)


def _bounds(params: Mapping[str, Any], target: Target | None) -> Bounds:
    """The bounds that a target shall have; what is left out stays as it was."""
    given = [params.get(name) for name in ("MinCapacity", "MaxCapacity")]
    kept = [None, None] if target is None else [target.bounds.minimum, target.bounds.maximum]
    minimum, maximum = (new if new is not None else old for new, old in zip(given, kept, strict=True))
    if minimum is None or maximum is None:
        message = "MinCapacity and MaxCapacity must be specified when a new scalable target is registered."
        raise AwsError("ValidationException", message)
    if minimum < 0:
        raise AwsError("ValidationException", "Minimum capacity cannot be less than 0")
    if minimum > maximum:
        raise AwsError("ValidationException", "Maximum capacity cannot be less than minimum capacity")
    return Bounds(minimum, maximum)


def _configuration(params: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The configuration of a policy, as far as it does not depend on its target."""
    if kind not in ("StepScaling", "TargetTrackingScaling"):
        raise AwsError("ValidationException", f"Local AWS has no policies of type {kind}.")
    if kind == "StepScaling" and params["ServiceNamespace"] == "lambda":
        raise AwsError("ValidationException", "Policies of type StepScaling are not supported for lambda.")
    member = f"{kind}PolicyConfiguration"
    configuration: dict[str, Any] | None = params.get(member)
    if configuration is None:
        raise AwsError("ValidationException", f"A policy of type {kind} needs {member}.")
    if kind == "StepScaling":
        _check_steps(configuration)
    elif not configuration.get("TargetValue", 0.0) > 0:
        raise AwsError("ValidationException", "TargetValue must be greater than 0.")
    return configuration


def _check_steps(configuration: Mapping[str, Any]) -> None:
    steps = configuration.get("StepAdjustments")
    if not steps or "AdjustmentType" not in configuration:
        raise AwsError("ValidationException", "A step scaling policy needs AdjustmentType and StepAdjustments.")
    if len(steps) > MAX_STEPS:
        raise AwsError("ValidationException", f"A step scaling policy has at most {MAX_STEPS} StepAdjustments.")
    ordered = sorted(tracking.steps_of(steps), key=lambda one: one.lower)
    for one, after in pairwise(ordered):
        if one.upper > after.lower:
            raise AwsError("ValidationException", "StepAdjustment intervals can't overlap.")
        if one.upper < after.lower:
            raise AwsError("ValidationException", "StepAdjustment intervals can't have gaps between them.")
    # https://docs.aws.amazon.com/autoscaling/application/userguide/step-scaling-policy-overview.html
    if ordered[0].lower == -math.inf and ordered[0].upper == math.inf:
        message = "The upper and lower bound can't both be unspecified in the same StepAdjustment."
        raise AwsError("ValidationException", message)
    if -math.inf < ordered[0].lower < 0:
        message = "With a negative lower bound, there must be a StepAdjustment with an unspecified lower bound."
        raise AwsError("ValidationException", message)
    if 0 < ordered[-1].upper < math.inf:
        message = "With a positive upper bound, there must be a StepAdjustment with an unspecified upper bound."
        raise AwsError("ValidationException", message)


def _key(params: Mapping[str, Any]) -> TargetKey:
    return TargetKey(params["ServiceNamespace"], params["ResourceId"], params["ScalableDimension"])


def _key_members(key: TargetKey) -> dict[str, str]:
    return {"ServiceNamespace": key.namespace, "ResourceId": key.resource_id, "ScalableDimension": key.dimension}


def _find(call: Call) -> Target:
    target = targets_of(call.region).get(_key(call.params))
    if target is None:
        raise _not_found("scalable target registered", call.params)
    return target


def _matching(call: Call) -> list[Target]:
    return [target for key, target in sorted(targets_of(call.region).items()) if _is_wanted(key, call.params)]


def _check_filter(params: Mapping[str, Any], resource: str) -> None:
    """Checks what is asked for: with a scalable dimension there must be a resource."""
    if "ScalableDimension" in params and not params.get(resource):
        message = f"{resource} must be specified where ScalableDimension is."
        raise AwsError("ValidationException", message)


def _is_wanted(key: TargetKey, params: Mapping[str, Any]) -> bool:
    return (key.namespace, key.resource_id, key.dimension) == (
        params["ServiceNamespace"],
        params.get("ResourceId", key.resource_id),
        params.get("ScalableDimension", key.dimension),
    )


def _by_arn(call: Call) -> Target:
    arn = call.params["ResourceARN"]
    target = next((one for one in list(targets_of(call.region).values()) if one.arn == arn), None)
    if target is None:
        raise AwsError("ResourceNotFoundException", f"The scalable target {arn} does not exist.")
    return target


def _own_arn(region: str, kind: str, key: TargetKey, end: str) -> str:
    resource = f"{kind}:{uuid.uuid4()}:resource/{key.namespace}/{key.resource_id}:{end}"
    return f"arn:aws:autoscaling:{region}:{ACCOUNT}:{resource}"


def _alarm_members(region: str, policy: Policy) -> list[dict[str, str]]:
    """The alarms that a policy has made or that name it."""
    alarms = [
        alarm
        for alarm in list(alarms_of(region).values())
        if any(policy.arn in alarm.parameters.get(member, []) for member in ACTIONS.values())
    ]
    return [{"AlarmName": alarm.name, "AlarmARN": alarm.arn} for alarm in sorted(alarms, key=lambda one: one.name)]


def _described(key: TargetKey, activity: Activity) -> dict[str, Any]:
    return {
        **_key_members(key),
        "ActivityId": activity.id,
        "Description": activity.description,
        "Cause": activity.cause,
        "StartTime": _moment(activity.started_at),
        "EndTime": None if activity.ended_at is None else _moment(activity.ended_at),
        "StatusCode": activity.status,
        "StatusMessage": activity.message,
        "NotScaledReasons": None if activity.not_scaled is None else [activity.not_scaled],
    }


def _paged(call: Call, member: str, items: Sequence[Mapping[str, Any]], most: int = PAGE) -> Response:
    size = call.params.get("MaxResults", most)
    if not 1 <= size <= most:
        raise AwsError("ValidationException", f"MaxResults must be between 1 and {most}.")
    shown, token = page(items, call.params.get("NextToken"), size, "InvalidNextTokenException")
    return answer(call, {member: shown, "NextToken": token})


def _not_found(what: str, params: Mapping[str, Any]) -> AwsError:
    message = (
        f"No {what} for service namespace: {params['ServiceNamespace']}, resource ID: {params['ResourceId']}, "
        f"scalable dimension: {params['ScalableDimension']}"
    )
    return AwsError("ObjectNotFoundException", message)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
