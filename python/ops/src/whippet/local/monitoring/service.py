"""CloudWatch: its operations on metrics and alarms; dashboards and the rest are moto's."""

from __future__ import annotations

from whippet.local.clock import Clock
from whippet.local.monitoring.alarm_calls import AlarmCalls
from whippet.local.monitoring.evaluator import Evaluator
from whippet.local.monitoring.metric_calls import MetricCalls
from whippet.local.monitoring.metrics import Metrics
from whippet.local.services import Handlers


class Monitoring:
    """Metrics and alarms. Alarms survive a restart; metrics, which are many, do not.

    Args:
        clock: what it follows.
        metrics: what is put and asked for.
        evaluator: keeps the states of alarms true.
    """

    def __init__(self, clock: Clock, metrics: Metrics, evaluator: Evaluator) -> None:
        self._metrics = metrics
        self._evaluator = evaluator
        self._handlers = {**MetricCalls(clock, metrics).handlers(), **AlarmCalls(clock, evaluator).handlers()}

    def handlers(self) -> Handlers:
        """The operations that are answered here."""
        return self._handlers

    def resume(self) -> None:
        """Evaluates the alarms on record."""
        self._evaluator.start()

    def stop(self) -> None:
        """Evaluates no more, and forgets the metrics."""
        self._evaluator.stop()
        self._metrics.reset()
