"""The operations of IAM and STS that local AWS answers itself."""

from __future__ import annotations

from whippet.local.access import sts
from whippet.local.services import Handlers

HANDLERS: Handlers = {**sts.HANDLERS}
