"""Every rule on small trainings that go wrong in its way, and on some that go well. No figure is made up by hand."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from torch import nn

from whippet_training.errors import TrainingError
from whippet_training.observe import Epoch, Step, StopTraining
from whippet_training.ruleset import RULES, RuleSet, parse_actions

CLASSES, WIDTH = 8, 20


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small matrices are quicker on one thread, far quicker where others compute too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def photos(count: int, seed: int, noise: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of eight classes, the same for every seed, with unit scale."""
    centres = torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(99))
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    return centres[labels] + torch.randn(count, WIDTH, generator=draw) * noise, labels


def train(
    network: nn.Module,
    actions: Sequence[str] = (),
    learning_rate: float = 0.05,
    epochs: int = 12,
    train: tuple[torch.Tensor, torch.Tensor] | None = None,
    valid: tuple[torch.Tensor, torch.Tensor] | None = None,
    optimiser: Callable[..., torch.optim.Optimizer] = torch.optim.SGD,
    rules: RuleSet | None = None,
) -> RuleSet:
    """Trains for real, as the head and fine-tuning do, and returns the rules with what they found."""
    told: list[str] = []
    rules = rules or RuleSet(parse_actions(actions), tell=told.append)
    inputs, labels = train or photos(400, 1)
    valid_inputs, valid_labels = valid or photos(200, 2)
    mover = optimiser(network.parameters(), lr=learning_rate)
    steps = itertools.count()
    try:
        rules.start(network, CLASSES, torch.bincount(labels, minlength=CLASSES).tolist())
        for number in range(epochs):
            order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(number))
            total = 0.0
            for batch in order.split(50):
                mover.zero_grad()
                loss = nn.functional.cross_entropy(network(inputs[batch]), labels[batch])
                loss.backward()
                rules.step(Step(next(steps), number, loss.item(), len(batch), learning_rate))
                mover.step()
                total += loss.item() * len(batch)
            network.eval()
            with torch.inference_mode():
                answers = network(valid_inputs)
                valid_loss = nn.functional.cross_entropy(answers, valid_labels).item()
                top1 = (answers.argmax(1) == valid_labels).float().mean().item()
            network.train()
            rules.epoch(Epoch(number, total / len(labels), valid_loss, None, top1, learning_rate, 0.0))
    finally:
        rules.finish()
    return rules


def layers(*sizes: int, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers with activations in between, started as torch does from a fixed seed."""
    torch.manual_seed(0)
    steps: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        steps += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*steps[:-1])


def fired(rules: RuleSet) -> set[str]:
    return {finding.rule for finding in rules.findings}


@pytest.mark.parametrize(
    ("network", "optimiser", "learning_rate"),
    [
        (layers(WIDTH, CLASSES), torch.optim.SGD, 0.05),
        (layers(WIDTH, 64, 64, CLASSES), torch.optim.AdamW, 1e-3),
        (layers(WIDTH, 64, CLASSES, activation=nn.GELU), torch.optim.AdamW, 3e-3),
    ],
    ids=["linear", "relu", "gelu"],
)
def test_a_training_that_goes_well_sets_off_no_rule(
    network: nn.Sequential, optimiser: Callable[..., torch.optim.Optimizer], learning_rate: float
) -> None:
    rules = train(copy.deepcopy(network), optimiser=optimiser, learning_rate=learning_rate, epochs=20)
    assert rules.findings == []


def test_a_deep_sigmoid_network_has_vanishing_gradients() -> None:
    deep = layers(WIDTH, *[16] * 12, CLASSES, activation=nn.Sigmoid)
    [finding] = [one for one in train(deep).findings if one.rule == "vanishing-gradient"]
    assert "in 0.weight" in finding.message
    assert "ReLU" in finding.message
    assert finding.step is not None
    relu = layers(WIDTH, *[16] * 12, CLASSES)
    assert "vanishing-gradient" not in fired(train(relu))


def test_gradients_that_are_small_because_all_is_learned_have_not_vanished() -> None:
    easy, test = photos(400, 1, noise=0.01), photos(200, 2, noise=0.01)
    rules = train(layers(WIDTH, 32, CLASSES), train=easy, valid=test, learning_rate=0.5, epochs=60)
    assert fired(rules) <= {"overtraining"}


def test_a_rate_that_is_far_too_high_makes_gradients_explode_and_ends_the_training() -> None:
    with pytest.raises(StopTraining, match="lower the learning rate"):
        train(layers(WIDTH, 64, 64, CLASSES), learning_rate=300)
    rules = train(layers(WIDTH, 64, 64, CLASSES), ["exploding-gradient=warn"], learning_rate=300)
    assert "exploding-gradient" in fired(rules)
    assert "exploding-gradient" not in fired(train(layers(WIDTH, 64, 64, CLASSES), learning_rate=0.3))


def test_a_loss_that_is_no_number_ends_the_training_at_once() -> None:
    inputs, labels = photos(400, 1)
    inputs[7] = float("nan")
    with pytest.raises(StopTraining, match="the loss is nan"):
        train(layers(WIDTH, CLASSES), train=(inputs, labels))


def test_units_that_a_step_too_far_has_silenced_are_dead() -> None:
    network = layers(WIDTH, 64, CLASSES)
    with torch.no_grad():
        network[0].bias[:40] = -100  # where a huge step leaves them
    [finding] = [one for one in train(network).findings if one.rule == "dead-units"]
    assert "62% of the 64 units after 1 " in finding.message
    network = layers(WIDTH, 64, CLASSES)
    with torch.no_grad():
        network[0].bias[:20] = -100
    assert "dead-units" not in fired(train(network))


def test_units_that_die_late_are_noticed() -> None:
    network = layers(WIDTH, 64, CLASSES)
    rules = train(network, epochs=10)
    assert rules.findings == []
    with torch.no_grad():
        network[0].bias[:] = -100
    assert "dead-units" in fired(train(network, epochs=40, learning_rate=0.0, rules=rules))


def test_photos_learned_by_heart_are_overfitting() -> None:
    few, test = photos(64, 1, noise=3.0), photos(200, 2, noise=3.0)
    learning = {"optimiser": torch.optim.Adam, "learning_rate": 0.003, "epochs": 60}
    rules = train(layers(WIDTH, 256, CLASSES), train=few, valid=test, **learning)  # type: ignore[arg-type]
    [finding] = [one for one in rules.findings if one.rule == "overfit"]
    assert "weight decay" in finding.message
    enough = photos(2000, 1, noise=3.0)
    rules = train(layers(WIDTH, CLASSES), train=enough, valid=test, optimiser=torch.optim.Adam, learning_rate=0.003)
    assert fired(rules) == set()


def test_training_on_after_the_best_epoch_is_overtraining() -> None:
    few, test = photos(64, 1, noise=3.0), photos(200, 2, noise=3.0)
    for epochs, expected in ((60, True), (8, False)):
        rules = train(layers(WIDTH, 64, CLASSES), train=few, valid=test, learning_rate=0.3, epochs=epochs)
        assert ("overtraining" in fired(rules)) is expected


def test_a_first_loss_far_above_an_even_guess_is_a_poor_start() -> None:
    network = layers(WIDTH, 64, CLASSES)
    with torch.no_grad():
        network[2].weight *= 30
    [finding] = [one for one in train(network, epochs=1).findings if one.rule == "poor-initialisation"]
    assert (finding.epoch, finding.step) == (0, 0)
    assert "an even guess among 8 classes" in finding.message


@pytest.mark.parametrize("start", [0.0, 0.1], ids=["zero", "constant"])
def test_units_that_start_alike_stay_alike(start: float) -> None:
    network = layers(WIDTH, 64, CLASSES)
    for weight in network.parameters():
        nn.init.constant_(weight, start)
    [finding] = [one for one in train(network).findings if one.rule == "poor-initialisation"]
    assert "random weights" in finding.message


def test_a_last_layer_that_starts_at_zero_is_a_good_start() -> None:
    network = layers(WIDTH, 64, CLASSES)
    nn.init.zeros_(network[2].weight)
    nn.init.zeros_(network[2].bias)
    assert train(network, learning_rate=0.1).findings == []


def test_a_rate_that_is_far_too_low_leaves_the_loss_where_it_was() -> None:
    rules = train(layers(WIDTH, CLASSES), learning_rate=1e-6, epochs=15)
    assert fired(rules) == {"loss-not-decreasing", "chance-level"}
    assert not any("too high; try" in finding.message for finding in rules.findings)


def test_a_loss_that_rises_again_is_not_decreasing() -> None:
    network = layers(WIDTH, 64, CLASSES)
    rules = RuleSet(parse_actions(["all=off", "loss-not-decreasing=stop"]), tell=lambda _: None)
    noisy = photos(400, 1, noise=2.0)
    rules.start(network, CLASSES, [50] * CLASSES)
    mover = torch.optim.SGD(network.parameters(), lr=0.1)
    stopped = None
    for number in range(30):
        mover.param_groups[0]["lr"] = 0.1 if number < 15 else 3.0  # a schedule that goes the wrong way
        total = 0.0
        for batch in torch.arange(400).split(50):
            mover.zero_grad()
            loss = nn.functional.cross_entropy(network(noisy[0][batch]), noisy[1][batch])
            loss.backward()
            mover.step()
            total += loss.item() / 8
        try:
            rules.epoch(Epoch(number, total, total, None, None, 0.1, 0.0))
        except StopTraining:
            stopped = number
            break
    rules.finish()
    assert stopped is not None
    assert stopped >= 15


def test_the_learning_rate_at_which_the_seeds_peers_deployed_a_guess_is_named() -> None:
    """A frozen network, a head with 128 hidden units, Adam at 0.058 on features that nobody normalised."""
    inputs, labels = photos(400, 1)
    raw, test = (inputs.abs() * 5, labels), photos(200, 2)
    rules = train(
        layers(WIDTH, 128, CLASSES),
        ["all=off", "chance-level=stop"],
        learning_rate=0.0001,
        optimiser=torch.optim.Adam,
        epochs=20,
        train=raw,
        valid=(test[0].abs() * 5, test[1]),
    )
    assert rules.findings == []
    with pytest.raises(StopTraining, match=r"no better than guessing among 8 classes \(2\.08\): .* too high; try 5"):
        train(
            layers(WIDTH, 128, CLASSES),
            ["all=off", "chance-level=stop"],
            learning_rate=50,
            optimiser=torch.optim.Adam,
            epochs=20,
            train=raw,
            valid=(test[0].abs() * 5, test[1]),
        )


def test_a_slow_start_under_a_warm_up_is_not_chance_level() -> None:
    rules = RuleSet(parse_actions(["all=off", "chance-level=stop"]), tell=lambda _: None)
    network = layers(WIDTH, CLASSES)
    inputs, labels = photos(400, 1)
    mover = torch.optim.SGD(network.parameters())
    rules.start(network, CLASSES, [50] * CLASSES)
    for number in range(300):
        rate = 1e-6 * (number + 1)
        mover.param_groups[0]["lr"] = rate
        mover.zero_grad()
        loss = nn.functional.cross_entropy(network(inputs), labels)
        loss.backward()
        rules.step(Step(number, number, loss.item(), len(labels), rate))
        mover.step()
    rules.finish()
    assert rules.findings == []


def test_a_class_with_a_tenth_of_anothers_photos_is_named_by_its_name() -> None:
    inputs, labels = photos(800, 1)
    kept = torch.cat([torch.nonzero(labels != 3).squeeze(1), torch.nonzero(labels == 3).squeeze(1)[:9]])
    told: list[str] = []
    names = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen"]
    rules = RuleSet(classes=names, tell=told.append)
    train(layers(WIDTH, CLASSES), train=(inputs[kept], labels[kept]), rules=rules, epochs=2)
    [finding] = rules.findings
    assert (finding.rule, finding.epoch, finding.step) == ("class-imbalance", None, None)
    assert "ant has 100 training photos and dog 9" in finding.message
    assert len(told) == 1


def test_a_rule_fires_once_in_a_training_and_is_told_once_in_all() -> None:
    told: list[str] = []
    rules = RuleSet(tell=told.append)
    for _ in range(2):
        train(layers(WIDTH, CLASSES), learning_rate=1e-6, epochs=15, rules=rules)
    assert [(one.rule, one.training) for one in rules.findings] == [
        ("loss-not-decreasing", 0),
        ("chance-level", 0),
        ("loss-not-decreasing", 1),
        ("chance-level", 1),
    ]
    assert len(told) == 2


def test_a_rule_that_is_off_finds_nothing_and_one_that_stops_gives_its_reason() -> None:
    assert train(layers(WIDTH, CLASSES), ["all=off"], learning_rate=1e-6, epochs=15).findings == []
    with pytest.raises(StopTraining, match="chance-level: the loss is"):
        train(layers(WIDTH, CLASSES), ["chance-level=stop"], learning_rate=1e-6, epochs=15)


@pytest.mark.parametrize("option", ["overfit", "overfit=maybe", "overfitting=stop", "=stop"])
def test_an_option_that_names_no_rule_or_action_says_what_there_is(option: str) -> None:
    with pytest.raises(TrainingError, match=r"stop, warn, off; rules are all, vanishing-gradient"):
        parse_actions([option])
    assert parse_actions(["all=off", "overfit=stop"])["overfit"] == "stop"


def test_rules_leave_no_hook_behind_and_do_not_change_the_training() -> None:
    networks = [layers(WIDTH, 32, CLASSES) for _ in "12"]
    train(networks[0])
    train(networks[1], rules=RuleSet(rules=()))
    assert all(map(torch.equal, networks[0].parameters(), networks[1].parameters()))
    assert not any(layer._forward_hooks for layer in networks[0].modules())


def test_a_copy_of_the_network_made_while_it_is_looked_at_answers_as_the_network() -> None:
    network = layers(WIDTH, 32, CLASSES)
    rules = RuleSet()
    rules.start(network, CLASSES, [1] * CLASSES)
    average = copy.deepcopy(network)
    assert torch.equal(average(torch.ones(3, WIDTH)), network(torch.ones(3, WIDTH)))
    rules.finish()


def test_every_rule_has_a_name_of_its_own() -> None:
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(RULES) == 10
