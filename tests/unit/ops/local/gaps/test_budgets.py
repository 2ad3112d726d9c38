from __future__ import annotations

from typing import Any

import pytest

ACCOUNT = "123456789012"
ARN = f"arn:aws:budgets::{ACCOUNT}:budget/dogs"
NOTIFICATION = {
    "NotificationType": "ACTUAL",
    "ComparisonOperator": "GREATER_THAN",
    "Threshold": 80.0,
    "ThresholdType": "PERCENTAGE",
}
FIRST, SECOND = ({"SubscriptionType": "EMAIL", "Address": f"{name}@example.org"} for name in ("first", "second"))


def budget(amount: str) -> dict[str, Any]:
    limit = {"Amount": amount, "Unit": "USD"}
    return {"BudgetName": "dogs", "BudgetLimit": limit, "TimeUnit": "MONTHLY", "BudgetType": "COST"}


@pytest.fixture
def budgets(local_aws: Any) -> Any:
    """A client, and one budget with one notification."""
    client = local_aws.client("budgets")
    client.create_budget(
        AccountId=ACCOUNT,
        Budget=budget("50"),
        NotificationsWithSubscribers=[{"Notification": NOTIFICATION, "Subscribers": [FIRST]}],
        ResourceTags=[{"Key": "a", "Value": "1"}],
    )
    return client


def test_the_tags_of_a_budget_can_be_changed(budgets: Any) -> None:
    budgets.tag_resource(ResourceARN=ARN, ResourceTags=[{"Key": "b", "Value": "2"}])
    budgets.untag_resource(ResourceARN=ARN, ResourceTagKeys=["a"])
    assert budgets.list_tags_for_resource(ResourceARN=ARN)["ResourceTags"] == [{"Key": "b", "Value": "2"}]


def test_the_limit_of_a_budget_can_be_changed_and_its_period_stays(budgets: Any) -> None:
    period = budgets.describe_budget(AccountId=ACCOUNT, BudgetName="dogs")["Budget"]["TimePeriod"]
    budgets.update_budget(AccountId=ACCOUNT, NewBudget=budget("100"))
    described = budgets.describe_budget(AccountId=ACCOUNT, BudgetName="dogs")["Budget"]
    assert (described["BudgetLimit"]["Amount"], described["TimePeriod"]) == ("100", period)


def test_a_budget_that_is_none_cannot_be_changed(budgets: Any) -> None:
    with pytest.raises(budgets.exceptions.NotFoundException, match="the budget doesn't exist"):
        budgets.update_budget(AccountId=ACCOUNT, NewBudget={**budget("100"), "BudgetName": "cats"})


def test_the_subscribers_of_a_notification_can_be_changed(budgets: Any) -> None:
    named = {"AccountId": ACCOUNT, "BudgetName": "dogs", "Notification": NOTIFICATION}
    budgets.create_subscriber(**named, Subscriber=SECOND)
    assert budgets.describe_subscribers_for_notification(**named)["Subscribers"] == [FIRST, SECOND]
    budgets.delete_subscriber(**named, Subscriber=FIRST)
    assert budgets.describe_subscribers_for_notification(**named)["Subscribers"] == [SECOND]
    with pytest.raises(budgets.exceptions.NotFoundException, match="the subscriber doesn't exist"):
        budgets.delete_subscriber(**named, Subscriber=FIRST)


def test_a_notification_can_be_changed_and_keeps_its_subscribers(budgets: Any) -> None:
    changed, named = {**NOTIFICATION, "Threshold": 90.0}, {"AccountId": ACCOUNT, "BudgetName": "dogs"}
    budgets.update_notification(**named, OldNotification=NOTIFICATION, NewNotification=changed)
    assert budgets.describe_subscribers_for_notification(**named, Notification=changed)["Subscribers"] == [FIRST]
    with pytest.raises(budgets.exceptions.NotFoundException, match="the notification doesn't exist"):
        budgets.describe_subscribers_for_notification(**named, Notification=NOTIFICATION)
