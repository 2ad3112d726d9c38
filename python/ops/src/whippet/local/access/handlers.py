"""The operations that local AWS answers itself or mends, because moto does not enforce what they set."""

from __future__ import annotations

from whippet.local.access import function_policies, objects, simulation, sts, users
from whippet.local.services import Handlers

HANDLERS: Handlers = {
    **function_policies.HANDLERS,
    **objects.HANDLERS,
    **simulation.HANDLERS,
    **sts.HANDLERS,
    **users.HANDLERS,
}
