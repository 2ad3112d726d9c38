"""Builds build/lambda.zip: the handler's own package and nothing else, since the Lambda runtime brings botocore."""

import sys

import _archive

OUT = "build/lambda.zip"

if __name__ == "__main__":
    sys.exit(
        _archive.main(
            _archive.parser(__doc__, OUT, f"--out {OUT}").parse_args(),
            default_out=OUT,
            limit=1_000_000,
            members=lambda: _archive.package_members(_archive.ROOT / "python/lambda/src/whippet_lambda", (".py",)),
            pack=_archive.zip_bytes,
        )
    )
