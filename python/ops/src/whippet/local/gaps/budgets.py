"""What moto does not do of AWS Budgets."""

from __future__ import annotations

import json
from typing import Any, cast

from moto.budgets.models import Budget, Notification, budgets_backends
from moto.core.utils import unix_time
from werkzeug.wrappers import Response

from whippet.local.calls import AwsError, Call, answer
from whippet.local.records import shelf
from whippet.local.services import Forward, Handlers
from whippet.local.settings import ACCOUNT


def create_budget(call: Call, forward: Forward) -> Response:
    """CreateBudget drops the tags.

    https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_budgets_CreateBudget.html
    """
    response = forward(call)
    if response.status_code == 200:
        arn = f"arn:aws:budgets::{call.params['AccountId']}:budget/{call.params['Budget']['BudgetName']}"
        _tags(arn).clear()
        _tags(arn).update(_by_key(call.params.get("ResourceTags", [])))
    return response


def list_tags(call: Call, forward: Forward) -> Response:
    """ListTagsForResource is not implemented.

    https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_budgets_ListTagsForResource.html
    """
    tags = _tags(call.params["ResourceARN"])
    return answer(call, {"ResourceTags": [{"Key": key, "Value": value} for key, value in tags.items()]})


def tag(call: Call, forward: Forward) -> Response:
    """TagResource is not implemented.

    https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_budgets_TagResource.html
    """
    _tags(call.params["ResourceARN"]).update(_by_key(call.params["ResourceTags"]))
    return answer(call)


def untag(call: Call, forward: Forward) -> Response:
    """UntagResource is not implemented.

    https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_budgets_UntagResource.html
    """
    for key in call.params["ResourceTagKeys"]:
        _tags(call.params["ResourceARN"]).pop(key, None)
    return answer(call)


def update_budget(call: Call, forward: Forward) -> Response:
    """UpdateBudget is not implemented.

    https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_budgets_UpdateBudget.html
    """
    new = json.loads(call.body)["NewBudget"]  # with its times as numbers, which is how moto keeps them
    budget = _budget(call, new["BudgetName"])
    period = {"TimePeriod": {**budget.budget["TimePeriod"], **new.get("TimePeriod", {})}}
    budget.budget = {**new, **period, "LastUpdatedTime": unix_time()}
    return answer(call)


def update_notification(call: Call, forward: Forward) -> Response:
    """UpdateNotification is not implemented.

    https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_budgets_UpdateNotification.html
    """
    _notification(call, "OldNotification").details = call.params["NewNotification"]
    return answer(call)


def describe_subscribers(call: Call, forward: Forward) -> Response:
    """DescribeSubscribersForNotification is not implemented.

    https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_budgets_DescribeSubscribersForNotification.html
    """
    return answer(call, {"Subscribers": _subscribers(call)})


def create_subscriber(call: Call, forward: Forward) -> Response:
    """CreateSubscriber is not implemented.

    https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_budgets_CreateSubscriber.html
    """
    _subscribers(call).append(call.params["Subscriber"])
    return answer(call)


def delete_subscriber(call: Call, forward: Forward) -> Response:
    """DeleteSubscriber is not implemented.

    https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_budgets_DeleteSubscriber.html
    """
    subscribers = _subscribers(call)
    if call.params["Subscriber"] not in subscribers:
        raise AwsError("NotFoundException", "Unable to delete subscriber - the subscriber doesn't exist.")
    subscribers.remove(call.params["Subscriber"])
    return answer(call)


def _tags(arn: str) -> dict[str, str]:
    tags: dict[str, str] = shelf(budgets_backends[ACCOUNT]["aws"], "tags").setdefault(arn, {})
    return tags


def _by_key(tags: list[dict[str, str]]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags}


def _budget(call: Call, name: str) -> Budget:
    budget = budgets_backends[ACCOUNT]["aws"].budgets[call.params["AccountId"]].get(name)
    if budget is None:
        raise AwsError("NotFoundException", f"Unable to get budget: {name} - the budget doesn't exist.")
    return budget


def _notification(call: Call, member: str = "Notification") -> Notification:
    details = call.params[member]
    for notification in _budget(call, call.params["BudgetName"]).notifications:
        if notification.details == details:
            return notification
    raise AwsError("NotFoundException", "Unable to get notification - the notification doesn't exist.")


def _subscribers(call: Call) -> list[Any]:
    return cast(list[Any], _notification(call).subscribers)  # which moto declares as a dictionary


HANDLERS: Handlers = {
    ("budgets", "CreateBudget"): create_budget,
    ("budgets", "CreateSubscriber"): create_subscriber,
    ("budgets", "DeleteSubscriber"): delete_subscriber,
    ("budgets", "DescribeSubscribersForNotification"): describe_subscribers,
    ("budgets", "ListTagsForResource"): list_tags,
    ("budgets", "TagResource"): tag,
    ("budgets", "UntagResource"): untag,
    ("budgets", "UpdateBudget"): update_budget,
    ("budgets", "UpdateNotification"): update_notification,
}
