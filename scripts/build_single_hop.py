"""Builds the Lambda that holds the model itself: handler, ONNX model, its hooks, and what they need to run.

The zip is for one processor and one Python, since numpy, Pillow and ONNX Runtime come as pip's wheels for them, in the
versions of constraints.txt. The function's `lambda_architecture` and the zip's must be the same.
"""

import argparse
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import _archive

OUT = "build/lambda-single-hop-{}.zip"
DEFAULT_MODEL = "build/model.tar.gz"

#: Where the model lies in the zip; WHIPPET_MODEL_DIR of terraform/modules/lambda.
MODEL_DIR = "model"

#: What code/inference.py imports, and ONNX Runtime needs to answer.
PACKAGES = ("numpy", "onnxruntime", "pillow")

#: Lambda's names of processors, and the wheels' names.
MACHINES = {"arm64": "aarch64", "x86_64": "x86_64"}

#: Of Amazon Linux 2023, which python3.12 and later run on, glibc is 2.34.
#: https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
GLIBC = ("2_34", "2_31", "2_28", "2_27", "2_24", "2_17")

#: Of the wheels' contents, what is for tests, tools and C compilers.
UNUSED = re.compile(r"(^|/)tests?/|^onnxruntime/(quantization|tools|transformers|datasets|backend)/|\.(pyi|h|a|lib)$")

#: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_BYTES = 250 * 1024 * 1024


def model_members(archive: Path) -> dict[str, bytes]:
    """The model.json, the ONNX weights and the hooks of a model archive.

    Raises:
        OSError: There is no such archive, or it is without ONNX weights.
    """
    try:
        with tarfile.open(archive) as opened:
            found = {member.name.removeprefix("./"): member for member in opened.getmembers() if member.isfile()}
            document = json.loads(_read(opened, found, "model.json"))
            if not (weights := document.get("weights", {}).get("onnx")):
                raise OSError(
                    f"{archive} has no ONNX weights: pip install -c constraints.txt -e 'python/training[onnx]', and "
                    "train the model again"
                )
            names = ("model.json", weights, "code/inference.py")
            return {f"{MODEL_DIR}/{name}": _read(opened, found, name) for name in names}
    except FileNotFoundError:
        raise OSError(f"there is no model at {archive}: train one with `whippet train DIR`, or name it") from None
    except (tarfile.TarError, EOFError, ValueError, AttributeError) as error:
        raise OSError(f"{archive} is no model archive ({error}): name a model.tar.gz that training wrote") from error


def _read(archive: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str) -> bytes:
    file = archive.extractfile(members[name]) if name in members else None
    if file is None:
        raise tarfile.TarError(f"it holds no {name}")
    return file.read()


def package_members(architecture: str, runtime: str) -> dict[str, bytes]:
    """The files of the packages that the hooks need, out of pip's wheels.

    Raises:
        OSError: pip cannot get a wheel.
    """
    with tempfile.TemporaryDirectory(prefix="whippet-wheels-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={runtime.removeprefix('python')}"]
        command += [f"--platform=manylinux_{version}_{MACHINES[architecture]}" for version in GLIBC]
        done = subprocess.run(
            [*command, f"--dest={folder}", *pins()], capture_output=True, text=True, errors="replace", check=False
        )
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise OSError(f"pip cannot get {' '.join(pins())}: {(errors or [done.stderr.strip()])[0]}")
        members = {}
        for wheel in sorted(Path(folder).glob("*.whl")):
            with zipfile.ZipFile(wheel) as opened:
                names = [name for name in opened.namelist() if not name.endswith("/") and not UNUSED.search(name)]
                members.update({name: opened.read(name) for name in names})
        return members


def pins() -> list[str]:
    """The packages in the versions of constraints.txt."""
    lines = (_archive.ROOT / "constraints.txt").read_text().splitlines()
    return [line for line in lines if line.partition("==")[0] in PACKAGES]


def members(model: Path, architecture: str, runtime: str) -> dict[str, bytes]:
    """All that the zip holds."""
    handler = _archive.package_members(_archive.ROOT / "python/lambda/src/whippet_lambda", (".py",))
    return {**model_members(model), **handler, **package_members(architecture, runtime)}


def parse() -> argparse.Namespace:
    """The command line."""
    parser = _archive.parser(__doc__, OUT.format("ARCHITECTURE"), "--architecture x86_64 --out build/function.zip")
    parser.add_argument("--model", type=Path, help=f"the archive that training wrote [{DEFAULT_MODEL}]")
    parser.add_argument("--architecture", choices=MACHINES, default="arm64", help="processor of the function [arm64]")
    parser.add_argument(
        "--runtime",
        choices=("python3.11", "python3.12", "python3.13"),
        default="python3.12",
        help="Python of the function [python3.12]; python3.11 is for local AWS, AWS's own is too old for the wheels",
    )
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    sys.exit(
        _archive.main(
            arguments,
            default_out=OUT.format(arguments.architecture),
            limit=MAX_BYTES,
            members=lambda: members(
                arguments.model or _archive.ROOT / DEFAULT_MODEL, arguments.architecture, arguments.runtime
            ),
            pack=_archive.zip_bytes,
        )
    )
