"""Builds build/training.tar.gz: the training package for EC2 and SageMaker.

SageMaker takes it as `sagemaker_submit_directory`, with `sagemaker_program` train.py; the EC2 instance unpacks it. Both
install requirements.txt: the packages that AWS's PyTorch images lack, in the versions of constraints.txt.
"""

import re
import sys
import tomllib

import _archive

OUT = "build/training.tar.gz"

TRAINING = _archive.ROOT / "python/training"

#: AWS's PyTorch images bring these in versions that fit their drivers: installing them again would break that.
IN_THE_IMAGE = {"torch", "torchvision"}

ENTRY_POINT = b"""\
import runpy

runpy.run_module("whippet_training.train", run_name="__main__", alter_sys=True)
"""


def requirements() -> str:
    """What the package needs beside the image's own, pinned."""
    project = tomllib.loads((TRAINING / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[^A-Za-z0-9_.-]", requirement)[0].lower() for requirement in project["dependencies"]}
    pins = (_archive.ROOT / "constraints.txt").read_text().splitlines()
    wanted = [pin for pin in pins if pin.partition("==")[0].lower() in names - IN_THE_IMAGE]
    if missing := names - IN_THE_IMAGE - {pin.partition("==")[0].lower() for pin in wanted}:
        raise OSError(f"constraints.txt has no version of {', '.join(sorted(missing))}: run `make constraints`")
    return "\n".join(wanted) + "\n"


def members() -> dict[str, bytes]:
    """The package, its requirements and SageMaker's entry point."""
    package = _archive.package_members(TRAINING / "src/whippet_training", (".py", ".json", ".yaml", ".j2"))
    return {**package, "requirements.txt": requirements().encode(), "train.py": ENTRY_POINT}


if __name__ == "__main__":
    sys.exit(
        _archive.main(
            _archive.parser(__doc__, OUT, f"--out {OUT}").parse_args(),
            default_out=OUT,
            limit=5_000_000,
            members=members,
            pack=_archive.tar_gz_bytes,
        )
    )
