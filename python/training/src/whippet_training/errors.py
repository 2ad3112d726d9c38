"""What a training can end with, beside success."""

import signal


class TrainingError(Exception):
    """A failure that the person who trains can mend; its message is one line that says how."""


class Interrupted(Exception):  # noqa: N818 - nothing has failed
    """A signal ended a training after a step; what was reached is in the checkpoint.

    Attributes:
        signal: Number of the signal, SIGINT or SIGTERM.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(signal_number).name}")
        self.signal = signal_number
