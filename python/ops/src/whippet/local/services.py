"""How the gateway and the parts of local AWS that answer calls fit together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from werkzeug.wrappers import Response

from whippet.local.calls import Call

#: Answers a call as moto does.
Forward = Callable[[Call], Response]
#: Answers a call; it may let moto answer and mend that.
Handler = Callable[[Call, Forward], Response]
#: By service and operation, in botocore's names.
Handlers = Mapping[tuple[str, str], Handler]


class Service(Protocol):
    """A part of local AWS that answers operations and runs things behind them.

    What it must remember lies on moto's records or on a `shelf`: that is what survives the end of the process.
    """

    def handlers(self) -> Handlers:
        """The operations that are answered here."""
        ...

    def resume(self) -> None:
        """Starts what the records say should run; there are some when local AWS was stopped and starts again."""
        ...

    def stop(self) -> None:
        """Ends every process and thread, and forgets what is not on record; `resume` may follow."""
        ...
