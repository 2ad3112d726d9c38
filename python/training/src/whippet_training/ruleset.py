"""The rules of a training together: what each does when it fires, and what they have found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from whippet_training.console import stderr
from whippet_training.errors import TrainingError
from whippet_training.head import Examples
from whippet_training.label_noise import MOST_VALUES, LabelNoise, Suspect, leave_one_out_logits, suspects
from whippet_training.observe import Epoch, Step, StopTraining
from whippet_training.probe import Probe
from whippet_training.rules import (
    ChanceLevel,
    ClassImbalance,
    DeadUnits,
    ExplodingGradient,
    LossNotDecreasing,
    Overfit,
    Overtraining,
    PoorInitialisation,
    Rule,
    Signals,
    VanishingGradient,
)

ACTIONS = ("stop", "warn", "off")

RULES: tuple[type[Rule], ...] = (
    VanishingGradient,
    ExplodingGradient,
    DeadUnits,
    Overfit,
    Overtraining,
    PoorInitialisation,
    LossNotDecreasing,
    ChanceLevel,
    ClassImbalance,
    LabelNoise,
)

_FIRST_STEPS, _EVERY = 5, 40
"""Steps that are sampled: the first, and then each so many."""


@dataclass(frozen=True)
class Finding:
    """What a rule found.

    Attributes:
        rule: Its name.
        action: What it did: stop or warn.
        training: Counted from 0: a run may train several heads.
        epoch: Counted from 0; None before the first and after the last.
        step: Counted from 0; None before the first and after the last.
        message: What is wrong and what to do.
    """

    rule: str
    action: str
    training: int
    epoch: int | None
    step: int | None
    message: str


def parse_actions(options: Iterable[str]) -> dict[str, str]:
    """Reads options of the form NAME=ACTION; the name ``all`` means every rule, and later options count above earlier.

    Raises:
        TrainingError: If there is no such rule or action.
    """
    names = [rule.name for rule in RULES]
    actions: dict[str, str] = {}
    for option in options:
        name, _, action = option.partition("=")
        if name not in (*names, "all") or action not in ACTIONS:
            raise TrainingError(
                f"--rule {option} is not NAME=ACTION: actions are {', '.join(ACTIONS)}; rules are all, "
                f"{', '.join(names)}."
            )
        actions |= dict.fromkeys(names if name == "all" else [name], action)
    return actions


class RuleSet:
    """Every rule that is not off, as an observer; each fires at most once in a training.

    Looking into the network costs time, so only the first steps and then every fortieth are looked into.

    Args:
        actions: By the rules' names; a rule that is not named has its own.
        classes: Names in the order of the logits.
        tell: Receives the first finding of each rule.
        rules: All of them by default.

    Attributes:
        findings: So far, in their order.
    """

    def __init__(
        self,
        actions: Mapping[str, str] | None = None,
        classes: Sequence[str] = (),
        tell: Callable[[str], None] | None = None,
        rules: Iterable[Rule] | None = None,
    ) -> None:
        self.findings: list[Finding] = []
        given = actions or {}
        every = [rule() for rule in RULES] if rules is None else list(rules)
        self._actions = {rule.name: given.get(rule.name, rule.action) for rule in every}
        self._rules = [rule for rule in every if self._actions[rule.name] != "off"]
        self._classes = tuple(classes)
        self._tell = tell or _warn
        self._told: set[str] = set()
        self._training = -1
        self._epoch: int | None = None
        self._step: int | None = None
        self._waiting: list[Rule] = []
        self._every_step: list[Rule] = []
        self._probe: Probe | None = None

    def name_classes(self, classes: Sequence[str]) -> None:
        """Lets messages call the classes by their names, in the order of the logits."""
        self._classes = tuple(classes)

    def start(self, module: torch.nn.Module, classes: int, class_counts: Sequence[int]) -> None:
        """See Observer."""
        names = self._classes or tuple(f"class {number}" for number in range(classes))
        self._training += 1
        self._epoch = self._step = None
        self._waiting = list(self._rules)
        self._every_step = [rule for rule in self._rules if rule.every_step]
        self._probe = Probe(module)
        self._probe.arm()
        self._ask(lambda rule: rule.start(names, class_counts))

    def step(self, step: Step) -> None:
        """See Observer."""
        self._epoch, self._step = step.epoch, step.number
        signals = self._signals() if _sampled(step.number) else None
        if self._probe and _sampled(step.number + 1):
            self._probe.arm()
        asked = self._waiting if signals else self._every_step
        self._ask(lambda rule: rule.step(step, signals), asked)

    def epoch(self, epoch: Epoch) -> None:
        """See Observer."""
        self._epoch = epoch.number
        self._ask(lambda rule: rule.epoch(epoch))

    def finish(self) -> None:
        """See Observer."""
        if self._probe:
            self._probe.disarm()
        self._probe = None
        self._epoch = self._step = None

    def judge_labels(self, train: Examples, classes: int) -> list[Suspect]:
        """Lets the rule on label noise judge the photos that were trained on, after the training.

        Args:
            train: With features of a network that has not been trained on these labels.
            classes: Number of classes.

        Returns:
            Photos whose label is suspect, most suspect first; none where the rule is off or the photos are too many.

        Raises:
            StopTraining: If there are too many suspects and the rule is to stop.
        """
        rules = [rule for rule in self._rules if isinstance(rule, LabelNoise)]
        if not rules or train.features.size > MOST_VALUES:
            return []
        found = suspects(leave_one_out_logits(train.features, train.labels, classes), train.labels)
        self._waiting = list(rules)
        self._ask(lambda rule: rule.judge(found, len(train)) if isinstance(rule, LabelNoise) else None)
        return found

    def report(self) -> list[dict[str, Any]]:
        """The findings as ``rules`` in metrics.json."""
        return [asdict(finding) for finding in self.findings]

    def _signals(self) -> Signals | None:
        if self._probe is None:
            return None
        probe = self._probe
        return Signals(probe.gradient_norm(), probe.mean_gradients(), probe.disarm(), lambda: probe.weights)

    def _ask(self, question: Callable[[Rule], str | None], rules: Sequence[Rule] | None = None) -> None:
        reasons = []
        for rule in tuple(self._waiting if rules is None else rules):
            if not (message := question(rule)):
                continue
            self._waiting.remove(rule)
            self._every_step = [other for other in self._waiting if other.every_step]
            action = self._actions[rule.name]
            self.findings.append(Finding(rule.name, action, self._training, self._epoch, self._step, message))
            if rule.name not in self._told:
                self._told.add(rule.name)
                self._tell(f"{rule.name}: {message}")
            if action == "stop":
                reasons.append(f"{rule.name}: {message}")
        if reasons:
            raise StopTraining(reasons[0])


def _sampled(number: int) -> bool:
    return number < _FIRST_STEPS or number % _EVERY == 0


def _warn(message: str) -> None:
    stderr.print(f"warning: {message}", markup=False, soft_wrap=True)
