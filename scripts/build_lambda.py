"""Builds build/lambda.zip: the handler's own package and nothing else, since the Lambda runtime brings botocore."""

import sys

import _archive

if __name__ == "__main__":
    sys.exit(
        _archive.main(
            description=__doc__,
            default_out="build/lambda.zip",
            limit=1_000_000,
            members=lambda: _archive.package_members(_archive.ROOT / "python/lambda/src/whippet_lambda", (".py",)),
            pack=_archive.zip_bytes,
        )
    )
