"""Makes fleets: fetches the models of a configuration and says how their containers are started."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from whippet.local.clock import Clock
from whippet.local.endpoints.configuration import Configuration, Variant
from whippet.local.endpoints.fleet import Fleet, Group
from whippet.local.endpoints.instances import Launch
from whippet.local.jobs.storage import Location, Storage, StorageError
from whippet.local.settings import Settings


class LaunchError(Exception):
    """A fleet cannot be made; the text says why."""


def log_group(endpoint_name: str) -> str:
    """Where the containers of an endpoint log."""
    return f"/aws/sagemaker/Endpoints/{endpoint_name}"


def make_fleet(
    settings: Settings, clock: Clock, region: str, endpoint_name: str, configuration: Configuration
) -> Fleet:
    """Makes a fleet, of which nothing runs as yet.

    Raises:
        LaunchError: a model cannot be read.
    """
    folder = settings.work / "endpoints" / uuid.uuid4().hex
    try:
        groups = [
            Group(variant, _launch(settings, clock, region, endpoint_name, variant, folder), variant.weight)
            for variant in configuration.variants
        ]
    except LaunchError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Fleet(configuration, groups, folder)


def _launch(
    settings: Settings, clock: Clock, region: str, endpoint_name: str, variant: Variant, folder: Path
) -> Launch:
    archive = folder / variant.name / "model.tar.gz"
    _fetch(variant, archive)
    return Launch(
        variant=variant.name,
        command=tuple(word.replace("{model}", str(archive)) for word in settings.container_command),
        environment={"AWS_REGION": region, **variant.environment},
        folder=archive.parent,
        role_arn=variant.role_arn,
        region=region,
        log_group=log_group(endpoint_name),
        startup_timeout=variant.startup_timeout or settings.health_check_timeout,
        invocation_timeout=settings.invocation_timeout,
        ping_interval=settings.health_check_interval,
        grace=settings.stop_grace,
        clock=clock,
    )


def _fetch(variant: Variant, path: Path) -> None:
    """Copies a model archive out of S3, as the model's execution role."""
    try:
        Storage(variant.role_arn).fetch(Location.parse(variant.model_data), path)
    except StorageError as error:
        raise LaunchError(
            f"Could not access model data at {variant.model_data} for production variant {variant.name}. Please ensure "
            f'that the role "{variant.role_arn}" exists and that its policies allow "s3:GetObject", and that the '
            f"object exists. {error}"
        ) from None
