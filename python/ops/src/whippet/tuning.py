"""Searches hyperparameters with a SageMaker tuning job: the same ranges and the same training program as on a laptop.

The tuning job sees training and validation photos only; a last training job, with the best values, sees the test photos
too and measures on them once. A folder without splits is split by the training program, and has no such protection.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from whippet.deployment import Deployment
from whippet.errors import WhippetError
from whippet.project import Project

#: Features are computed on the processor.
INSTANCE_TYPE = "ml.c5.xlarge"
#: AWS's PyTorch image; the account is the same in most regions, and --image names another:
#: https://docs.aws.amazon.com/sagemaker/latest/dg-ecr-paths/sagemaker-algo-docker-registry-paths.html
IMAGE = "763104351884.dkr.ecr.{region}.amazonaws.com/pytorch-training:2.6-cpu-py312"
#: How often a call is tried: a search of an hour must not end with one that was throttled.
ATTEMPTS = 5
#: Seconds after which a training job is stopped.
TIME_LIMIT = 3600
#: Results of AWS that no more waiting changes.
OVER = frozenset({"Completed", "Failed", "Stopped", "DeleteFailed"})
PHOTOS = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp"})
TEST_SPLITS = frozenset({"test", "testing"})


@dataclass(frozen=True)
class Place:
    """Where jobs run.

    Attributes:
        deployment: the environment.
        region: of its account.
        bucket: holds photos, package and results.
        role: ARN of the role that SageMaker takes.
        image: of the training jobs.
        instance_type: of the training jobs.
        kms_key: encrypts what they leave; None is AWS's own key.
    """

    deployment: Deployment
    region: str
    bucket: str
    role: str
    image: str
    instance_type: str
    kms_key: str | None = None

    def client(self, service: str) -> Any:
        """A boto3 client."""
        return self.deployment.client(service, self.region, ATTEMPTS)

    @property
    def seconds_between_looks(self) -> float:
        """How long to wait before the next look at a job."""
        return 1.0 if self.deployment.is_local else 15.0


@dataclass(frozen=True)
class Best:
    """What a search on SageMaker has found.

    Attributes:
        tuning_job: its name.
        training_job: the best one's name.
        objective: its metric.
        hyperparameters: by the names of training's flags.
        final_job: the training with the best values on all photos.
        model: S3 address of its archive.
        folder: holds best.yaml and best.tfvars.json.
    """

    tuning_job: str
    training_job: str
    objective: float
    hyperparameters: dict[str, str]
    final_job: str
    model: str
    folder: Path


def find_place(
    deployment: Deployment, bucket: str | None, role: str | None, image: str | None, instance_type: str
) -> Place:
    """Completes what was not said from what is deployed.

    Raises:
        WhippetError: neither says which bucket or role.
    """
    outputs = deployment.outputs if bucket is None else deployment.terraform.output()
    region = outputs.get("region", "us-east-1")
    bucket = bucket or outputs["artifacts_bucket"]
    role = role or outputs.get("training_job_role_arn")
    if role is None and deployment.is_local:
        role = rehearsal_role(deployment.client("iam", region), bucket)
    if role is None:
        raise WhippetError(
            "Say with --role which role SageMaker takes: one that it may assume, and that reads data/ and training/ "
            f"of {bucket} and writes runs/ (docs/tuning.md has its policy)."
        )
    return Place(
        deployment,
        region,
        bucket,
        role,
        image or IMAGE.format(region=region),
        instance_type,
        outputs.get("kms_key_arn"),
    )


def policy(bucket: str, partition: str = "aws") -> dict[str, Any]:
    """What the role of the jobs may do."""
    arn = f"arn:{partition}:s3:::{bucket}"
    allowed = [
        {"Action": ["s3:ListBucket"], "Resource": [arn]},
        {"Action": ["s3:GetObject"], "Resource": [f"{arn}/data/*", f"{arn}/training/*"]},
        {"Action": ["s3:PutObject"], "Resource": [f"{arn}/runs/*"]},
        {
            "Action": ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"],
            "Resource": [f"arn:{partition}:logs:*:*:log-group:/aws/sagemaker/TrainingJobs*"],
        },
    ]
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **one} for one in allowed]}


def rehearsal_role(iam: Any, bucket: str, name: str = "whippet-tuning") -> str:
    """A role on local AWS that may do what jobs need; on AWS, roles are for Terraform and people to make."""
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "sagemaker.amazonaws.com"}}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    try:
        made = iam.get_role(RoleName=name)
    except iam.exceptions.NoSuchEntityException:
        made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)
    iam.put_role_policy(RoleName=name, PolicyName="jobs", PolicyDocument=json.dumps(policy(bucket)))
    return str(made["Role"]["Arn"])


def tune(place: Place, wanted: Mapping[str, Any], parallel: int, console: Console) -> Best:
    """Uploads what is not there yet, searches, trains with the best values, and writes them down.

    Args:
        place: where jobs run.
        wanted: what ``python -m whippet_training.tune DIR --sagemaker-ranges`` prints.
        parallel: training jobs at a time.
        console: where progress goes.

    Raises:
        WhippetError: there are no photos, or a job failed; the text is SageMaker's reason.
        KeyboardInterrupt: Ctrl-C, after the running job was told to stop. SystemExit likewise.
    """
    data = Path(wanted["Data"])
    photos = find_photos(data)
    prefix = f"data/{data.resolve().name}-{fingerprint(data, photos)}"
    package = build_package(place.deployment.project)
    package_key = f"training/{hashlib.sha256(package.read_bytes()).hexdigest()[:16]}/training.tar.gz"
    manifest_key = f"{prefix}.learning.manifest"
    learning = [name for name in photos if name.split("/")[0].lower() not in TEST_SPLITS]
    manifest = json.dumps([{"prefix": f"s3://{place.bucket}/{prefix}/"}, *learning]).encode()
    upload(place, f"{prefix}/", {f"{prefix}/{name}": data / name for name in photos}, console)
    upload(place, package_key, {package_key: package}, console)
    place.client("s3").put_object(Bucket=place.bucket, Key=manifest_key, Body=manifest)

    sagemaker = place.client("sagemaker")
    name = f"whippet-{datetime.now(UTC):%y%m%d-%H%M%S}"  # 32 characters at most
    static = {
        **wanted["StaticHyperParameters"],
        "sagemaker_program": "train.py",
        "sagemaker_submit_directory": f"s3://{place.bucket}/{package_key}",
    }
    definition = job_definition(place, name, ("ManifestFile", manifest_key), wanted["MetricDefinitions"])
    sagemaker.create_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name,
        HyperParameterTuningJobConfig=tuning_config(wanted, parallel),
        TrainingJobDefinition={"StaticHyperParameters": static, **definition},
    )
    described = follow_tuning(place, sagemaker, name, int(wanted["MaxNumberOfTrainingJobs"]), console)
    best = described["BestTrainingJob"]
    chosen = {flag: value.strip('"') for flag, value in best["TunedHyperParameters"].items()}
    hyperparameters = {**{k: v for k, v in wanted["StaticHyperParameters"].items() if k != "seed"}, **chosen}

    final = f"{name}-final"
    sagemaker.create_training_job(
        TrainingJobName=final,
        HyperParameters={**static, **chosen},
        **job_definition(place, name, ("S3Prefix", f"{prefix}/"), wanted["MetricDefinitions"]),
    )
    trained = follow_training(place, sagemaker, final, console)
    found = Best(
        tuning_job=name,
        training_job=best["TrainingJobName"],
        objective=best["FinalHyperParameterTuningJobObjectiveMetric"]["Value"],
        hyperparameters=hyperparameters,
        final_job=final,
        model=trained["ModelArtifacts"]["S3ModelArtifacts"],
        folder=Path(wanted["Run"]),
    )
    write_best(found, wanted["StaticHyperParameters"].get("seed", "0"))
    return found


def tuning_config(wanted: Mapping[str, Any], parallel: int) -> dict[str, Any]:
    """HyperParameterTuningJobConfig of a search."""
    trials = int(wanted["MaxNumberOfTrainingJobs"])
    limits = {"MaxNumberOfTrainingJobs": trials, "MaxParallelTrainingJobs": min(parallel, trials)}
    if wanted["MaxRuntimeInSeconds"]:
        limits["MaxRuntimeInSeconds"] = max(120, int(wanted["MaxRuntimeInSeconds"]))  # the least SageMaker takes
    ranges = {kind: ranges for kind, ranges in wanted["ParameterRanges"].items() if ranges}
    return {
        "Strategy": "Bayesian",
        "HyperParameterTuningJobObjective": wanted["HyperParameterTuningJobObjective"],
        "ResourceLimits": limits,
        "ParameterRanges": ranges,
        "RandomSeed": wanted["RandomSeed"],
    }


def job_definition(
    place: Place, name: str, source: tuple[str, str], metrics: Sequence[Mapping[str, str]]
) -> dict[str, Any]:
    """What a training job and the trials of a tuning job have in common.

    Args:
        place: where it runs.
        name: of the search; its results lie under it.
        source: S3DataType and key of the photos.
        metrics: MetricDefinitions.
    """
    kind, key = source
    output = {"S3OutputPath": f"s3://{place.bucket}/runs/{name}"}
    photos = {"S3DataType": kind, "S3Uri": f"s3://{place.bucket}/{key}", "S3DataDistributionType": "FullyReplicated"}
    return {
        "AlgorithmSpecification": {
            "TrainingImage": place.image,
            "TrainingInputMode": "File",
            "MetricDefinitions": list(metrics),
        },
        "RoleArn": place.role,
        "InputDataConfig": [{"ChannelName": "training", "DataSource": {"S3DataSource": photos}}],
        "OutputDataConfig": {**output, "KmsKeyId": place.kms_key} if place.kms_key else output,
        "ResourceConfig": {"InstanceType": place.instance_type, "InstanceCount": 1, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": TIME_LIMIT},
    }


def find_photos(data: Path) -> list[str]:
    """Paths of the photos below a folder, and of its manifest, with forward slashes; hidden ones excepted.

    Raises:
        WhippetError: there are none.
    """
    found = [
        path.relative_to(data).as_posix()
        for path in sorted(data.rglob("*"))
        if path.suffix.lower() in PHOTOS and path.is_file()
    ]
    found = [name for name in found if not any(part.startswith(".") for part in name.split("/"))]
    if not found:
        raise WhippetError(f"There are no photos in {data}: name a folder of SPLIT/CLASS/*.jpg photos.")
    return [*found, *(["manifest.csv"] if (data / "manifest.csv").is_file() else [])]


def fingerprint(data: Path, names: Sequence[str]) -> str:
    """Digests what the files are called and hold: under one key in S3 there is only ever one content."""
    digest = hashlib.sha256()
    with ThreadPoolExecutor() as pool:
        contents = pool.map(lambda name: hashlib.sha256((data / name).read_bytes()).digest(), names)
        for name, content in zip(names, contents, strict=True):
            digest.update(name.encode() + b"\0" + content)
    return digest.hexdigest()[:16]


def build_package(project: Project) -> Path:
    """Builds the training package.

    Raises:
        WhippetError: with the script's own line.
    """
    script = project.root / "scripts" / "build_training.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, cwd=project.root)
    if done.returncode:
        raise WhippetError(f"scripts/build_training.py failed: {done.stderr.strip()}")
    return project.training_package


def upload(place: Place, prefix: str, files: Mapping[str, Path], console: Console) -> None:
    """Uploads the files that are not there yet; each key below the prefix has one content only."""
    s3 = place.client("s3")
    there = {
        one["Key"]: one["Size"]
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=place.bucket, Prefix=prefix)
        for one in page.get("Contents", [])
    }
    missing = [key for key, path in files.items() if there.get(key) != path.stat().st_size]
    pool = ThreadPoolExecutor(16)
    try:
        with bar(console, "upload", len(missing)) as show:
            sent = pool.map(lambda key: s3.upload_file(str(files[key]), place.bucket, key), missing)
            for number, _ in enumerate(sent, 1):
                show(number, "upload")
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def bar(console: Console, description: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """Shows a progress bar on a terminal; yields the function that takes how far it is and what to say."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=total)
        yield lambda done, told: progress.update(task, completed=done, description=told)


def follow_tuning(place: Place, sagemaker: Any, name: str, trials: int, console: Console) -> dict[str, Any]:
    """Waits for a tuning job, and shows how far it is.

    Raises:
        WhippetError: it ended without a best training job.
    """

    def stop() -> None:
        sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)

    with bar(console, f"tuning job {name}", trials) as show, stopped_on_interrupt(stop, name, console):
        while True:
            described: dict[str, Any] = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
            counts = described["TrainingJobStatusCounters"]
            best = described.get("BestTrainingJob", {}).get("FinalHyperParameterTuningJobObjectiveMetric")
            told = f"tuning job {name}" + (f", best {best['MetricName']} {best['Value']:.4f}" if best else "")
            show(counts["Completed"] + counts["NonRetryableError"] + counts["Stopped"], told)
            if described["HyperParameterTuningJobStatus"] in OVER:
                break
            time.sleep(place.seconds_between_looks)
    if not described.get("BestTrainingJob", {}).get("FinalHyperParameterTuningJobObjectiveMetric"):
        jobs = sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
        reasons = [job.get("FailureReason") for job in jobs["TrainingJobSummaries"] if job.get("FailureReason")]
        reason = (reasons or [described.get("FailureReason", "no training job came to its end")])[0]
        raise WhippetError(f"The tuning job {name} found nothing: {reason}")
    return described


def follow_training(place: Place, sagemaker: Any, name: str, console: Console) -> dict[str, Any]:
    """Waits for a training job.

    Raises:
        WhippetError: it failed.
    """

    def stop() -> None:
        sagemaker.stop_training_job(TrainingJobName=name)

    with console.status(f"training job {name}"), stopped_on_interrupt(stop, name, console):
        while True:
            described: dict[str, Any] = sagemaker.describe_training_job(TrainingJobName=name)
            if described["TrainingJobStatus"] in OVER:
                break
            time.sleep(place.seconds_between_looks)
    if described["TrainingJobStatus"] != "Completed":
        raise WhippetError(f"The training job {name} failed: {described.get('FailureReason', 'it was stopped.')}")
    return described


@contextmanager
def stopped_on_interrupt(stop: Callable[[], None], name: str, console: Console) -> Iterator[None]:
    """Stops a job where Ctrl-C or SIGTERM ends the wait for it: left alone, it would go on costing money."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        stop()
        console.print(f"The job {name} was told to stop.")
        raise


def write_best(best: Best, seed: str) -> None:
    """Writes best.yaml for `whippet train`, and best.tfvars.json for the training instance, each in one step."""
    best.folder.mkdir(parents=True, exist_ok=True)
    lines = [
        f"# SageMaker tuning job {best.tuning_job}, training job {best.training_job}: objective {best.objective:.4f}.",
        "# Train with it:  whippet train DIR --hyperparameters FILE",
        *(f"{name}: {value}" for name, value in best.hyperparameters.items()),
    ]
    variables = {"training_hyperparameters": {**best.hyperparameters, "seed": seed}}
    for name, text in (("best.yaml", "\n".join(lines) + "\n"), ("best.tfvars.json", json.dumps(variables, indent=2))):
        with tempfile.TemporaryDirectory(dir=best.folder) as folder:
            Path(folder, name).write_text(text, encoding="utf-8")
            Path(folder, name).replace(best.folder / name)
