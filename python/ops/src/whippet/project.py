"""Where a checkout keeps what the commands read and write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from whippet.errors import WhippetError


@dataclass(frozen=True)
class Project:
    """A Whippet checkout; every path is below its root."""

    root: Path

    @property
    def build(self) -> Path:
        """Everything the commands make; safe to delete."""
        return self.root / "build"

    @property
    def terraform(self) -> Path:
        """The Terraform root module."""
        return self.root / "terraform"

    @property
    def model(self) -> Path:
        """The archive that `whippet train` leaves and `whippet deploy` takes."""
        return self.build / "model.tar.gz"

    @property
    def lambda_zip(self) -> Path:
        """The Lambda's deployment zip."""
        return self.build / "lambda.zip"

    def single_hop_zip(self, kind: str) -> Path:
        """The deployment zip of a Lambda that holds the model itself, for an architecture or for local AWS."""
        return self.build / f"lambda-single-hop-{kind}.zip"

    @property
    def training_package(self) -> Path:
        """The training package for EC2 and SageMaker."""
        return self.build / "training.tar.gz"


def find_project(start: Path) -> Project:
    """The checkout that a folder lies in, or else the one that the `whippet` package was installed from.

    Raises:
        WhippetError: neither is a checkout.
    """
    for folder in (start, *start.parents, *Path(__file__).resolve().parents):
        if (folder / "terraform" / "versions.tf").is_file() and (folder / "scripts" / "build_lambda.py").is_file():
            return Project(folder)
    raise WhippetError("This folder is not in a Whippet checkout: change into one, it holds terraform/ and scripts/.")
