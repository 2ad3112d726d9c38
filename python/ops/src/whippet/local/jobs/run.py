"""Runs one training job: fetches its input, runs its program, stores its output, and tells how it ended.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whippet.local import processes
from whippet.local.access.principals import end_session, session_environment
from whippet.local.clock import Clock
from whippet.local.endpoints.instances import free_port
from whippet.local.jobs import artifacts, environment
from whippet.local.jobs.artifacts import Checkpoints
from whippet.local.jobs.channels import Channel, ChannelError, Data, find_objects, read_channels, share_of
from whippet.local.jobs.containers import Container
from whippet.local.jobs.environment import Cluster, Layout
from whippet.local.jobs.metrics import MetricReader
from whippet.local.jobs.programs import ProgramError, read_program
from whippet.local.jobs.records import MAX_FAILURE_REASON, TrainingJob
from whippet.local.jobs.storage import Location, Storage, StorageError
from whippet.local.logs import LogStream
from whippet.local.monitoring.metrics import Metrics
from whippet.local.settings import Settings
from whippet.local.state import State

log = logging.getLogger(__name__)

#: https://docs.aws.amazon.com/sagemaker/latest/dg/training-metrics.html
NAMESPACE = "/aws/sagemaker/TrainingJobs"
LOG_GROUP = "/aws/sagemaker/TrainingJobs"
#: The default of MaxRuntimeInSeconds,
#: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_StoppingCondition.html
DEFAULT_MAX_RUNTIME = 86_400
DEFAULT_CHECKPOINTS = "/opt/ml/checkpoints"
#: Seconds between two looks at a job's checkpoints; SageMaker copies them "in near real time".
CHECKPOINT_INTERVAL = 2.0
#: Seconds that a process gets to end when local AWS itself stops.
ABANDON_GRACE = 2.0
#: The channel in which the SDK's ModelTrainer brings its start script, which names /opt/ml.
DRIVERS_CHANNEL = "sm_drivers"


class JobError(Exception):
    """The job has failed; the text is its FailureReason."""


class AbandonedError(Exception):
    """Local AWS stops, so that nobody waits for the job any more."""


@dataclass(frozen=True)
class Context:
    """What all jobs share.

    Attributes:
        settings: how local AWS runs.
        clock: tells when something happens.
        metrics: takes the values of metrics.
        state: saves records.
        data: keeps input.
    """

    settings: Settings
    clock: Clock
    metrics: Metrics
    state: State
    data: Data

    @property
    def jobs(self) -> Path:
        """Holds a folder for each job that runs."""
        return self.settings.work / "jobs"

    @property
    def cache(self) -> Path:
        """XDG_CACHE_HOME of every job: what one has computed or fetched, the next one finds."""
        return self.settings.work / "cache"

    def make_temporary(self) -> Path:
        """A folder for the temporary files of a job; not below `work`, since the path of a socket must be short."""
        return Path(tempfile.mkdtemp(prefix=self._temporary_prefix))

    def remove_leftovers(self) -> None:
        """Removes the temporary files of jobs that ended with a local AWS that was killed."""
        for folder in Path(tempfile.gettempdir()).glob(f"{self._temporary_prefix}*"):
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def _temporary_prefix(self) -> str:
        return f"whippet-{self.settings.port}-job-"  # no two run on one port


@dataclass(frozen=True)
class Listener:
    """What is told of a job while it runs.

    Attributes:
        on_metric: gets the name and value of a metric, as the program tells it.
        on_end: is called once the job has ended.
    """

    on_metric: Callable[[str, float], None] = lambda name, value: None
    on_end: Callable[[], None] = lambda: None


class TrainingRun:
    """A training job that runs.

    Args:
        job: its record.
        context: what it shares with others.
        listener: is told of it.
    """

    def __init__(self, job: TrainingJob, context: Context, listener: Listener) -> None:
        self.job = job
        self._context = context
        self._listener = listener
        self._description = job.description  # as it was asked for
        self._folder = context.jobs / uuid.uuid4().hex[:12]
        algorithm, resources = self._description["AlgorithmSpecification"], self._description["ResourceConfig"]
        self._reader = MetricReader(algorithm.get("MetricDefinitions", []))
        self._program = read_program(self._description, context.settings.training_command)
        self._channels = read_channels(self._description.get("InputDataConfig", []), algorithm["TrainingInputMode"])
        self._configs = {channel.name: channel.config for channel in self._channels}
        hosts = environment.host_names(resources["InstanceCount"])
        self._cluster = Cluster(resources["InstanceType"], hosts, free_port())
        self._final: dict[str, dict[str, Any]] = {}
        self._containers: list[Container] = []
        self._checkpoints: list[Checkpoints] = []
        self._credentials: dict[str, str] = {}
        self._changed = threading.Event()
        self._is_stopped = False
        self._is_abandoned = False
        self._started = 0.0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"training-{job.training_job_name}")

    @property
    def pids(self) -> list[int]:
        """The processes that it has started."""
        return [container.pid for container in self._containers if container.pid is not None]

    def start(self) -> None:
        """Starts it, in the background."""
        self._thread.start()

    def stop(self) -> bool:
        """Has the program end as StopTrainingJob does; whether it was under way."""
        with self._lock:
            if self.job.training_job_status != "InProgress":
                return False
            self._is_stopped = True
            self._enter("Stopping")
        self._changed.set()
        return True

    def amend(self, changes: dict[str, Any]) -> None:
        """Changes members of its description."""
        with self._lock:
            self.job.description = {**self.job.description, **changes}

    def abandon(self) -> None:
        """Ends it without a trace in its record, and waits until nothing of it is left."""
        self._is_abandoned = True
        self._changed.set()
        _stop_all(self._containers, min(ABANDON_GRACE, self._context.settings.job_stop_grace))
        self._thread.join()

    def _run(self) -> None:
        try:
            self._settle(*self._outcome())
        except AbandonedError:
            pass
        except Exception:
            log.exception("training job %s", self.job.training_job_name)
            self._settle("Failed", "InternalServerError: local AWS failed; its log says why.")
        finally:
            self._listener.on_end()

    def _outcome(self) -> tuple[str, str]:
        """Runs it, and clears up; the secondary status that it ends with, and the reason where it has failed."""
        temporary = self._context.make_temporary()
        try:
            self._started = time.monotonic()
            # From here on the instances are there, and billed.
            self._transition("Downloading", TrainingStartTime=self._context.clock.now())
            self._prepare()
            if not self._is_stopped:
                self._transition("Training")
                self._launch(temporary)
            end = self._supervise()
            self._transition("Uploading")
            self._upload()
        except JobError as error:
            return "Failed", str(error)
        finally:
            _stop_all(self._containers, 0)
            end_session(self._credentials)
            for folder in (self._folder, temporary):
                shutil.rmtree(folder, ignore_errors=True)
        return end, ""

    def _prepare(self) -> None:
        """Brings the channels, earlier checkpoints and the program to every instance."""
        storage = Storage(self.job.role_arn)
        for number, host in enumerate(self._cluster.hosts):
            layout = Layout(self._folder / host)
            layout.make()
            environment.write_config(layout, host, self._cluster, self._hyperparameters(layout), self._configs)
            with _told("Data download failed"):
                for channel in self._channels:
                    self._place(channel, storage, layout, number)
            if checkpoint := self._description.get("CheckpointConfig"):
                local = Path(layout.localise(checkpoint.get("LocalPath", DEFAULT_CHECKPOINTS)))
                checkpoints = Checkpoints(local, Location.parse(checkpoint["S3Uri"]))
                with _told("Checkpoint download failed"):
                    checkpoints.download(storage)
                self._checkpoints.append(checkpoints)
            try:
                self._program.fetch(layout, storage)
            except ProgramError as error:
                raise JobError(f"AlgorithmError: {error}, exit code: 1") from None
            self._containers.append(Container(host, layout, self._log_stream(host), self._on_lines, self._changed.set))

    def _place(self, channel: Channel, storage: Storage, layout: Layout, number: int) -> None:
        """Puts the objects of a channel where an instance looks for them, until the job is stopped."""
        folder = layout.data / channel.name
        folder.mkdir()
        objects = find_objects(channel, storage, self.job.role_arn, self.job.region)
        if channel.is_sharded:
            objects = share_of(objects, number, len(self._cluster.hosts))
        for _ in self._context.data.place(objects, storage, folder):
            self._check_abandoned()
            if self._is_stopped:
                return
        if channel.name == DRIVERS_CHANNEL:
            _localise_files(folder, layout)

    def _hyperparameters(self, layout: Layout) -> dict[str, str]:
        given: dict[str, str] = self._description.get("HyperParameters", {})
        return {name: layout.localise(value) for name, value in given.items()}

    def _launch(self, temporary: Path) -> None:
        # A job without a network gets none: https://docs.aws.amazon.com/sagemaker/latest/dg/mkt-algo-model-internet-free.html
        if not self._description["EnableNetworkIsolation"]:
            self._credentials = {
                **session_environment(self.job.role_arn, "SageMaker", self.job.region),
                "AWS_ENDPOINT_URL": self._context.settings.url,
            }
        for container in self._containers:
            self._check_abandoned()
            command, folder = self._program.command(container.layout)
            try:
                container.start(command, self._environment(container, temporary), folder)
            except OSError as error:
                raise JobError(f"AlgorithmError: {error.strerror}: {command[0]}, exit code: 127") from None

    def _environment(self, container: Container, temporary: Path) -> dict[str, str]:
        job, settings, layout = self.job, self._context.settings, container.layout
        hyperparameters = environment.decode(self._hyperparameters(layout))
        given: dict[str, str] = self._description.get("Environment", {})
        base = processes.minimal_environment(layout.root)
        packages = str(layout.root / "packages")
        self._context.cache.mkdir(parents=True, exist_ok=True)
        return {
            **base,
            "PATH": os.pathsep.join((str(Path(settings.training_command[0]).parent), base.get("PATH", os.defpath))),
            "PYTHONPATH": os.pathsep.join((str(layout.code), packages)),
            "PYTHONUNBUFFERED": "1",
            # What a program installs is the job's own, and leaves the host's packages as they are.
            "PIP_TARGET": packages,
            "TMPDIR": str(temporary),
            "XDG_CACHE_HOME": str(self._context.cache),
            **{name: layout.localise(value) for name, value in given.items()},
            **environment.variables(
                layout, container.host, self._cluster, hyperparameters, self._configs, job.training_job_name
            ),
            **environment.distributed_variables(container.host, self._cluster, hyperparameters),
            "CURRENT_HOST": container.host,
            "TRAINING_JOB_NAME": job.training_job_name,
            "TRAINING_JOB_ARN": job.arn,
            "AWS_REGION": job.region,
            "AWS_DEFAULT_REGION": job.region,
            **self._credentials,
        }

    def _supervise(self) -> str:
        """Waits until all processes have ended, or ends them; the secondary status that follows.

        Raises:
            JobError: one has failed.
        """
        limit = self._description["StoppingCondition"].get("MaxRuntimeInSeconds", DEFAULT_MAX_RUNTIME)
        while True:
            self._changed.clear()
            self._check_abandoned()
            if self._is_stopped:
                return self._end_processes("Stopped", self._context.settings.job_stop_grace)
            codes = {container: container.exit_code for container in self._containers}
            if failed := next((container for container, code in codes.items() if code), None):
                self._end_processes("Failed", 0)
                self._sync_checkpoints()
                raise JobError(self._failure_of(failed))
            if all(code == 0 for code in codes.values()):
                return self._end_processes("Completed", 0)
            left = self._started + limit - time.monotonic()
            if left <= 0:
                return self._end_processes("MaxRuntimeExceeded", self._context.settings.job_stop_grace)
            self._sync_checkpoints()
            self._changed.wait(min(left, CHECKPOINT_INTERVAL) if self._checkpoints else left)

    def _end_processes(self, status: str, grace: float) -> str:
        """Ends what is left of the processes, and takes the rest of their logs; the status that it was given."""
        _stop_all(self._containers, grace)
        self._check_abandoned()
        return status

    def _failure_of(self, container: Container) -> str:
        """The reason of a failure: what the program says of it, else what its exit code says.

        https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-output.html
        """
        code = container.exit_code or 1
        try:
            with (container.layout.output / "failure").open("rb") as file:
                said = file.read(MAX_FAILURE_REASON).decode(errors="replace").strip()
        except OSError:
            said = ""
        reason = f"AlgorithmError: {said or self._program.explain(code, container.tail)}"
        # The exit code comes last, and the limit must not cut it off.
        end = f", exit code: {code}"
        return reason[: MAX_FAILURE_REASON - len(end)] + end

    def _upload(self) -> None:
        config = self._description["OutputDataConfig"]
        output = Location.parse(config["S3OutputPath"]) / self.job.training_job_name / "output"
        is_packed = config.get("CompressionType", "GZIP") == "GZIP"
        storage, kms_key = Storage(self.job.role_arn), config.get("KmsKeyId")
        layouts = [container.layout for container in self._containers]
        with _told("Artifact upload failed"):
            artifacts.upload([one.model for one in layouts], storage, output, "model", is_packed, kms_key)
            artifacts.upload([one.output_data for one in layouts], storage, output, "output", is_packed, kms_key)
        self._sync_checkpoints()
        self._context.state.changed("s3", self.job.region)

    def _sync_checkpoints(self) -> None:
        if self._checkpoints:
            storage = Storage(self.job.role_arn)
            with _told("Checkpoint upload failed"):
                for checkpoints in self._checkpoints:
                    checkpoints.upload(storage)

    def _settle(self, end: str, reason: str) -> None:
        """Writes into the record how it has ended."""
        if self._is_abandoned:
            return
        seconds = max(1, round(time.monotonic() - self._started))
        with self._lock:
            self._enter(
                end,
                **({"FailureReason": reason[:MAX_FAILURE_REASON]} if reason else {}),
                TrainingEndTime=self._context.clock.now(),
                TrainingTimeInSeconds=seconds,
                BillableTimeInSeconds=seconds,
            )
        self._context.state.changed("logs", self.job.region)
        if reason:
            log.warning("training job %s: %s", self.job.training_job_name, reason)

    def _transition(self, secondary: str, **members: Any) -> None:
        with self._lock:
            self._check_abandoned()
            self._enter(secondary, **members)

    def _enter(self, secondary: str, **members: Any) -> None:
        final = {"FinalMetricDataList": list(self._final.values())} if self._final else {}
        self.job.enter(secondary, self._context.clock.now(), **final, **members)
        self._context.state.changed("sagemaker", self.job.region)

    def _check_abandoned(self) -> None:
        if self._is_abandoned:
            raise AbandonedError

    def _log_stream(self, host: str) -> LogStream:
        clock = self._context.clock
        stream = f"{self.job.training_job_name}/{host}-{int(clock.time())}"
        return LogStream(self.job.role_arn, self.job.region, LOG_GROUP, stream, clock)

    def _on_lines(self, lines: list[str]) -> None:
        for name, value in self._reader.read(lines):
            now = self._context.clock.now()
            self._final = {**self._final, name: {"MetricName": name, "Value": value, "Timestamp": now}}
            dimensions = {"TrainingJobName": self.job.training_job_name}
            self._context.metrics.put(self.job.region, NAMESPACE, name, dimensions, value)
            self._listener.on_metric(name, value)


def _stop_all(containers: list[Container], grace: float) -> None:
    """Ends the processes of all instances at once."""
    stoppers = [threading.Thread(target=container.stop, args=(grace,)) for container in containers]
    for stopper in stoppers:
        stopper.start()
    for stopper in stoppers:
        stopper.join()


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Says with what S3 was in the way."""
    try:
        yield
    except (StorageError, ChannelError) as error:
        raise JobError(f"ClientError: {what}:{error}") from None


def _localise_files(folder: Path, layout: Layout) -> None:
    """Has the texts in a folder name the job's folder where they name /opt/ml."""
    for path in folder.rglob("*"):
        with contextlib.suppress(UnicodeDecodeError, IsADirectoryError):
            text = path.read_text(encoding="utf-8")
            if "/opt/ml" in text:
                path.unlink()  # the file itself is one with those of other jobs
                path.write_text(layout.localise(text), encoding="utf-8")
