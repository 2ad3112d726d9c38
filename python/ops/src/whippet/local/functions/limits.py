"""How much may run at once: https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from whippet.local.calls import AwsError
from whippet.local.functions.records import functions, provisionings, reserved

#: What reservations must leave to the functions without one.
MINIMUM_UNRESERVED = 100


@dataclass(frozen=True)
class Limits:
    """What is set in one region.

    Attributes:
        account: concurrent executions of all functions.
        reserved: reserved concurrency by function name.
        provisioned: provisioned concurrency by function name, of all its versions and aliases.
    """

    account: int
    reserved: Mapping[str, int]
    provisioned: Mapping[str, int]

    @property
    def unreserved(self) -> int:
        """What functions without reserved concurrency share, apart from what is provisioned for them."""
        provisioned = sum(count for name, count in self.provisioned.items() if name not in self.reserved)
        return self.account - sum(self.reserved.values()) - provisioned

    def on_demand(self, name: str) -> int | None:
        """What a function's reservation leaves beside its provisioned concurrency; None where it has none."""
        if name not in self.reserved:
            return None
        return max(0, self.reserved[name] - self.provisioned.get(name, 0))

    def check_reservation(self, name: str, wanted: int) -> None:
        """Checks whether a function may have so much reserved.

        https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionConcurrency.html

        Raises:
            AwsError: InvalidParameterValueException.
        """
        provisioned = self.provisioned.get(name, 0)
        if wanted < provisioned:
            # AWS refuses this too; its words are not documented.
            raise AwsError(
                "InvalidParameterValueException",
                f"ReservedConcurrentExecutions {wanted} should not be lower than function's total provisioned "
                f"concurrency [{provisioned}].",
            )
        self._check(replace(self, reserved={**self.reserved, name: wanted}), "ReservedConcurrentExecutions")

    def check_provisioned(self, name: str, total: int) -> None:
        """Checks whether a function may have so much provisioned concurrency, all of its versions together.

        Raises:
            AwsError: InvalidParameterValueException.
        """
        if name not in self.reserved:
            self._check(replace(self, provisioned={**self.provisioned, name: total}), "ConcurrentExecutions")
        elif total > self.reserved[name]:
            message = "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution"
            raise AwsError("InvalidParameterValueException", f"{message} for function")

    def _check(self, then: Limits, what: str) -> None:
        minimum = min(MINIMUM_UNRESERVED, self.account)  # of new accounts, which get 10, all must stay unreserved
        if then.unreserved < min(minimum, self.unreserved):
            message = (
                f"Specified {what} for function decreases account's UnreservedConcurrentExecution below its minimum "
                f"value of [{minimum}]."
            )
            raise AwsError("InvalidParameterValueException", message)


def limits_of(region: str, account: int) -> Limits:
    """What is set in a region, of `account` concurrent executions in all."""
    provisioned: Counter[str] = Counter()
    for (name, _), provisioning in list(provisionings(region).items()):
        provisioned[name] += provisioning.requested
    known = {record.function_name: limit for record in functions(region) if (limit := reserved(record)) is not None}
    return Limits(account, known, provisioned)
