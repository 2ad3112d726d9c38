"""What survives the end of local AWS."""

from __future__ import annotations

from typing import Any

from moto.moto_api._internal.models import moto_api_backend

ARN = "arn:aws:lambda:us-east-1:123456789012:function:function"
SOURCE = "import os\ndef handler(event, context): return os.environ['AWS_LAMBDA_INITIALIZATION_TYPE'], os.getpid()"


def restart(local_aws: Any) -> None:
    """Ends local AWS, with all that it has in memory, and starts it from what is on disk."""
    local_aws.gateway.stop()
    moto_api_backend.reset()
    local_aws.gateway._begin()


def told(function: Any) -> dict[str, Any]:
    """All that Lambda tells of the function."""
    api, named = function.api, {"FunctionName": "function"}
    answers = {
        "account": api.get_account_settings(),
        "alias": api.get_alias(**named, Name="live"),
        "concurrency": api.get_function_concurrency(**named),
        "configuration": api.get_function_configuration(**named),
        "events": api.get_function_event_invoke_config(**named),
        "policy": api.get_policy(**named),
        "url": api.get_function_url_config(**named),
        "versions": api.list_versions_by_function(**named),
    }
    for answer in answers.values():
        del answer["ResponseMetadata"]
    return answers


def test_functions_come_back_with_what_they_had(local_aws: Any, function: Any) -> None:
    local_aws.create_function(
        SOURCE,
        Environment={"Variables": {"COLOUR": "grey"}},
        LoggingConfig={"LogFormat": "Text", "LogGroup": "elsewhere"},
        Publish=True,
        Timeout=30,
    )
    api, named = function.api, {"FunctionName": "function"}
    second = function.publish(SOURCE + "#")
    api.create_alias(
        **named, Name="live", FunctionVersion="1", RoutingConfig={"AdditionalVersionWeights": {second: 0.5}}
    )
    api.put_function_concurrency(**named, ReservedConcurrentExecutions=5)
    api.put_function_event_invoke_config(**named, MaximumRetryAttempts=1)
    api.create_function_url_config(**named, AuthType="AWS_IAM", Cors={"AllowOrigins": ["*"]})
    api.add_permission(**named, StatementId="s", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com")
    before = told(function)
    _, pid = function.invoke()
    restart(local_aws)
    assert not function.runs(pid)
    assert function.environments() == (0, 0)
    assert told(function) == before
    assert function.invoke()[0] == "on-demand"
    assert function.answer(Qualifier="1")["ExecutedVersion"] == "1"
    refused = function.refused(api.update_function_configuration, **named, Timeout=5, RevisionId="other")
    assert refused["Error"]["Code"] == "PreconditionFailedException"
    assert function.publish(SOURCE + "##") == "3"


def test_what_is_provisioned_is_provisioned_again(local_aws: Any, function: Any) -> None:
    local_aws.create_function(SOURCE, Publish=True)
    asked = {"FunctionName": "function", "Qualifier": "1"}
    function.api.put_provisioned_concurrency_config(**asked, ProvisionedConcurrentExecutions=2)

    def is_ready() -> bool:
        return bool(function.api.get_provisioned_concurrency_config(**asked)["Status"] == "READY")

    local_aws.eventually(is_ready)
    before = function.pids()
    restart(local_aws)
    local_aws.eventually(is_ready)
    after = function.pids()
    assert len(after) == 2
    assert not set(before) & set(after)
    assert function.invoke(Qualifier="1")[0] == "provisioned-concurrency"


def test_events_that_wait_or_run_are_not_lost(local_aws: Any, function: Any) -> None:
    role = local_aws.create_role("role", local_aws.allow(["logs:*", "sqs:SendMessage"]))
    local_aws.create_function("import time\ndef handler(event, context): time.sleep(event)", role=role, Timeout=900)
    function.api.put_function_concurrency(FunctionName="function", ReservedConcurrentExecutions=1)
    queue = local_aws.client("sqs").create_queue(QueueName="told")["QueueUrl"]
    destination = {"OnSuccess": {"Destination": "arn:aws:sqs:us-east-1:123456789012:told"}}
    function.api.put_function_event_invoke_config(FunctionName="function", DestinationConfig=destination)
    function.answer(600, InvocationType="Event")
    local_aws.eventually(lambda: function.environments() == (1, 1))
    function.answer(0, InvocationType="Event")
    restart(local_aws)
    local_aws.eventually(lambda: function.environments() == (1, 1))  # the one that ran runs again
    function.api.put_function_concurrency(FunctionName="function", ReservedConcurrentExecutions=2)
    [message] = local_aws.eventually(lambda: local_aws.client("sqs").receive_message(QueueUrl=queue).get("Messages"))
    assert '"requestPayload": 0' in message["Body"]


def test_nothing_that_was_deleted_comes_back(local_aws: Any, function: Any) -> None:
    local_aws.create_function(SOURCE, Publish=True)
    function.api.create_function_url_config(FunctionName="function", AuthType="NONE")
    function.api.delete_function(FunctionName="function")
    restart(local_aws)
    assert function.api.list_functions()["Functions"] == []
    assert local_aws.gateway.status()["functions"] == []
