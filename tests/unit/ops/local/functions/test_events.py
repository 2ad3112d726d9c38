"""Asynchronous invocation: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from whippet.local.clock import Clock
from whippet.local.functions.records import backend_of
from whippet.local.records import shelf

ARN = "arn:aws:lambda:us-east-1:123456789012:function:function"
FAIL = "def handler(event, context): print('tried'); raise ValueError('breed')"
ECHO = "def handler(event, context): print('tried'); return event"


@dataclass
class Queue:
    """A queue of SQS that is told of events."""

    local_aws: Any
    name: str = "told"

    def __post_init__(self) -> None:
        self.url = self.local_aws.client("sqs").create_queue(QueueName=self.name)["QueueUrl"]
        self.arn = f"arn:aws:sqs:us-east-1:123456789012:{self.name}"

    def next(self) -> dict[str, Any]:
        """The next message."""

        def receive() -> Any:
            return (
                self.local_aws.client("sqs")
                .receive_message(QueueUrl=self.url, MessageAttributeNames=["All"])
                .get("Messages")
            )

        [message] = self.local_aws.eventually(receive)
        self.local_aws.client("sqs").delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return dict(message)

    def record(self) -> dict[str, Any]:
        """The next message, an invocation record."""
        record: dict[str, Any] = json.loads(self.next()["Body"])
        return record

    def is_empty(self) -> bool:
        """Whether no message waits."""
        return "Messages" not in self.local_aws.client("sqs").receive_message(QueueUrl=self.url)


@pytest.fixture
def queue(local_aws: Any) -> Queue:
    return Queue(local_aws)


@pytest.fixture
def quick(fast_clock: Clock) -> Clock:
    """A clock at which an hour is some seconds."""
    fast_clock.speed = 600.0
    return fast_clock


def create(local_aws: Any, source: str, *allowed: str, **options: Any) -> None:
    """A function that may log and do what is given."""
    role = local_aws.create_role("role", local_aws.allow(["logs:*", *allowed]))
    local_aws.create_function(source, role=role, **options)


def send(function: Any, event: Any = None, **options: Any) -> str:
    """Sends an event; its id."""
    answer = function.answer(event, InvocationType="Event", **options)
    assert (answer["StatusCode"], answer["Payload"]) == (202, b"")
    assert "ExecutedVersion" not in answer
    return str(answer["ResponseMetadata"]["RequestId"])


def settings(function: Any, **wanted: Any) -> None:
    function.api.put_function_event_invoke_config(FunctionName="function", **wanted)


def to(arn: str, condition: str = "OnFailure") -> dict[str, Any]:
    return {condition: {"Destination": arn}}


def tries(local_aws: Any) -> int:
    """How often the function has run."""
    groups = local_aws.client("logs").describe_log_groups()["logGroups"]
    return local_aws.logged("/aws/lambda/function").count("tried") if groups else 0


def waiting(local_aws: Any) -> int:
    """How many events are on record."""
    return len(shelf(backend_of("us-east-1"), "events"))


def test_events_are_taken_at_once_and_handled_later(local_aws: Any, function: Any, fast_clock: Clock) -> None:
    create(local_aws, "def handler(event, context): print('handled', event, context.aws_request_id)")
    function.api.put_function_concurrency(FunctionName="function", ReservedConcurrentExecutions=1)
    sent = {f"handled {number} {send(function, number)}" for number in range(4)}
    local_aws.eventually(lambda: not waiting(local_aws))
    logged = local_aws.logged("/aws/lambda/function")
    assert {line for line in logged if line.startswith("handled")} == sent
    assert function.environments()[0] == 1  # those for which there was no room have waited


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_an_event_that_fails_is_tried_again(
    local_aws: Any, function: Any, queue: Queue, quick: Clock, retries: int
) -> None:
    create(local_aws, FAIL, "sqs:SendMessage")
    settings(function, MaximumRetryAttempts=retries, DestinationConfig=to(queue.arn))
    request_id = send(function, {"a": 1})
    record = queue.record()
    assert tries(local_aws) == retries + 1
    assert record.pop("timestamp")
    payload = record.pop("responsePayload")
    assert (payload["errorType"], payload["errorMessage"]) == ("ValueError", "breed")
    assert record == {
        "version": "1.0",
        "requestContext": {
            "requestId": request_id,
            "functionArn": f"{ARN}:$LATEST",
            "condition": "RetriesExhausted",
            "approximateInvokeCount": retries + 1,
        },
        "requestPayload": {"a": 1},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
    }
    local_aws.eventually(lambda: not waiting(local_aws))


def test_two_retries_are_the_default_after_one_and_two_minutes(
    local_aws: Any, function: Any, queue: Queue, quick: Clock
) -> None:
    create(local_aws, "import time\ndef handler(event, context): print('at', time.time()); raise ValueError('x')")
    began = quick.time()
    send(function)
    local_aws.eventually(lambda: not waiting(local_aws))
    assert quick.time() - began >= 180
    logged = local_aws.logged("/aws/lambda/function")
    assert sum(line.startswith("at ") for line in logged) == 3
    starts = [line.split()[2] for line in logged if line.startswith("START")]
    assert len(set(starts)) == 1  # each try has the id of the event


def test_an_event_that_succeeds_when_it_is_tried_again_is_a_success(
    local_aws: Any, function: Any, queue: Queue, quick: Clock
) -> None:
    source = "tries = []\ndef handler(event, context):\n    tries.append(1)\n    return 1 / (len(tries) - 1)"
    create(local_aws, source, "sqs:SendMessage")
    settings(function, DestinationConfig={**to(queue.arn), **to(queue.arn, "OnSuccess")})
    send(function)
    record = queue.record()
    assert record["requestContext"]["condition"] == "Success"
    assert record["requestContext"]["approximateInvokeCount"] == 2
    assert record["responsePayload"] == 1.0
    assert "functionError" not in record["responseContext"]
    assert queue.is_empty()


def test_an_event_that_becomes_too_old_is_given_up(local_aws: Any, function: Any, queue: Queue, quick: Clock) -> None:
    create(local_aws, FAIL, "sqs:SendMessage")
    settings(function, MaximumEventAgeInSeconds=60, DestinationConfig=to(queue.arn))
    send(function)
    context = queue.record()["requestContext"]
    assert (context["condition"], context["approximateInvokeCount"]) == ("EventAgeExceeded", 1)
    assert tries(local_aws) == 1


def test_an_event_for_which_there_is_never_room_becomes_too_old(
    local_aws: Any, function: Any, queue: Queue, quick: Clock
) -> None:
    create(local_aws, "import time\ndef handler(event, context): time.sleep(event)", "sqs:SendMessage", Timeout=60)
    function.api.put_function_concurrency(FunctionName="function", ReservedConcurrentExecutions=1)
    settings(function, MaximumEventAgeInSeconds=60, DestinationConfig=to(queue.arn))
    send(function, 2)
    local_aws.eventually(lambda: function.environments() == (1, 1))
    request_id = send(function, 0)
    context = queue.record()["requestContext"]
    assert (context["requestId"], context["condition"]) == (request_id, "EventAgeExceeded")
    assert context["approximateInvokeCount"] == 0


def test_a_function_with_nothing_reserved_takes_no_event(local_aws: Any, function: Any, queue: Queue) -> None:
    create(local_aws, ECHO, "sqs:SendMessage")
    function.api.put_function_concurrency(FunctionName="function", ReservedConcurrentExecutions=0)
    settings(function, DestinationConfig=to(queue.arn))
    send(function, 1)
    record = queue.record()
    assert record["requestContext"]["condition"] == "ZeroReservedConcurrency"
    assert "responseContext" not in record


def test_a_topic_is_told(local_aws: Any, function: Any, queue: Queue) -> None:
    create(local_aws, ECHO, "sns:Publish")
    sns = local_aws.client("sns")
    topic = sns.create_topic(Name="topic")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue.arn)
    settings(function, DestinationConfig=to(topic, "OnSuccess"))
    request_id = send(function, [1])
    record = json.loads(queue.record()["Message"])
    assert (record["requestContext"]["requestId"], record["responsePayload"]) == (request_id, [1])


def test_another_function_is_told(local_aws: Any, function: Any) -> None:
    create(local_aws, ECHO, "lambda:InvokeFunction")
    source = "import json\ndef handler(event, context): print('told', json.dumps(event['responsePayload']))"
    local_aws.create_function(source, name="other")
    settings(function, DestinationConfig=to(ARN.replace(":function:function", ":function:other"), "OnSuccess"))
    send(function, {"breed": "beagle"})
    local_aws.eventually(lambda: not waiting(local_aws))
    assert 'told {"breed": "beagle"}' in local_aws.logged("/aws/lambda/other")


def test_a_bucket_is_told(local_aws: Any, function: Any) -> None:
    create(local_aws, FAIL, "s3:PutObject", "s3:ListBucket")
    s3 = local_aws.client("s3")
    s3.create_bucket(Bucket="told")
    settings(function, MaximumRetryAttempts=0, DestinationConfig=to("arn:aws:s3:::told"))
    send(function, 1)
    [found] = local_aws.eventually(lambda: s3.list_objects_v2(Bucket="told").get("Contents"))
    assert found["Key"].startswith("aws/lambda/async/function/2")
    record = json.loads(s3.get_object(Bucket="told", Key=found["Key"])["Body"].read())
    assert record["requestContext"]["condition"] == "RetriesExhausted"


def test_a_destination_needs_the_roles_permission(local_aws: Any, function: Any, queue: Queue) -> None:
    create(local_aws, ECHO)
    error = function.refused(settings, function, DestinationConfig=to(queue.arn))["Error"]
    assert error == {
        "Code": "InvalidParameterValueException",
        "Message": f"The function's execution role does not have permissions to call SendMessage on {queue.arn}",
    }


def test_a_destination_that_the_role_may_no_longer_tell_is_not_told(
    local_aws: Any, function: Any, queue: Queue
) -> None:
    create(local_aws, ECHO, "sqs:SendMessage")
    settings(function, DestinationConfig=to(queue.arn, "OnSuccess"))
    local_aws.client("iam").delete_role_policy(RoleName="role", PolicyName="inline")
    send(function)
    local_aws.eventually(lambda: not waiting(local_aws))
    assert queue.is_empty()
    found = local_aws.client("cloudwatch").list_metrics(
        Namespace="AWS/Lambda", MetricName="DestinationDeliveryFailures"
    )
    assert found["Metrics"]


def test_a_dead_letter_queue_gets_the_event_itself(local_aws: Any, function: Any, queue: Queue) -> None:
    create(local_aws, FAIL, "sqs:SendMessage", DeadLetterConfig={"TargetArn": queue.arn})
    settings(function, MaximumRetryAttempts=0)
    request_id = send(function, {"a": 1})
    message = queue.next()
    assert json.loads(message["Body"]) == {"a": 1}
    told = {name: attribute["StringValue"] for name, attribute in message["MessageAttributes"].items()}
    assert told == {"RequestID": request_id, "ErrorCode": "200", "ErrorMessage": "breed"}


def test_a_dead_letter_queue_needs_the_roles_permission(local_aws: Any, function: Any, queue: Queue) -> None:
    error = function.refused(create, local_aws, FAIL, DeadLetterConfig={"TargetArn": queue.arn})["Error"]
    assert error == {
        "Code": "InvalidParameterValueException",
        "Message": "The provided execution role does not have permissions to call SendMessage on SQS",
    }


def test_an_alias_has_settings_of_its_own(local_aws: Any, function: Any, queue: Queue, quick: Clock) -> None:
    create(local_aws, FAIL, "sqs:SendMessage", Publish=True)
    function.api.create_alias(FunctionName="function", Name="live", FunctionVersion="1")
    function.api.put_function_event_invoke_config(
        FunctionName="function", Qualifier="live", MaximumRetryAttempts=0, DestinationConfig=to(queue.arn)
    )
    send(function)  # to the unpublished version, whose failure nobody is told
    request_id = send(function, Qualifier="live")
    context = queue.record()["requestContext"]
    assert context["requestId"] == request_id
    assert context["functionArn"] == f"{ARN}:live"
    function.api.delete_alias(FunctionName="function", Name="live")
    left = function.api.list_function_event_invoke_configs(FunctionName="function")
    assert left["FunctionEventInvokeConfigs"] == []


def test_settings_are_replaced_changed_and_removed(local_aws: Any, function: Any, queue: Queue) -> None:
    create(local_aws, ECHO, "sqs:SendMessage")

    def told() -> tuple[Any, ...]:
        answer = function.api.get_function_event_invoke_config(FunctionName="function")
        names = ("MaximumRetryAttempts", "MaximumEventAgeInSeconds", "DestinationConfig")
        assert answer["FunctionArn"] == f"{ARN}:$LATEST"
        return tuple(answer.get(name) for name in names)

    nowhere: dict[str, Any] = {"OnSuccess": {}, "OnFailure": {}}
    settings(function, MaximumRetryAttempts=1, MaximumEventAgeInSeconds=100)
    assert told() == (1, 100, nowhere)
    function.api.update_function_event_invoke_config(FunctionName="function", DestinationConfig=to(queue.arn))
    assert told() == (1, 100, {**nowhere, **to(queue.arn)})
    settings(function, MaximumRetryAttempts=2)
    assert told() == (2, None, nowhere)
    function.api.delete_function_event_invoke_config(FunctionName="function")
    error = function.refused(function.api.get_function_event_invoke_config, FunctionName="function")["Error"]
    assert error["Code"] == "ResourceNotFoundException"
    assert error["Message"] == f"The function {ARN}:$LATEST doesn't have an EventInvokeConfig"


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({}, "You must specify at least one of error handling or destination setting."),
        ({"DestinationConfig": to(ARN)}, "You can't specify the function as a destination for itself."),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    local_aws: Any, function: Any, wanted: dict[str, Any], message: str
) -> None:
    create(local_aws, ECHO)
    error = function.refused(settings, function, **wanted)["Error"]
    assert error == {"Code": "InvalidParameterValueException", "Message": message}


def test_the_events_of_a_function_that_is_deleted_are_dropped(local_aws: Any, function: Any, fast_clock: Clock) -> None:
    create(local_aws, FAIL)
    send(function)
    local_aws.eventually(lambda: tries(local_aws) == 1)
    function.api.delete_function(FunctionName="function")
    local_aws.eventually(lambda: not waiting(local_aws))
    assert tries(local_aws) == 1
