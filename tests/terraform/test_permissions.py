"""What a plan of everything lets happen, beyond what its tables in docs/permissions.md show to whoever reviews them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "permissions.md"
#: Actions for which AWS has no narrower resource than all; the code links the page that says so beside each.
UNSCOPED = {
    "whippet-prod-lambda": {"xray:PutTelemetryRecords", "xray:PutTraceSegments"},
    "whippet-prod-endpoint": {"cloudwatch:PutMetricData", "ecr:GetAuthorizationToken"},
    "whippet-prod-training": {
        "ssm:UpdateInstanceInformation",
        "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssmmessages:OpenDataChannel",
    },
    "whippet-prod-notebook": set(),
}


def rows(heading: str) -> list[list[str]]:
    """The rows of the table under a heading, each a list of what its cells say."""
    section = PAGE.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip(" `") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


@pytest.mark.parametrize("role", sorted(UNSCOPED))
def test_only_what_aws_cannot_scope_is_for_all_resources(role: str) -> None:
    found = {action for name, action, resource, _ in rows("What roles may do") if (name, resource) == (role, "*")}
    assert found == UNSCOPED[role]


def test_the_deploy_role_only_looks_at_what_it_cannot_be_scoped_to() -> None:
    unscoped = [row for row in rows("What roles may do") if row[0] == "deploy-whippet-prod" and row[2] == "*"]
    assert len(unscoped) > 5
    reading = re.compile(r"\w[\w-]+:(Describe|List|Get)")
    # What changes something is limited by a condition; but SNS knows neither for this action:
    # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsns.html
    assert [row[1] for row in unscoped if not reading.match(row[1]) and not row[3]] == ["sns:Unsubscribe"]


def test_no_action_is_a_wildcard_of_a_whole_service() -> None:
    assert [row for row in rows("What roles may do") if row[1].endswith(":*")] == []


def test_roles_are_passed_to_one_service_each() -> None:
    passed = [(row[2], row[3]) for row in rows("What roles may do") if row[1] == "iam:PassRole"]
    assert passed
    assert all("iam:PassedToService = " in condition and "," not in condition for _, condition in passed)
    assert all(re.fullmatch(r"arn:aws:iam::123456789012:role/whippet-prod-\w+", role) for role, _ in passed)


def test_services_take_roles_for_this_account_alone() -> None:
    trusts = rows("Who may take a role")
    assert len(trusts) == 5
    for role, action, who, condition in trusts:
        if who.startswith("Service: ec2."):
            continue  # EC2 tells no account: https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html
        limit = "aws:SourceAccount" if action == "sts:AssumeRole" else ":sub = repo:example/whippet:environment:prod"
        assert limit in condition, role
