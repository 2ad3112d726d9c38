"""SageMaker training jobs: their operations, and the jobs that run.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from werkzeug.wrappers import Response

from whippet.local.calls import AwsError, Call, answer, service_model
from whippet.local.jobs.channels import ChannelError, find_objects, read_channels
from whippet.local.jobs.listing import Summary, page
from whippet.local.jobs.metrics import MetricReader
from whippet.local.jobs.programs import read_program
from whippet.local.jobs.records import TrainingJob, regions, training_jobs
from whippet.local.jobs.run import DEFAULT_MAX_RUNTIME, Context, Listener, TrainingRun
from whippet.local.jobs.storage import Location, Storage
from whippet.local.jobs.validation import check
from whippet.local.services import Forward, Handlers
from whippet.local.settings import ACCOUNT

#: What ended jobs say after local AWS itself was ended; AWS, which does not end, has nothing like it.
INTERRUPTED = "InternalServerError: local AWS ended while the job ran."

#: Instances of one job.
MAX_INSTANCES = 20

SUMMARY_MEMBERS = (
    "TrainingJobName",
    "TrainingJobArn",
    "CreationTime",
    "TrainingEndTime",
    "LastModifiedTime",
    "TrainingJobStatus",
    "SecondaryStatus",
)


class TrainingJobs:
    """All training jobs of local AWS.

    Nothing limits how many run at once, since SageMaker starts each on instances of its own: on one machine they share
    its processors.

    Args:
        context: what they share.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._runs: dict[tuple[str, str], TrainingRun] = {}
        self._lock = threading.Lock()

    def handlers(self) -> Handlers:
        """The operations that are answered here."""
        return {
            ("sagemaker", "CreateTrainingJob"): self.create,
            ("sagemaker", "DeleteTrainingJob"): self.delete,
            ("sagemaker", "DescribeTrainingJob"): self.describe,
            ("sagemaker", "ListTrainingJobs"): self.list_jobs,
            ("sagemaker", "StopTrainingJob"): self.stop_job,
            ("sagemaker", "UpdateTrainingJob"): self.update,
        }

    def create(self, call: Call, forward: Forward) -> Response:
        """CreateTrainingJob: the record at once, what it runs in the background."""
        check(call)
        job = self.start(call.region, call.params)
        return answer(call, {"TrainingJobArn": job.arn})

    def describe(self, call: Call, forward: Forward) -> Response:
        """DescribeTrainingJob."""
        return answer(call, self._find(call).description)

    def list_jobs(self, call: Call, forward: Forward) -> Response:
        """ListTrainingJobs."""
        check(call)
        found, token = page(
            [_summary(job) for job in list(training_jobs(call.region).values())],
            call.params,
            {
                "CreationTime": lambda one: one["CreationTime"],
                "Name": lambda one: one["TrainingJobName"],
                "Status": lambda one: one["TrainingJobStatus"],
            },
            "CreationTime",
        )
        return answer(call, {"TrainingJobSummaries": found, "NextToken": token})

    def stop_job(self, call: Call, forward: Forward) -> Response:
        """StopTrainingJob: SIGTERM, time to save a model, SIGKILL; what is there then is stored."""
        job = self._find(call)
        if not self.interrupt(job):
            raise AwsError(
                "ValidationException",
                f"The request was rejected because the training job is in status {job.training_job_status}.",
            )
        return answer(call)

    def update(self, call: Call, forward: Forward) -> Response:
        """UpdateTrainingJob: recorded, as there is neither a profiler nor a warm pool here."""
        check(call)
        job = self._find(call)
        changes = {name: value for name, value in call.params.items() if name != "TrainingJobName"}
        if "ResourceConfig" in changes:
            changes["ResourceConfig"] = {**job.description["ResourceConfig"], **changes["ResourceConfig"]}
        changes["LastModifiedTime"] = self._context.clock.now()
        if run := self._runs.get((job.region, job.training_job_name)):
            run.amend(changes)
        else:
            job.description = {**job.description, **changes}
        return answer(call, {"TrainingJobArn": job.arn})

    def delete(self, call: Call, forward: Forward) -> Response:
        """DeleteTrainingJob, of one that has ended."""
        job = self._find(call)
        if not job.is_over:
            raise AwsError(
                "ResourceInUse",
                f"The training job {job.arn} is in status {job.training_job_status} and cannot be deleted.",
            )
        training_jobs(call.region).pop(job.training_job_name, None)
        return answer(call)

    def start(
        self,
        region: str,
        params: Mapping[str, Any],
        tuning_job_arn: str | None = None,
        listener: Listener | None = None,
    ) -> TrainingJob:
        """Starts a training job.

        Args:
            region: where.
            params: those of CreateTrainingJob.
            tuning_job_arn: the tuning job that it is a trial of.
            listener: is told of it.

        Raises:
            AwsError: what CreateTrainingJob answers then.
        """
        name = params["TrainingJobName"]
        job = self._record(region, params, tuning_job_arn)
        self.validate(region, job.description)
        listener = listener or Listener()

        def on_end() -> None:
            with self._lock:  # by now another job may have its name
                if self._runs.get((region, name)) is run:
                    del self._runs[region, name]
            listener.on_end()

        run = TrainingRun(job, self._context, Listener(listener.on_metric, on_end))
        with self._lock:
            if name in training_jobs(region):
                raise AwsError(
                    "ResourceInUse",
                    "Job name must be unique within an AWS account and region, and a job with this name already "
                    f"exists ({job.arn})",
                )
            training_jobs(region)[name] = job
            self._runs[region, name] = run
            run.start()
        return job

    def validate(self, region: str, description: Mapping[str, Any]) -> None:
        """Checks what a job is asked to do, as far as that can be known beforehand.

        Raises:
            AwsError: ValidationException, or ResourceLimitExceeded.
        """
        try:
            _check_support(description)
            _check_limit(description["ResourceConfig"]["InstanceCount"])
            read_program(description, self._context.settings.training_command)
            algorithm = description["AlgorithmSpecification"]
            MetricReader(algorithm.get("MetricDefinitions", []))
            storage = Storage(description["RoleArn"])
            for channel in read_channels(description.get("InputDataConfig", []), algorithm["TrainingInputMode"]):
                find_objects(channel, storage, description["RoleArn"], region)
        except (ValueError, ChannelError) as error:
            raise AwsError("ValidationException", str(error)) from None

    def interrupt(self, job: TrainingJob) -> bool:
        """Has a job end early; whether it was under way."""
        run = self._runs.get((job.region, job.training_job_name))
        return run is not None and run.job is job and run.stop()

    def status(self) -> list[dict[str, Any]]:
        """The jobs that run, for `whippet local status`."""
        return [
            {"name": run.job.training_job_name, "status": run.job.description["SecondaryStatus"], "pids": run.pids}
            for run in list(self._runs.values())
            if not run.job.is_over
        ]

    def resume(self) -> None:
        """Ends, on record, what ran when local AWS ended."""
        self._context.remove_leftovers()
        for region in regions():
            if found := [job for job in training_jobs(region).values() if not job.is_over]:
                for job in found:
                    now = self._context.clock.now()
                    job.enter("Failed", now, FailureReason=INTERRUPTED, TrainingEndTime=now)
                self._context.state.changed("sagemaker", region)

    def stop(self) -> None:
        """Ends every process."""
        while runs := list(self._runs.values()):
            enders = [threading.Thread(target=run.abandon) for run in runs]
            for ender in enders:
                ender.start()
            for ender in enders:
                ender.join()

    def _find(self, call: Call) -> TrainingJob:
        check(call)
        job = training_jobs(call.region).get(call.params["TrainingJobName"])
        if job is None:
            raise AwsError("ValidationException", "Requested resource not found.")
        return job

    def _record(self, region: str, params: Mapping[str, Any], tuning_job_arn: str | None) -> TrainingJob:
        name, now = params["TrainingJobName"], self._context.clock.now()
        model = "model" if params["OutputDataConfig"].get("CompressionType") == "NONE" else "model.tar.gz"
        artifacts = Location.parse(params["OutputDataConfig"]["S3OutputPath"]) / name / "output" / model
        description: dict[str, Any] = {
            "StoppingCondition": {"MaxRuntimeInSeconds": DEFAULT_MAX_RUNTIME},
            "EnableNetworkIsolation": False,
            "EnableInterContainerTrafficEncryption": False,
            "EnableManagedSpotTraining": False,
            **{member: value for member, value in params.items() if member in _described() and value is not None},
            "TrainingJobArn": f"arn:aws:sagemaker:{region}:{ACCOUNT}:training-job/{name}",
            "TrainingJobStatus": "InProgress",
            "ModelArtifacts": {"S3ModelArtifacts": str(artifacts)},
            "CreationTime": now,
        }
        if tuning_job_arn:
            description["TuningJobArn"] = tuning_job_arn
        job = TrainingJob(region, list(params.get("Tags") or []), description)
        job.enter("Starting", now)
        return job


def _described() -> set[str]:
    """What DescribeTrainingJob tells of what CreateTrainingJob is given."""
    model = service_model("sagemaker")
    assert model is not None  # noqa: S101 - botocore has it
    shape = model.operation_model("DescribeTrainingJob").output_shape
    assert shape is not None  # noqa: S101 - it is not empty
    return set(shape.members)


def _check_support(description: Mapping[str, Any]) -> None:
    resources = description.get("ResourceConfig")
    if not resources or "InstanceType" not in resources or not resources.get("InstanceCount"):
        raise ValueError("Local AWS needs InstanceType and InstanceCount in ResourceConfig.")
    if "AlgorithmName" in description["AlgorithmSpecification"]:
        raise ValueError("Local AWS has no algorithm resources: AlgorithmName is not supported.")
    local = description.get("CheckpointConfig", {}).get("LocalPath", "/opt/ml/checkpoints")
    if not local.startswith("/opt/ml/") or ".." in local.split("/"):
        raise ValueError(f"Local AWS keeps checkpoints below /opt/ml alone: {local} is not supported.")


def _check_limit(instances: int) -> None:
    """Holds a job to SageMaker's default quota; the words are those of its others.

    https://docs.aws.amazon.com/general/latest/gr/sagemaker.html
    """
    if instances > MAX_INSTANCES:
        raise AwsError(
            "ResourceLimitExceeded",
            f"The account-level service limit 'Maximum number of instances per training job' is {MAX_INSTANCES} "
            f"Instances, with current utilization of 0 Instances and a request delta of {instances} Instances. Please "
            "contact AWS support to request an increase for this limit.",
        )


def _summary(job: TrainingJob) -> Summary:
    return {name: job.description[name] for name in SUMMARY_MEMBERS if name in job.description}
