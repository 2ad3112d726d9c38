"""Scales what is registered, when alarms or schedules say so.

https://docs.aws.amazon.com/autoscaling/application/userguide/what-is-application-auto-scaling.html
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from whippet.local.calls import AwsError
from whippet.local.clock import Clock
from whippet.local.monitoring.alarms import Alarm, alarms_of
from whippet.local.monitoring.evaluation import ALARM
from whippet.local.monitoring.evaluator import Evaluator, Raised
from whippet.local.monitoring.expressions import ExpressionError, Points
from whippet.local.scaling import following, schedules, tracking
from whippet.local.scaling.targets import (
    DIMENSIONS,
    Activity,
    Policy,
    Scalable,
    ScheduledAction,
    Target,
    activities_of,
    regions,
    targets_of,
)
from whippet.local.scaling.tracking import Bounds, Seconds, Steps
from whippet.local.state import State

log = logging.getLogger(__name__)

#: Seconds of cooldown where a policy says nothing, by service namespace:
#: https://docs.aws.amazon.com/autoscaling/application/APIReference/API_TargetTrackingScalingPolicyConfiguration.html
DEFAULT_COOLDOWN = {"sagemaker": 300, "lambda": 0}
#: Seconds of the clock between two looks at schedules and activities; the most and the least of them on the wall.
TICK, MAX_PAUSE, MIN_PAUSE = 1.0, 0.25, 0.02


class Engine:
    """What Application Auto Scaling does by itself.

    Args:
        clock: what cooldowns and schedules follow.
        evaluator: calls back when an alarm names a policy.
        state: told of what changes outside of a call.
        scalables: what can be scaled, by service namespace and scalable dimension.

    Attributes:
        lock: held while targets are changed.
    """

    def __init__(
        self, clock: Clock, evaluator: Evaluator, state: State, scalables: Mapping[tuple[str, str], Scalable]
    ) -> None:
        self.lock = threading.RLock()
        self._clock = clock
        self._evaluator = evaluator
        self._state = state
        self._scalables = scalables
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        evaluator.on_scaling = self._on_alarm

    def start(self) -> None:
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

    def scalable(self, namespace: str, dimension: str) -> Scalable:
        """What scales a dimension.

        Raises:
            AwsError: local AWS cannot.
        """
        found = self._scalables.get((namespace, dimension))
        if found is None:
            raise AwsError("ValidationException", f"Local AWS does not scale {dimension} of {namespace}.")
        return found

    def enforce_bounds(self, region: str, target: Target) -> None:
        """Moves a capacity that lies outside of a target's bounds to the nearest of them."""
        current = self._capacity(region, target)
        if current is not None:
            wanted = target.bounds.clip(current)
            bound = "minimum" if current < target.bounds.minimum else "maximum"
            self._change(region, target, current, wanted, f"{bound} capacity was set to {wanted}")

    def deregister(self, region: str, target: Target) -> None:
        """Forgets a target with its policies, their alarms and its schedules."""
        for policy in target.policies.values():
            following.delete_alarms(region, policy)
        targets_of(region).pop(target.key, None)

    def _run(self, stopped: threading.Event) -> None:
        while not stopped.wait(max(MIN_PAUSE, min(MAX_PAUSE, TICK / self._clock.speed))):
            for region in regions():
                for target in list(targets_of(region).values()):
                    try:
                        self._look_at(region, target)
                    except Exception:  # which is no reason to leave out the others
                        log.exception("scaling %s failed", target.key.resource_id)

    def _look_at(self, region: str, target: Target) -> None:
        """Ends the activities that are fulfilled, and starts the scheduled actions that are due."""
        now = self._clock.time()
        with self.lock:
            if targets_of(region).get(target.key) is not target:  # deregistered meanwhile
                return
            if self._is_gone(region, target):
                log.info("scaling %s: it is gone", target.key.resource_id)
                self.deregister(region, target)
                self._state.changed("cloudwatch", region)
                self._state.changed("application-autoscaling", region)
                return
            changed = self._finish(region, target)
            for action in list(target.actions.values()):
                due = next_due(action)
                if due is not None and due.timestamp() <= now:
                    action.ran_at = now
                    self._run_action(region, target, action)
                    changed = True
        if changed:
            self._state.changed("application-autoscaling", region)

    def _is_gone(self, region: str, target: Target) -> bool:
        """Whether the target's variant is: DeleteEndpoint deregisters it, other services leave that to the caller.

        https://github.com/awslabs/stable-diffusion-aws-extension/issues/161
        """
        return target.key.namespace == "sagemaker" and self._capacity(region, target) is None

    def _finish(self, region: str, target: Target) -> bool:
        """Ends the activities in progress whose change is over; whether there was one."""
        running = [one for one in activities_of(region, target.key) if one.status == "InProgress"]
        if not running or self._of(target).is_changing(region, target.key.resource_id):
            return False
        noun, now = _noun(target), self._clock.time()
        for activity in running:
            activity.ended_at = now
            if self._capacity(region, target) != activity.after:
                activity.status = "Failed"
                activity.message = f"Failed to set {noun} to {activity.after}. Reason: the change was rolled back."
                continue
            activity.status = "Successful"
            fulfilled = f"Change successfully fulfilled by {target.key.namespace}."
            activity.message = f"Successfully set {noun} to {activity.after}. {fulfilled}"
            if activity.cooldowns is not None:
                target.cooldown.begin(activity.base, activity.after, activity.cooldowns, now)
        return True

    def _run_action(self, region: str, target: Target, action: ScheduledAction) -> None:
        """Sets the bounds that a scheduled action asks for, and the capacity where it lies outside of them.

        https://docs.aws.amazon.com/autoscaling/application/userguide/scheduled-scaling-policy-overview.html
        """
        if target.suspended["ScheduledScalingSuspended"]:
            return
        wanted = action.parameters["ScalableTargetAction"]
        bounds = Bounds(
            wanted.get("MinCapacity", target.bounds.minimum), wanted.get("MaxCapacity", target.bounds.maximum)
        )
        text = f"min capacity to {bounds.minimum} and max capacity to {bounds.maximum}"
        cause = f"scheduled action name {action.name} was triggered"
        activity = Activity(f"Setting {text}", cause, self._clock.time())
        activities_of(region, target.key).append(activity)
        if bounds.minimum > bounds.maximum:
            activity.status = "Failed"
            activity.message = f"Failed to set {text}. Reason: Maximum capacity cannot be less than minimum capacity"
            return
        activity.status, activity.message = "Successful", f"Successfully set {text}"
        target.bounds = bounds
        self.enforce_bounds(region, target)

    def _on_alarm(self, raised: Raised) -> None:
        """Follows the policy that an alarm names."""
        region = raised.alarm.region
        with self.lock:
            for target in list(targets_of(region).values()):
                for policy in list(target.policies.values()):
                    if policy.arn == raised.action and raised.points:
                        if self._finish(region, target):
                            self._state.changed("application-autoscaling", region)
                        self._follow(target, policy, raised)

    def _follow(self, target: Target, policy: Policy, raised: Raised) -> None:
        alarm, region = raised.alarm, raised.alarm.region
        current = self._capacity(region, target)
        if current is None or self._of(target).is_changing(region, target.key.resource_id):
            return
        now, latest = self._clock.time(), _latest(raised.points)
        base = target.cooldown.base(current, now)
        if not policy.is_tracking:
            distance = latest - float(alarm.parameters.get("Threshold", 0.0))
            steps = steps_of(policy.configuration)
            wanted = tracking.step(current, distance, steps, target.bounds, target.cooldown, now)
        elif alarm.name == policy.high_alarm:
            wanted = tracking.scale_out(base, current, latest, policy.target_value, target.bounds)
        else:
            wanted = self._scale_in(target, region, current, now)
        direction = "Out" if wanted > current else "In"
        if wanted != current and target.suspended[f"DynamicScaling{direction}Suspended"]:
            return
        cause = f"monitor alarm {alarm.name} in state {alarm.state} triggered policy {policy.name}"
        if wanted != current:
            base = base if wanted > current else current
            self._change(region, target, current, wanted, cause, base, cooldowns_of(target, policy))
        elif (is_out := _is_out(policy, alarm)) or not target.cooldown.holds_in(now):
            self._note_not_scaled(region, target, current, cause, is_out=is_out)

    def _scale_in(self, target: Target, region: str, current: int, now: float) -> int:
        """The capacity that all target tracking policies agree on: the largest that one of them asks for."""
        wanted = target.bounds.minimum
        for policy in target.policies.values():
            if not policy.is_tracking or policy.configuration.get("DisableScaleIn"):
                continue
            points = self._points_of_low(region, policy, now)
            if not points:
                return current
            one = tracking.scale_in(current, _latest(points), policy.target_value, target.bounds, target.cooldown, now)
            wanted = max(wanted, one)
        return min(wanted, current)

    def _points_of_low(self, region: str, policy: Policy, now: float) -> Points:
        """What a policy's low alarm sees; nothing unless it is raised."""
        alarm = alarms_of(region).get(policy.low_alarm or "")
        if alarm is None or alarm.state != ALARM:
            return {}
        try:
            return self._evaluator.points(alarm, now) or {}
        except ExpressionError:
            return {}

    def _note_not_scaled(self, region: str, target: Target, current: int, cause: str, *, is_out: bool) -> None:
        """Notes that an alarm would have scaled a target; once, until something else happens.

        https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-scaling-activities.html
        """
        bounds, reason = target.bounds, {"Code": "AlreadyAtDesiredCapacity", "CurrentCapacity": current}
        if is_out and current >= bounds.maximum:
            reason = {"Code": "AlreadyAtMaxCapacity", "MaxCapacity": bounds.maximum}
        elif not is_out and current <= bounds.minimum:
            reason = {"Code": "AlreadyAtMinCapacity", "MinCapacity": bounds.minimum}
        activities = activities_of(region, target.key)
        if activities and activities[-1].not_scaled == reason:
            return
        activity = Activity("Attempting to scale due to alarm triggered", cause, self._clock.time(), status="Failed")
        activity.not_scaled = reason
        activities.append(activity)
        self._state.changed("application-autoscaling", region)

    def _change(
        self,
        region: str,
        target: Target,
        current: int,
        wanted: int,
        cause: str,
        base: int = 0,
        cooldowns: Seconds | None = None,
    ) -> None:
        """Asks for another capacity, as an activity."""
        if wanted == current:
            return
        noun = _noun(target)
        activity = Activity(f"Setting {noun} to {wanted}.", cause, self._clock.time(), wanted)
        activity.base, activity.cooldowns = base, cooldowns
        activities_of(region, target.key).append(activity)
        log.info("scaling %s: %s -> %s: %s", target.key.resource_id, current, wanted, cause)
        try:
            self._of(target).set_capacity(region, target.key.resource_id, wanted)
        except AwsError as error:
            activity.status, activity.ended_at = "Failed", self._clock.time()
            activity.message = f"Failed to set {noun} to {wanted}. Reason: {error}"
        else:
            waiting = f"Waiting for change to be fulfilled by {target.key.namespace}."
            activity.message = f"Successfully set {noun} to {wanted}. {waiting}"
        self._state.changed("application-autoscaling", region)

    def _of(self, target: Target) -> Scalable:
        return self.scalable(target.key.namespace, target.key.dimension)

    def _capacity(self, region: str, target: Target) -> int | None:
        return self._of(target).capacity(region, target.key.resource_id)


def next_due(action: ScheduledAction) -> datetime | None:
    """When a scheduled action is due next; None once that is over.

    Raises:
        ScheduleError: its schedule is not understood.
    """
    start, end = action.parameters.get("StartTime"), action.parameters.get("EndTime")
    since = datetime.fromtimestamp(action.ran_at, UTC)
    due = schedules.next_due(
        action.parameters["Schedule"],
        action.parameters.get("Timezone", "UTC"),
        since if start is None else max(start, since),
        start or datetime.fromtimestamp(action.created_at, UTC),
    )
    return None if due is not None and end is not None and due > end else due


def cooldowns_of(target: Target, policy: Policy) -> Seconds:
    """The cooldowns of a policy."""
    default = DEFAULT_COOLDOWN[target.key.namespace]
    names = ("ScaleOutCooldown", "ScaleInCooldown") if policy.is_tracking else ("Cooldown", "Cooldown")
    out, in_ = (policy.configuration.get(name, default) for name in names)
    return Seconds(out, in_)


def steps_of(configuration: Mapping[str, Any]) -> Steps:
    """What a step scaling policy does."""
    return Steps(
        tracking.steps_of(configuration["StepAdjustments"]),
        configuration["AdjustmentType"],
        configuration.get("MinAdjustmentMagnitude", 0),
    )


def _is_out(policy: Policy, alarm: Alarm) -> bool:
    """Whether it was to be scaled out, as far as that can be told of an alarm that changed nothing."""
    if policy.is_tracking:
        return alarm.name == policy.high_alarm
    return any(one["ScalingAdjustment"] > 0 for one in policy.configuration["StepAdjustments"])


def _noun(target: Target) -> str:
    return DIMENSIONS[target.key.namespace, target.key.dimension].noun


def _latest(points: Points) -> float:
    return points[max(points)]
