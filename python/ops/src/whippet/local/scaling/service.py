"""Application Auto Scaling: targets, policies, schedules, and what they do.

https://docs.aws.amazon.com/autoscaling/application/userguide/what-is-application-auto-scaling.html
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from moto.applicationautoscaling.models import applicationautoscaling_backends
from werkzeug.wrappers import Response

from whippet.local.calls import AwsError, Call, answer
from whippet.local.clock import Clock
from whippet.local.monitoring.alarms import Alarm, alarms_of
from whippet.local.monitoring.evaluation import ALARM
from whippet.local.monitoring.evaluator import Evaluator, Raised
from whippet.local.monitoring.expressions import ExpressionError, Points
from whippet.local.records import shelf
from whippet.local.scaling import schedules, tracking
from whippet.local.scaling.targets import (
    DIMENSIONS,
    Activity,
    Policy,
    Scalable,
    ScheduledAction,
    Target,
    TargetKey,
    followed,
)
from whippet.local.scaling.tracking import Bounds, Seconds
from whippet.local.services import Forward, Handlers
from whippet.local.settings import ACCOUNT
from whippet.local.state import State

log = logging.getLogger(__name__)

#: https://docs.aws.amazon.com/autoscaling/application/APIReference/API_TargetTrackingScalingPolicyConfiguration.html
DEFAULT_COOLDOWN = {"sagemaker": 300, "lambda": 0}
#: The alarm that scales in is this part of the target:
#: https://docs.aws.amazon.com/autoscaling/application/userguide/target-tracking-scaling-policy-overview.html
SCALE_IN_PART = 0.9
#: Seconds of the clock, and of the wall, between two looks at schedules and at activities in progress.
TICK, MAX_PAUSE = 1.0, 0.25
NOTHING_SUSPENDED = {
    "DynamicScalingInSuspended": False,
    "DynamicScalingOutSuspended": False,
    "ScheduledScalingSuspended": False,
}


class Scaling:
    """Scales what is registered, when alarms or schedules say so.

    Args:
        clock: what cooldowns and schedules follow.
        evaluator: calls back when an alarm names a policy.
        state: told of what changes outside of a call.
        scalables: what can be scaled, by service namespace and scalable dimension.
    """

    def __init__(
        self, clock: Clock, evaluator: Evaluator, state: State, scalables: Mapping[tuple[str, str], Scalable]
    ) -> None:
        self._clock = clock
        self._evaluator = evaluator
        self._state = state
        self._scalables = scalables
        self._lock = threading.RLock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        evaluator.on_scaling = self._on_alarm

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
        return {("application-autoscaling", name): handler for name, handler in operations.items()}

    def resume(self) -> None:
        """Follows the schedules on record."""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(self._stopped,), name="scaling", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Scales no more."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        self._thread = None

    def register(self, call: Call, forward: Forward) -> Response:
        """RegisterScalableTarget: makes or changes a target; a capacity outside of its bounds is moved into them."""
        key = _key(call.params)
        scalable = self._scalable(key)
        capacity = scalable.capacity(call.region, key.resource_id)
        if capacity is None:
            raise AwsError("ValidationException", f"The resource {key.resource_id} does not exist.")
        params, targets = call.params, targets_of(call.region)
        with self._lock:
            target = targets.get(key)
            minimum: Any = params.get("MinCapacity")
            maximum: Any = params.get("MaxCapacity")
            if target is None and (minimum is None or maximum is None):
                raise AwsError("ValidationException", "A new scalable target needs MinCapacity and MaxCapacity.")
            bounds = Bounds(
                minimum if target is None or minimum is not None else target.bounds.minimum,
                maximum if target is None or maximum is not None else target.bounds.maximum,
            )
            if bounds.minimum > bounds.maximum:
                message = "Maximum capacity cannot be less than minimum capacity"
                raise AwsError("ValidationException", message)
            if target is None:
                arn = call.arn(f"scalable-target/{uuid.uuid4().hex[:4]}{uuid.uuid4().hex}", "application-autoscaling")
                target = targets[key] = Target(key, arn, bounds, dict(NOTHING_SUSPENDED), self._clock.time())
            target.bounds = bounds
            target.suspended |= params.get("SuspendedState", {})
            target.tags |= params.get("Tags", {})
            which = "minimum" if capacity < bounds.minimum else "maximum"
            self._change(
                call.region, target, bounds.clip(capacity), f"{which} capacity was set to {bounds.clip(capacity)}"
            )
        return answer(call, {"ScalableTargetARN": target.arn})

    def deregister(self, call: Call, forward: Forward) -> Response:
        """DeregisterScalableTarget: its policies, their alarms and its schedules go too."""
        key = _key(call.params)
        with self._lock:
            target = self._find(call)
            for policy in target.policies.values():
                self._delete_alarms(call.region, policy)
            del targets_of(call.region)[key]
        return answer(call)

    def describe_targets(self, call: Call, forward: Forward) -> Response:
        """DescribeScalableTargets."""
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
        return answer(call, {"ScalableTargets": described})

    def put_policy(self, call: Call, forward: Forward) -> Response:
        """PutScalingPolicy: a target tracking policy comes with its alarms."""
        params = call.params
        kind = params.get("PolicyType", "StepScaling")
        with self._lock:
            target = self._find(call)
            name = params["PolicyName"]
            policy = target.policies.get(name)
            if policy is not None and policy.kind != kind and "PolicyType" in params:
                raise AwsError("ValidationException", "PolicyType cannot be changed.")
            member = f"{kind}PolicyConfiguration"
            configuration = params.get(member)
            if configuration is None:
                raise AwsError("ValidationException", f"A policy of type {kind} needs {member}.")
            if policy is None:
                arn = _own_arn(call.region, "scalingPolicy", target.key, f"policyName/{name}")
                policy = Policy(name, arn, kind, {}, self._clock.time())
            if kind == "TargetTrackingScaling":
                self._put_alarms(call.region, target, policy, configuration)
            else:
                _check_steps(configuration)
            policy.configuration = configuration
            target.policies[name] = policy
        return answer(call, {"PolicyARN": policy.arn, "Alarms": _alarm_members(call.region, policy)})

    def delete_policy(self, call: Call, forward: Forward) -> Response:
        """DeleteScalingPolicy, with its alarms."""
        with self._lock:
            target = targets_of(call.region).get(_key(call.params))
            policy = target.policies.pop(call.params["PolicyName"], None) if target else None
            if policy is None:
                raise _not_found("scaling policy found", call.params)
            self._delete_alarms(call.region, policy)
        return answer(call)

    def describe_policies(self, call: Call, forward: Forward) -> Response:
        """DescribeScalingPolicies."""
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
            if call.params.get("ResourceId", target.key.resource_id) == target.key.resource_id
            for policy in target.policies.values()
            if names is None or policy.name in names
        ]
        return answer(call, {"ScalingPolicies": described})

    def put_action(self, call: Call, forward: Forward) -> Response:
        """PutScheduledAction."""
        params = call.params
        with self._lock:
            target = self._find(call)
            name, now = params["ScheduledActionName"], self._clock.time()
            kept = target.actions.get(name)
            parameters = {**(kept.parameters if kept else {}), **_schedule_members(params)}
            if "Schedule" not in parameters or "ScalableTargetAction" not in parameters:
                raise AwsError("ValidationException", "A new scheduled action needs Schedule and ScalableTargetAction.")
            if kept is not None:
                action = ScheduledAction(name, kept.arn, parameters, kept.created_at, now)
            else:
                arn = _own_arn(call.region, "scheduledAction", target.key, f"scheduledActionName/{name}")
                action = ScheduledAction(name, arn, parameters, now, now)
            try:
                _next_due(action)
            except schedules.ScheduleError as error:
                raise AwsError("ValidationException", f"Invalid schedule: {error}") from error
            target.actions[name] = action
        return answer(call)

    def delete_action(self, call: Call, forward: Forward) -> Response:
        """DeleteScheduledAction."""
        with self._lock:
            target = targets_of(call.region).get(_key(call.params))
            if target is None or target.actions.pop(call.params["ScheduledActionName"], None) is None:
                raise _not_found("scheduled action found", call.params)
        return answer(call)

    def describe_actions(self, call: Call, forward: Forward) -> Response:
        """DescribeScheduledActions."""
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
            if call.params.get("ResourceId", target.key.resource_id) == target.key.resource_id
            for action in target.actions.values()
            if names is None or action.name in names
        ]
        return answer(call, {"ScheduledActions": described})

    def describe_activities(self, call: Call, forward: Forward) -> Response:
        """DescribeScalingActivities, the latest first."""
        described: list[dict[str, Any]] = [
            {
                **_key_members(target.key),
                "ActivityId": activity.id,
                "Description": activity.description,
                "Cause": activity.cause,
                "StartTime": _moment(activity.started_at),
                "EndTime": None if activity.ended_at is None else _moment(activity.ended_at),
                "StatusCode": activity.status,
                "StatusMessage": activity.message,
                "NotScaledReasons": [activity.not_scaled] if activity.not_scaled else None,
            }
            for target in _matching(call)
            if call.params.get("ResourceId", target.key.resource_id) == target.key.resource_id
            for activity in list(target.activities)
            if activity.not_scaled is None or call.params.get("IncludeNotScaledActivities")
        ]
        described.sort(key=lambda one: one["StartTime"], reverse=True)
        return answer(call, {"ScalingActivities": described})

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

    def _scalable(self, key: TargetKey) -> Scalable:
        scalable = self._scalables.get((key.namespace, key.dimension))
        if scalable is None:
            message = f"Local AWS does not scale {key.dimension} of {key.namespace}."
            raise AwsError("ValidationException", message)
        return scalable

    def _find(self, call: Call) -> Target:
        target = targets_of(call.region).get(_key(call.params))
        if target is None:
            raise _not_found("scalable target registered", call.params)
        return target

    def _put_alarms(self, region: str, target: Target, policy: Policy, configuration: Mapping[str, Any]) -> None:
        """Makes or changes the alarms of a target tracking policy; those that stay keep their names."""
        if ("PredefinedMetricSpecification" in configuration) == ("CustomizedMetricSpecification" in configuration):
            message = "A target tracking policy needs either a predefined or a customized metric."
            raise AwsError("ValidationException", message)
        metric = followed(configuration, target.key)
        if metric is None:
            kind = configuration["PredefinedMetricSpecification"]["PredefinedMetricType"]
            raise AwsError("ValidationException", f"{kind} is not a metric of {target.key.dimension}.")
        value = float(configuration["TargetValue"])
        wanted = {"AlarmHigh": ("GreaterThanThreshold", value, metric.high)}
        if not configuration.get("DisableScaleIn"):
            wanted["AlarmLow"] = ("LessThanThreshold", value * SCALE_IN_PART, metric.low)
        named = {one.split("-Alarm")[-1].split("-")[0]: one for one in policy.alarms}
        self._delete_alarms(region, policy, keep=set(wanted))
        policy.alarms = []
        for kind, (comparison, threshold, periods) in wanted.items():
            name = named.get(kind.removeprefix("Alarm"))
            name = name or f"TargetTracking-{target.key.resource_id}-{kind}-{uuid.uuid4()}"
            alarm = alarms_of(region).get(name)
            if alarm is None:
                alarm = Alarm(region, name, False, {}, {}, self._clock.time())
                alarms_of(region)[name] = alarm
            alarm.parameters = {
                **metric.parameters,
                "AlarmDescription": f"DO NOT EDIT OR DELETE. For TargetTrackingScaling policy {policy.arn}.",
                "ActionsEnabled": True,
                "AlarmActions": [policy.arn],
                "ComparisonOperator": comparison,
                "Threshold": threshold,
                "EvaluationPeriods": periods,
            }
            policy.alarms.append(name)
        self._state.changed("cloudwatch", region)

    def _delete_alarms(self, region: str, policy: Policy, keep: set[str] | None = None) -> None:
        for name in policy.alarms:
            if not any(f"-{kind}-" in name for kind in keep or ()):
                alarms_of(region).pop(name, None)
        self._state.changed("cloudwatch", region)

    def _run(self, stopped: threading.Event) -> None:
        while not stopped.wait(max(0.02, min(MAX_PAUSE, TICK / self._clock.speed))):
            try:
                for region in list(applicationautoscaling_backends[ACCOUNT]):
                    self._look_at(region)
            except Exception:
                log.exception("scaling failed")

    def _look_at(self, region: str) -> None:
        """Ends the activities that have been fulfilled, and starts the scheduled actions that are due."""
        now, changed = self._clock.time(), False
        with self._lock:
            for target in list(targets_of(region).values()):
                changed |= self._finish(region, target)
                for action in list(target.actions.values()):
                    due = _next_due(action)
                    if due is not None and due.timestamp() <= now:
                        action.ran_at = now
                        self._run_action(region, target, action)
                        changed = True
        if changed:
            self._state.changed("application-autoscaling", region)

    def _finish(self, region: str, target: Target) -> bool:
        running = [one for one in target.activities if one.status == "InProgress"]
        scalable = self._scalable(target.key)
        if not running or scalable.is_changing(region, target.key.resource_id):
            return False
        for activity in running:
            noun = DIMENSIONS[target.key.namespace, target.key.dimension].noun
            fulfilled = scalable.capacity(region, target.key.resource_id) == activity.after
            activity.status = "Successful" if fulfilled else "Failed"
            activity.message = (
                f"Successfully set {noun} to {activity.after}. Change successfully fulfilled by {target.key.namespace}."
                if fulfilled
                else f"Failed to set {noun} to {activity.after}. Reason: the change did not become healthy."
            )
            activity.ended_at = self._clock.time()
        return True

    def _run_action(self, region: str, target: Target, action: ScheduledAction) -> None:
        """Sets the bounds that a scheduled action asks for, and the capacity where it lies outside of them."""
        if target.suspended["ScheduledScalingSuspended"]:
            return
        wanted = action.parameters["ScalableTargetAction"]
        minimum = wanted.get("MinCapacity", target.bounds.minimum)
        target.bounds = Bounds(minimum, max(minimum, wanted.get("MaxCapacity", target.bounds.maximum)))
        capacity = self._scalable(target.key).capacity(region, target.key.resource_id)
        if capacity is not None:
            cause = f"scheduled action name {action.name} was triggered"
            self._change(region, target, target.bounds.clip(capacity), cause)

    def _on_alarm(self, raised: Raised) -> None:
        """Follows a policy that an alarm names."""
        with self._lock:
            for target in list(targets_of(raised.region).values()):
                for policy in list(target.policies.values()):
                    if policy.arn == raised.action:
                        self._follow(target, policy, raised)

    def _follow(self, target: Target, policy: Policy, raised: Raised) -> None:
        scalable, resource_id = self._scalable(target.key), target.key.resource_id
        current = scalable.capacity(raised.region, resource_id)
        if current is None or not raised.points or scalable.is_changing(raised.region, resource_id):
            return
        if policy.kind == "StepScaling":
            wanted = self._step(target, policy, raised, current)
        elif "-AlarmHigh-" in raised.name:
            metric, target_value = _latest(raised.points), float(policy.configuration["TargetValue"])
            cooldowns = _cooldowns(target.key, policy.configuration)
            now = self._clock.time()
            wanted = tracking.scale_out(current, metric, target_value, target.bounds, cooldowns, target.cooldown, now)
            self._note_limit(target, current, raised, policy)
        else:
            wanted = self._scale_in(target, raised.region, current)
        suspended = "DynamicScalingOutSuspended" if wanted > current else "DynamicScalingInSuspended"
        if wanted != current and not target.suspended[suspended]:
            cause = f"monitor alarm {raised.name} in state ALARM triggered policy {policy.name}"
            self._change(raised.region, target, wanted, cause)

    def _step(self, target: Target, policy: Policy, raised: Raised, current: int) -> int:
        configuration = policy.configuration
        threshold = float(alarms_of(raised.region)[raised.name].parameters.get("Threshold", 0.0))
        wanted = tracking.step(
            current,
            _latest(raised.points) - threshold,
            tracking.steps_of(configuration["StepAdjustments"]),
            configuration["AdjustmentType"],
            configuration.get("MinAdjustmentMagnitude", 0),
            target.bounds,
        )
        cooldown, now = configuration.get("Cooldown", 0), self._clock.time()
        since = target.cooldown.scaled_out_at if wanted > current else target.cooldown.scaled_in_at
        return current if now < since + cooldown else wanted

    def _scale_in(self, target: Target, region: str, current: int) -> int:
        """The capacity that all target tracking policies agree on: the largest that one of them asks for."""
        now, wanted = self._clock.time(), target.bounds.minimum
        for policy in target.policies.values():
            if policy.kind != "TargetTrackingScaling" or policy.configuration.get("DisableScaleIn"):
                continue
            low = alarms_of(region).get(policy.alarms[-1])
            points = self._points(low, now) if low is not None and low.state == ALARM else {}
            if not points:
                return current
            one = tracking.scale_in(
                current,
                _latest(points),
                float(policy.configuration["TargetValue"]),
                target.bounds,
                _cooldowns(target.key, policy.configuration),
                target.cooldown,
                now,
            )
            wanted = max(wanted, one)
        return min(wanted, current)

    def _points(self, alarm: Alarm, now: float) -> Points:
        try:
            return self._evaluator.points(alarm, now) or {}
        except ExpressionError:
            return {}

    def _note_limit(self, target: Target, current: int, raised: Raised, policy: Policy) -> None:
        """Remembers that a target at its maximum would have been scaled out; once, until something else happens."""
        if current < target.bounds.maximum or (target.activities and target.activities[-1].not_scaled):
            return
        noun = DIMENSIONS[target.key.namespace, target.key.dimension].noun
        activity = self._activity(
            f"Attempting to scale {noun}.",
            f"monitor alarm {raised.name} in state ALARM triggered policy {policy.name}",
            current,
            current,
        )
        activity.status, activity.ended_at = "Successful", activity.started_at
        activity.not_scaled = {"Code": "AlreadyAtMaxCapacity", "MaxCapacity": current, "CurrentCapacity": current}
        target.activities.append(activity)

    def _change(self, region: str, target: Target, wanted: int, cause: str) -> None:
        """Asks for another capacity, as an activity."""
        scalable = self._scalable(target.key)
        current = scalable.capacity(region, target.key.resource_id)
        if current is None or current == wanted:
            return
        noun = DIMENSIONS[target.key.namespace, target.key.dimension].noun
        activity = self._activity(f"Setting {noun} to {wanted}.", cause, current, wanted)
        target.activities.append(activity)
        log.info("scaling %s: %s -> %s: %s", target.key.resource_id, current, wanted, cause)
        try:
            scalable.set_capacity(region, target.key.resource_id, wanted)
        except AwsError as error:
            activity.status, activity.ended_at = "Failed", self._clock.time()
            activity.message = f"Failed to set {noun} to {wanted}. Reason: {error}"
        else:
            activity.message = (
                f"Successfully set {noun} to {wanted}. Waiting for change to be fulfilled by {target.key.namespace}."
            )
            target.cooldown.note(current, wanted, self._clock.time())
        self._state.changed("application-autoscaling", region)

    def _activity(self, description: str, cause: str, before: int, after: int) -> Activity:
        return Activity(str(uuid.uuid4()), description, cause, self._clock.time(), before, after)


def targets_of(region: str) -> dict[TargetKey, Target]:
    """The scalable targets of a region."""
    return shelf(applicationautoscaling_backends[ACCOUNT][region], "targets")


def _key(params: Mapping[str, Any]) -> TargetKey:
    return TargetKey(params["ServiceNamespace"], params["ResourceId"], params["ScalableDimension"])


def _key_members(key: TargetKey) -> dict[str, str]:
    return {"ServiceNamespace": key.namespace, "ResourceId": key.resource_id, "ScalableDimension": key.dimension}


def _matching(call: Call) -> Iterator[Target]:
    for key, target in sorted(targets_of(call.region).items()):
        wanted = (call.params["ServiceNamespace"], call.params.get("ScalableDimension", key.dimension))
        if (key.namespace, key.dimension) == wanted:
            yield target


def _by_arn(call: Call) -> Target:
    arn = call.params["ResourceARN"]
    target = next((one for one in targets_of(call.region).values() if one.arn == arn), None)
    if target is None:
        raise AwsError("ResourceNotFoundException", f"There is no scalable target {arn}.")
    return target


def _own_arn(region: str, kind: str, key: TargetKey, end: str) -> str:
    resource = f"{kind}:{uuid.uuid4()}:resource/{key.namespace}/{key.resource_id}:{end}"
    return f"arn:aws:autoscaling:{region}:{ACCOUNT}:{resource}"


def _alarm_members(region: str, policy: Policy) -> list[dict[str, str]]:
    names = policy.alarms or [
        alarm.name for alarm in alarms_of(region).values() if policy.arn in alarm.parameters.get("AlarmActions", [])
    ]
    alarms = (alarms_of(region).get(name) for name in names)
    return [{"AlarmName": alarm.name, "AlarmARN": alarm.arn} for alarm in alarms if alarm is not None]


def _schedule_members(params: Mapping[str, Any]) -> dict[str, Any]:
    names = ("Schedule", "Timezone", "StartTime", "EndTime", "ScalableTargetAction")
    return {name: params[name] for name in names if name in params}


def _next_due(action: ScheduledAction) -> datetime | None:
    """When a scheduled action is due next; None once that is over.

    Raises:
        ScheduleError: its schedule is not understood.
    """
    start, end = action.parameters.get("StartTime"), action.parameters.get("EndTime")
    since = datetime.fromtimestamp(action.ran_at, UTC)
    if start is not None and start > since:
        since = start
    due = schedules.next_due(
        action.parameters["Schedule"],
        action.parameters.get("Timezone", "UTC"),
        since,
        start or datetime.fromtimestamp(action.created_at, UTC),
    )
    return None if due is not None and end is not None and due > end else due


def _cooldowns(key: TargetKey, configuration: Mapping[str, Any]) -> Seconds:
    default = DEFAULT_COOLDOWN[key.namespace]
    return Seconds(configuration.get("ScaleOutCooldown", default), configuration.get("ScaleInCooldown", default))


def _check_steps(configuration: Mapping[str, Any]) -> None:
    if not configuration.get("StepAdjustments") or "AdjustmentType" not in configuration:
        raise AwsError("ValidationException", "A step scaling policy needs AdjustmentType and StepAdjustments.")
    steps = sorted(tracking.steps_of(configuration["StepAdjustments"]), key=lambda one: one.lower)
    for one, following in pairwise(steps):
        if one.upper > following.lower:
            raise AwsError("ValidationException", "StepAdjustment intervals can't overlap.")
        if one.upper < following.lower:
            raise AwsError("ValidationException", "StepAdjustment intervals can't have gaps between them.")


def _not_found(what: str, params: Mapping[str, Any]) -> AwsError:
    message = (
        f"No {what} for service namespace: {params['ServiceNamespace']}, resource ID: {params['ResourceId']}, "
        f"scalable dimension: {params['ScalableDimension']}"
    )
    return AwsError("ObjectNotFoundException", message)


def _latest(points: Points) -> float:
    return points[max(points)]


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
