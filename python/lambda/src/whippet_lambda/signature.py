"""Signs a request as AWS Signature Version 4 asks for.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

botocore's signer does the same; importing it takes about as long as all that the function imports without it.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"


class Credentials(NamedTuple):
    """Whose permission is used.

    Attributes:
        access_key: The access key's id.
        secret_key: The secret access key.
        token: The session token; empty for a user's own key.
    """

    access_key: str
    secret_key: str
    token: str = ""

    def __repr__(self) -> str:
        """Without the secrets, so that no log or trace gets them."""
        return f"Credentials({self.access_key!r})"


def sign(
    credentials: Credentials,
    service: str,
    region: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    at: float | None = None,
) -> dict[str, str]:
    """The headers of a POST request, signed.

    Args:
        credentials: Who asks.
        service: The service's signing name.
        region: The service's region.
        path: The path of the address, percent-encoded, without "." and ".." segments; there is no query.
        headers: What is sent, Host included; all of it is signed. The names are in lower case.
        body: What is sent.
        at: The time in seconds since 1970; now if it is not given. AWS takes what is at most five minutes off.

    Returns:
        The headers, and `x-amz-date`, `x-amz-security-token` where there is a token, and `authorization`.
    """
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
    signed = {**headers, "x-amz-date": moment}
    if credentials.token:
        signed["x-amz-security-token"] = credentials.token
    names = sorted(signed)
    lines = [f"{name}:{' '.join(signed[name].split())}" for name in names]
    # Every service but S3 has the path encoded once more than it is sent.
    request = ["POST", quote(path or "/", safe="/-_.~"), "", *lines, "", ";".join(names), sha256(body).hexdigest()]
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    text = "\n".join([ALGORITHM, moment, scope, sha256("\n".join(request).encode()).hexdigest()])
    key = f"AWS4{credentials.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    signed["authorization"] = (
        f"{ALGORITHM} Credential={credentials.access_key}/{scope}, "
        f"SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    return signed
