"""Verifies signatures: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html."""

from __future__ import annotations

import calendar
import hmac
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import mktime_tz, parsedate_tz
from functools import lru_cache
from hashlib import sha256
from typing import cast
from urllib.parse import SplitResult, quote, unquote_to_bytes

from botocore.auth import HmacV1Auth
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials as BotocoreCredentials
from botocore.utils import normalize_url_path
from moto.core.request import Request

from whippet.local.access.refusals import Problem, Refusals
from whippet.local.calls import Signature

ALGORITHM = "AWS4-HMAC-SHA256"
TERMINATOR = "aws4_request"

#: Seconds that a client's clock may be wrong. Amazon S3 says 15 minutes,
#: https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html#RESTAuthenticationTimeStamp,
#: most others 5: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
S3_SKEW = 15 * 60
SKEW = 5 * 60
#: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
LONGEST_EXPIRY = 7 * 24 * 3600

#: Services whose paths are encoded once and not normalised, and whose bodies may go unsigned.
S3_NAMES = frozenset({"s3", "s3express", "s3-object-lambda", "s3-outposts"})

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
#: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
SIGNED_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
#: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
SIGNED_CHUNKS_AND_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_CHUNKS_AND_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
NOTHING = sha256(b"").hexdigest()

_TIME = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Secret:
    """What proves that a caller is who they say.

    Attributes:
        key: the secret access key.
        token: the session token; None where the credentials are no session's.
    """

    key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


def check_form(request: Request, signature: Signature, refusals: Refusals) -> None:
    """Refuses what is no signature of a version that is verified here, before anyone asks whose it is.

    Raises:
        AwsError: IncompleteSignature and the like.
    """
    if signature.algorithm == "AWS":
        if not signature.is_presigned:
            raise refusals.make(
                Problem.UNSUPPORTED,
                "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
            )
        return
    if signature.algorithm != ALGORITHM:
        # Version 4A, with AWS4-ECDSA-P256-SHA256, is for calls to several regions at once; there is one machine here.
        named = re.sub(r"[^\w-]", "", signature.algorithm)[:40]
        raise refusals.make(
            Problem.INCOMPLETE, f"Unsupported AWS 'algorithm': '{named}'. Local AWS verifies {ALGORITHM}."
        )
    missing = [
        name
        for name, value in (
            ("Credential", signature.access_key),
            ("Signature", signature.value),
            ("SignedHeaders", signature.signed_headers),
        )
        if not value
    ]
    if missing:
        place = "Query string" if signature.is_presigned else "Authorization header"
        raise refusals.make(Problem.INCOMPLETE, " ".join(f"{place} requires '{name}' parameter." for name in missing))
    scope = (signature.date, signature.region, signature.service, *signature.signed_headers)
    if not all(part.isascii() for part in scope):
        raise refusals.make(Problem.INCOMPLETE, "Credential and SignedHeaders may hold ASCII characters alone.")
    if signature.terminator != TERMINATOR:
        raise refusals.make(
            Problem.SCOPE, f"Credential should be scoped with a valid terminator: '{TERMINATOR}', not what was sent."
        )
    if _timestamp(request, signature) is None:
        raise refusals.make(
            Problem.INCOMPLETE,
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
        )


def session_token(request: Request, signature: Signature) -> str | None:
    """The session token that a request brings."""
    if signature.is_presigned:
        return request.args.get("X-Amz-Security-Token") or request.args.get("x-amz-security-token")
    return request.headers.get("X-Amz-Security-Token")


def verify(request: Request, body: bytes, signature: Signature, secret: Secret, now: float, refusals: Refusals) -> None:
    """Checks that a request, as it came, was signed with a secret, for this service and not long ago.

    Args:
        request: with its path and query as they came.
        body: as it came, with the signatures of its chunks.
        signature: of the right form: see `check_form`.
        secret: of the access key that the signature names.
        now: seconds since 1970 by the wall's clock, which the clients' clocks follow.
        refusals: makes the errors of the service.

    Raises:
        AwsError: what AWS answers to a signature that is wrong, late or early, or does not cover what it must.
    """
    if signature.algorithm == "AWS":
        _verify_version_2(request, signature, secret, now, refusals)
        return
    timestamp = _timestamp(request, signature)
    assert timestamp is not None  # noqa: S101 - check_form refuses it
    if timestamp[:8] != signature.date:
        message = "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
        raise refusals.make(Problem.SCOPE, f"{message}'{signature.date}' != '{timestamp[:8]}', from '{timestamp}'.")
    is_s3 = signature.service in S3_NAMES
    _check_time(request, signature, timestamp, now, S3_SKEW if is_s3 else SKEW, refusals)
    _check_headers(request, signature, is_s3, refusals)
    declared = _declared_payload(request, body, signature, is_s3, refusals)

    scope = f"{signature.date}/{signature.region}/{signature.service}/{TERMINATOR}"
    hashed = sha256(_canonical_request(request, signature, declared, is_s3)).hexdigest()
    key = _signing_key(secret.key, signature.date, signature.region, signature.service)
    expected = _sign(key, f"{ALGORITHM}\n{timestamp}\n{scope}\n{hashed}")
    if not _same(expected, signature.value):
        raise refusals.make(Problem.MISMATCH)
    if declared.startswith("STREAMING-"):
        prefix = f"{timestamp}\n{scope}\n"
        _check_chunks(request, body, declared, _Chain(key, prefix, signature.value), refusals)


def _timestamp(request: Request, signature: Signature) -> str | None:
    """When a request was signed, as YYYYMMDD'T'HHMMSS'Z'; None where it does not say."""
    if signature.is_presigned:
        sent = request.args.get("X-Amz-Date", "")
    else:
        sent = request.headers.get("X-Amz-Date") or request.headers.get("Date", "")
        if not _TIME.fullmatch(sent) and (parsed := parsedate_tz(sent)):
            sent = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(mktime_tz(parsed)))
    return sent if _TIME.fullmatch(sent) else None


def _check_time(
    request: Request, signature: Signature, timestamp: str, now: float, skew: float, refusals: Refusals
) -> None:
    try:
        signed_at = calendar.timegm(time.strptime(timestamp, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        raise refusals.make(Problem.INCOMPLETE, f"Invalid date: '{timestamp}'.") from None
    if signed_at - now > skew:
        what = f"Signature not yet current: {timestamp} is still later than"
        raise refusals.make(Problem.SKEWED, f"{what} {_shown(now + skew)} ({_shown(now)} + {skew // 60:.0f} min.)")
    if signature.is_presigned and "X-Amz-Expires" in request.args:
        lifetime = _lifetime(request.args["X-Amz-Expires"], refusals)
        if now > signed_at + lifetime:
            raise refusals.make(Problem.EXPIRED, f"Signature expired: {timestamp} + {lifetime} s is in the past.")
    elif now - signed_at > skew:
        what = f"Signature expired: {timestamp} is now earlier than"
        raise refusals.make(Problem.SKEWED, f"{what} {_shown(now - skew)} ({_shown(now)} - {skew // 60:.0f} min.)")


def _lifetime(sent: str, refusals: Refusals) -> int:
    if not sent.isascii() or not sent.isdecimal():
        raise refusals.make(Problem.QUERY, "X-Amz-Expires should be a number")
    if len(sent) > len(str(LONGEST_EXPIRY)) or int(sent) > LONGEST_EXPIRY:
        raise refusals.make(
            Problem.QUERY, f"X-Amz-Expires must be less than a week (in seconds); that is {LONGEST_EXPIRY}"
        )
    return int(sent)


def _shown(seconds: float) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))


def _check_headers(request: Request, signature: Signature, is_s3: bool, refusals: Refusals) -> None:
    if "host" not in signature.signed_headers:
        raise refusals.make(Problem.SCOPE, "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
    if is_s3:
        names = (name.lower() for name in request.headers.keys())  # noqa: SIM118 - headers iterate over pairs
        unsigned = sorted({name for name in names if name.startswith("x-amz-")} - set(signature.signed_headers))
        if unsigned:
            message = "There were headers present in the request which were not signed"
            raise refusals.make(Problem.UNSIGNED_HEADERS, f"{message}: {', '.join(unsigned)}")


def _declared_payload(request: Request, body: bytes, signature: Signature, is_s3: bool, refusals: Refusals) -> str:
    """What the signature covers of the body: its hash, or a word that says what stands in its place."""
    if not is_s3:
        # None of the services that local AWS has lets a body go unsigned but Amazon S3.
        return sha256(body).hexdigest()
    if signature.is_presigned:
        return UNSIGNED_PAYLOAD
    declared = request.headers.get("X-Amz-Content-SHA256")
    if declared is None:
        raise refusals.make(Problem.PAYLOAD, "Missing required header for this request: x-amz-content-sha256")
    if declared in (UNSIGNED_PAYLOAD, SIGNED_CHUNKS, SIGNED_CHUNKS_AND_TRAILER, UNSIGNED_CHUNKS_AND_TRAILER):
        return declared
    if not _SHA256.fullmatch(declared):
        raise refusals.make(
            Problem.PAYLOAD,
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, "
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
        )
    if not _same(sha256(body).hexdigest(), declared):
        raise refusals.make(Problem.PAYLOAD_MISMATCH)
    return declared


def _canonical_request(request: Request, signature: Signature, payload: str, is_s3: bool) -> bytes:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html."""
    headers = request.headers
    parts = (
        request.method,
        _canonical_path(request.raw_path, is_s3),
        _canonical_query(request.query_string.decode("latin-1")),
        *(f"{name}:{' '.join(headers.get(name, '').split())}" for name in signature.signed_headers),
        "",
        ";".join(signature.signed_headers),
        payload,
    )
    return "\n".join(parts).encode("latin-1")  # in which WSGI holds the bytes of headers


def _canonical_path(path: str, is_s3: bool) -> str:
    if is_s3:
        return _encoded(path, safe="/")
    return quote(normalize_url_path(path).encode("latin-1"), safe="/~")


def _canonical_query(query: str) -> str:
    """The query without the signature, encoded in one way and sorted."""
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    encoded = ((_encoded(name), _encoded(value)) for name, _, value in pairs)
    return "&".join(f"{name}={value}" for name, value in sorted(encoded) if name != "X-Amz-Signature")


def _encoded(text: str, safe: str = "") -> str:
    return quote(unquote_to_bytes(text.encode("latin-1")), safe=f"{safe}-_.~")


@lru_cache(maxsize=256)
def _signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, TERMINATOR):
        key = hmac.digest(key, part.encode("latin-1"), "sha256")
    return key


def _sign(key: bytes, text: str) -> str:
    return hmac.digest(key, text.encode("latin-1"), "sha256").hex()


def _same(expected: str, sent: str) -> bool:
    return hmac.compare_digest(expected.encode("latin-1"), sent.encode("utf-8", "replace"))


class _Chain:
    """Signs chunk after chunk, each with the signature of the one before it."""

    def __init__(self, key: bytes, prefix: str, seed: str) -> None:
        self._key = key
        self._prefix = prefix
        self._previous = seed

    def check(self, kind: str, hashes: str, sent: str) -> bool:
        """Whether a signature is that of the next chunk."""
        expected = _sign(self._key, f"AWS4-HMAC-SHA256-{kind}\n{self._prefix}{self._previous}\n{hashes}")
        self._previous = expected
        return _same(expected, sent)


def _check_chunks(request: Request, body: bytes, declared: str, chain: _Chain, refusals: Refusals) -> None:
    try:
        chunks, trailer = _split(body)
        signed_trailer, trailer_signature = _split_trailer(trailer)
    except ValueError:
        raise refusals.make(Problem.INCOMPLETE_BODY) from None
    length = str(sum(len(chunk) for chunk, _ in chunks))
    if request.headers.get("X-Amz-Decoded-Content-Length", length) != length:
        raise refusals.make(Problem.INCOMPLETE_BODY)
    if declared == UNSIGNED_CHUNKS_AND_TRAILER:
        return
    are_signed = all(chain.check("PAYLOAD", f"{NOTHING}\n{sha256(chunk).hexdigest()}", sent) for chunk, sent in chunks)
    if are_signed and declared == SIGNED_CHUNKS_AND_TRAILER:
        are_signed = chain.check("TRAILER", sha256(signed_trailer).hexdigest(), trailer_signature)
    if not are_signed:
        raise refusals.make(Problem.MISMATCH)


def _split(body: bytes) -> tuple[list[tuple[bytes, str]], bytes]:
    """The chunks of an `aws-chunked` body, the last of which is empty, with their signatures; and what follows them.

    Raises:
        ValueError: it is not such a body.
    """
    chunks: list[tuple[bytes, str]] = []
    position = 0
    while not chunks or chunks[-1][0]:
        line_end = body.index(b"\r\n", position)
        sent_size, _, extension = body[position:line_end].decode("ascii").partition(";")
        start = line_end + 2
        position = start + int(sent_size, 16)
        if not start <= position <= len(body):
            raise ValueError("a chunk is cut off")
        chunks.append((body[start:position], extension.strip().removeprefix("chunk-signature=")))
        if chunks[-1][0]:
            if body[position : position + 2] != b"\r\n":
                raise ValueError("a chunk is longer than it says")
            position += 2
    return chunks, body[position:]


def _split_trailer(trailer: bytes) -> tuple[bytes, str]:
    """The lines behind the last chunk as they are signed, and their signature.

    Raises:
        ValueError: they are not ASCII.
    """
    lines = [line for line in trailer.decode("ascii").split("\r\n") if line]
    name = "x-amz-trailer-signature:"
    signed = "".join(f"{line}\n" for line in lines if not line.startswith(name))
    return signed.encode("ascii"), next((line.removeprefix(name) for line in lines if line.startswith(name)), "")


class _Version2(HmacV1Auth):
    """Signs as the maker of a presigned URL did, with the end of its life in the place of the date."""

    def __init__(self, secret: str, expires: str) -> None:
        super().__init__(BotocoreCredentials("", secret))
        self._expires = expires

    def _get_date(self) -> str:
        return self._expires


def _verify_version_2(request: Request, signature: Signature, secret: Secret, now: float, refusals: Refusals) -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html#RESTAuthenticationQueryStringAuth."""
    expires = request.args.get("Expires", "")
    if not expires.isascii() or not expires.isdecimal() or len(expires) > 15:
        message = "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters"
        raise refusals.make(Problem.UNSUPPORTED, message)
    headers = HTTPHeaders()
    for name, value in (*request.headers.items(), *request.args.items()):
        if name.lower().startswith("x-amz-") or name.lower() in ("content-md5", "content-type"):
            headers[name.lower()] = value
    # The path of a bucket ends in a slash, sent or not.
    path = request.raw_path if request.raw_path.count("/") > 1 else f"{request.raw_path.rstrip('/')}/"
    parts = SplitResult("", "", path, request.query_string.decode("latin-1"), "")
    expected = _Version2(secret.key, expires).get_signature(request.method, parts, cast("Mapping[str, str]", headers))
    if not _same(expected, signature.value):
        raise refusals.make(Problem.MISMATCH)
    if now > int(expires):
        raise refusals.make(Problem.EXPIRED, "Request has expired")
