from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from whippet_training.checkpoints import Checkpoints
from whippet_training.errors import TrainingError

IDENTITY = {"seed": 1, "rate": 0.5}


def state(number: int) -> dict[str, Any]:
    return {"weights": {"a": torch.full((40, 50), float(number))}, "position": {"step": number, "why": None}}


@contextmanager
def no_space() -> Iterator[None]:
    """Lets no file grow beyond a kilobyte: writing fails as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path, IDENTITY).read() is None
    assert Checkpoints(tmp_path, IDENTITY).write(7, state(7))
    found = Checkpoints(tmp_path, IDENTITY).read()
    assert found
    assert torch.equal(found["weights"]["a"], state(7)["weights"]["a"])
    assert found["position"] == {"step": 7, "why": None}


def test_the_last_two_are_kept_and_nothing_else(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, IDENTITY)
    for step in (5, 50, 500):
        checkpoints.write(step, state(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000050.checkpoint", "000000500.checkpoint"]


@pytest.mark.parametrize("harm", ["cut", "flipped", "empty"])
def test_of_a_damaged_checkpoint_the_one_before_counts(
    tmp_path: Path, harm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = Checkpoints(tmp_path, IDENTITY)
    checkpoints.write(1, state(1))
    checkpoints.write(2, state(2))
    newest = tmp_path / "000000002.checkpoint"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes({"cut": bytes(content[:-9]), "flipped": bytes(content), "empty": b""}[harm])
    found = Checkpoints(tmp_path, IDENTITY).read()
    assert found
    assert found["position"]["step"] == 1
    assert "is damaged; the checkpoint before it is used" in capsys.readouterr().err


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    Checkpoints(tmp_path, IDENTITY).write(1, state(1))
    with pytest.raises(TrainingError, match=r"another training \(seed is 1 there and 2 here\)"):
        Checkpoints(tmp_path, {**IDENTITY, "seed": 2}).read()
    with pytest.raises(TrainingError, match="mixup is nothing there and 3 here"):
        Checkpoints(tmp_path, {**IDENTITY, "mixup": 3}).read()


def test_on_a_full_disk_the_earlier_checkpoint_stays_and_one_line_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = Checkpoints(tmp_path, IDENTITY)
    checkpoints.write(1, state(1))
    with no_space():
        assert not checkpoints.write(2, state(2))
        assert not checkpoints.write(3, state(3))
    assert capsys.readouterr().err.count("warning: no checkpoint was written") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["000000001.checkpoint"]
    assert checkpoints.write(4, state(4))
    found = checkpoints.read()
    assert found
    assert found["position"]["step"] == 4


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".000000009-x.checkpoint").write_bytes(b"half")
    checkpoints = Checkpoints(tmp_path, IDENTITY)
    assert checkpoints.read() is None
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="Checkpoints cannot be kept in"):
        Checkpoints(tmp_path / "file" / "below", IDENTITY)


def test_a_checkpoint_is_due_after_so_many_steps_or_seconds(tmp_path: Path) -> None:
    now = 0.0
    checkpoints = Checkpoints(tmp_path, IDENTITY, every_seconds=60, every_steps=10, clock=lambda: now)
    assert not checkpoints.due(9)
    assert checkpoints.due(10)
    checkpoints.write(10, state(10))
    assert not checkpoints.due(19)
    now = 60.0
    assert checkpoints.due(11)
