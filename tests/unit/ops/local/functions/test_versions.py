"""Versions and aliases: https://docs.aws.amazon.com/lambda/latest/dg/configuration-versions.html."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

ARN = "arn:aws:lambda:us-east-1:123456789012:function:function"


def answering(text: str) -> str:
    return f"def handler(event, context): return {text!r}, context.function_version, context.invoked_function_arn"


@pytest.fixture
def versions(local_aws: Any, function: Any) -> Any:
    """A function with two versions."""
    local_aws.create_function(answering("old"))
    assert function.publish() == "1"
    assert function.publish(answering("new")) == "2"
    return function


def create_alias(function: Any, version: str = "1", **weights: float) -> dict[str, Any]:
    routing = {"AdditionalVersionWeights": {name.lstrip("v"): weight for name, weight in weights.items()}}
    made: dict[str, Any] = function.api.create_alias(
        FunctionName="function", Name="live", FunctionVersion=version, RoutingConfig=routing
    )
    return made


def test_a_version_is_what_the_function_was_when_it_was_published(local_aws: Any, versions: Any) -> None:
    versions.api.update_function_code(FunctionName="function", ZipFile=local_aws.zip_of(answering("newer")))
    assert versions.invoke() == ["newer", "$LATEST", ARN]
    assert versions.invoke(Qualifier="1") == ["old", "1", f"{ARN}:1"]
    assert versions.invoke(FunctionName=f"{ARN}:2") == ["new", "2", f"{ARN}:2"]
    assert versions.answer(Qualifier="2")["ExecutedVersion"] == "2"


def test_configuration_belongs_to_the_version_too(local_aws: Any, function: Any) -> None:
    source = "import os\ndef handler(event, context): return os.environ['COLOUR']"
    local_aws.create_function(source, Environment={"Variables": {"COLOUR": "grey"}}, Publish=True)
    function.api.update_function_configuration(
        FunctionName="function", Environment={"Variables": {"COLOUR": "red"}}, Timeout=30
    )
    assert (function.invoke(Qualifier="1"), function.invoke()) == ("grey", "red")
    told = function.api.get_function_configuration(FunctionName="function", Qualifier="1")
    assert (told["Version"], told["Timeout"], told["FunctionArn"]) == ("1", 3, f"{ARN}:1")


def test_nothing_is_published_that_has_not_changed(versions: Any) -> None:
    assert versions.publish() == "2"
    told = versions.api.list_versions_by_function(FunctionName="function")["Versions"]
    assert [(one["Version"], one["FunctionArn"]) for one in told] == [
        ("$LATEST", f"{ARN}:$LATEST"),
        ("1", f"{ARN}:1"),
        ("2", f"{ARN}:2"),
    ]


def test_the_number_of_a_version_is_never_given_again(versions: Any) -> None:
    versions.api.delete_function(FunctionName="function", Qualifier="2")
    assert versions.publish(answering("newer")) == "3"
    refused = versions.refused(versions.invoke, Qualifier="2")
    assert refused["Error"]["Message"] == f"Function not found: {ARN}:2"


def test_publishing_other_code_than_expected_is_refused(local_aws: Any, versions: Any) -> None:
    current = versions.api.get_function_configuration(FunctionName="function")
    refused = versions.refused(versions.api.publish_version, FunctionName="function", CodeSha256="x" * 43 + "=")
    assert refused["Error"]["Code"] == "InvalidParameterValueException"
    assert current["CodeSha256"] in refused["Error"]["Message"]
    refused = versions.refused(versions.api.publish_version, FunctionName="function", RevisionId="1")
    assert refused["Error"]["Code"] == "PreconditionFailedException"
    revision = current["RevisionId"]
    versions.api.update_function_configuration(FunctionName="function", Timeout=10, RevisionId=revision)
    refused = versions.refused(
        versions.api.update_function_configuration, FunctionName="function", Timeout=11, RevisionId=revision
    )
    assert refused["Error"]["Code"] == "PreconditionFailedException"


def test_an_alias_leads_to_a_version(versions: Any) -> None:
    made = create_alias(versions)
    assert (made["AliasArn"], made["FunctionVersion"]) == (f"{ARN}:live", "1")
    for options in ({"Qualifier": "live"}, {"FunctionName": "function:live"}, {"FunctionName": f"{ARN}:live"}):
        assert versions.invoke(**options) == ["old", "1", f"{ARN}:live"]
    versions.api.update_alias(FunctionName="function", Name="live", FunctionVersion="2", Description="now")
    assert versions.invoke(Qualifier="live") == ["new", "2", f"{ARN}:live"]
    told = versions.api.get_alias(FunctionName="function", Name="live")
    assert (told["FunctionVersion"], told["Description"]) == ("2", "now")
    assert told["RevisionId"] != made["RevisionId"]
    [listed] = versions.api.list_aliases(FunctionName="function", FunctionVersion="2")["Aliases"]
    assert listed["Name"] == "live"
    assert versions.api.list_aliases(FunctionName="function", FunctionVersion="1")["Aliases"] == []
    versions.api.delete_alias(FunctionName="function", Name="live")
    assert versions.refused(versions.invoke, Qualifier="live")["Error"]["Code"] == "ResourceNotFoundException"


def test_an_alias_with_weights_shares_the_calls_out(versions: Any) -> None:
    create_alias(versions, v2=0.3)
    executed = Counter(versions.answer(Qualifier="live")["ExecutedVersion"] for _ in range(60))
    assert set(executed) == {"1", "2"}
    assert 5 <= executed["2"] <= 35  # 18 are expected, with a standard deviation of 3.5
    for weight, only in ((0.0, "1"), (1.0, "2")):
        routing = {"AdditionalVersionWeights": {"2": weight}}
        versions.api.update_alias(FunctionName="function", Name="live", RoutingConfig=routing)
        assert {versions.answer(Qualifier="live")["ExecutedVersion"] for _ in range(5)} == {only}
    versions.api.update_alias(FunctionName="function", Name="live", RoutingConfig={"AdditionalVersionWeights": {}})
    assert {versions.answer(Qualifier="live")["ExecutedVersion"] for _ in range(5)} == {"1"}


@pytest.mark.parametrize(
    ("version", "weights", "code"),
    [
        ("7", {}, "ResourceNotFoundException"),
        ("1", {"v7": 0.5}, "ResourceNotFoundException"),
        ("1", {"v1": 0.5}, "InvalidParameterValueException"),
        ("1", {"v$LATEST": 0.5}, "InvalidParameterValueException"),
        ("$LATEST", {"v1": 0.5}, "InvalidParameterValueException"),
    ],
)
def test_an_alias_that_leads_nowhere_is_refused(
    versions: Any, version: str, weights: dict[str, float], code: str
) -> None:
    assert versions.refused(create_alias, versions, version, **weights)["Error"]["Code"] == code


def test_an_alias_is_made_once(versions: Any) -> None:
    create_alias(versions)
    assert versions.refused(create_alias, versions)["Error"] == {
        "Code": "ResourceConflictException",
        "Message": f"Alias already exists: {ARN}:live",
    }


def test_a_version_that_an_alias_leads_to_cannot_be_deleted(versions: Any) -> None:
    create_alias(versions, v2=0.5)
    for version in ("1", "2"):
        refused = versions.refused(versions.api.delete_function, FunctionName="function", Qualifier=version)
        assert refused["Error"]["Code"] == "ResourceConflictException"
    versions.api.delete_alias(FunctionName="function", Name="live")
    versions.invoke(Qualifier="1")
    [pid] = versions.pids()
    versions.api.delete_function(FunctionName="function", Qualifier="1")
    assert not versions.runs(pid)
    assert versions.invoke() == ["new", "$LATEST", ARN]


def test_a_change_of_the_function_leaves_the_environments_of_its_versions(local_aws: Any, versions: Any) -> None:
    versions.invoke(Qualifier="1")
    [kept] = versions.pids()
    versions.invoke()
    versions.api.update_function_code(FunctionName="function", ZipFile=local_aws.zip_of(answering("newer")))
    assert versions.pids() == [kept]


def test_deleting_a_function_deletes_its_versions_and_aliases(local_aws: Any, versions: Any) -> None:
    create_alias(versions)
    versions.invoke(Qualifier="1")
    versions.api.delete_function(FunctionName="function")
    assert versions.pids() == []
    local_aws.create_function(answering("other"), role="arn:aws:iam::123456789012:role/function-role")
    assert versions.api.list_aliases(FunctionName="function")["Aliases"] == []
    assert versions.publish() == "1"
