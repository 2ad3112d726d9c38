"""What each family of services answers to a caller that is not who they say.

https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from whippet.local.calls import AwsError, Call

ADVICE = (
    "Local AWS knows AWS_ACCESS_KEY_ID=test with AWS_SECRET_ACCESS_KEY=test, and the keys that its own IAM and STS made"
)


class Problem(Enum):
    """What is wrong with the proof of who a caller is."""

    MISSING = "there is no signature"
    UNSUPPORTED = "the signature is of a kind that is not accepted"
    INCOMPLETE = "the signature lacks a part"
    SCOPE = "the scope of the key is wrong"
    UNKNOWN_KEY = "nobody has the access key"
    WRONG_TOKEN = "the session token is not that of the access key"  # noqa: S105 - no token
    EXPIRED_TOKEN = "the session has ended"  # noqa: S105 - no token
    MISMATCH = "the signature is wrong"
    SKEWED = "the time of the signature is too far from now"
    EXPIRED = "the presigned URL has expired"
    QUERY = "a parameter of the presigned URL is wrong"
    UNSIGNED_HEADERS = "a header is not signed that must be"
    PAYLOAD = "the hash of the body is not declared as it must be"
    PAYLOAD_MISMATCH = "the declared hash is not the body's"
    INCOMPLETE_BODY = "the body is cut off"


class _Answer(NamedTuple):
    code: str
    status: int
    message: str = ""


_WRONG_SIGNATURE = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)
_UNKNOWN = "The security token included in the request is invalid."
_NO_ACCESS = "AWS was not able to validate the provided access credentials"
_CUT_OFF = "You did not provide the number of bytes specified by the Content-Length HTTP header"

_JSON = {
    Problem.MISSING: _Answer("MissingAuthenticationTokenException", 403, "Missing Authentication Token"),
    Problem.INCOMPLETE: _Answer("IncompleteSignatureException", 403),
    Problem.SCOPE: _Answer("InvalidSignatureException", 403),
    Problem.UNKNOWN_KEY: _Answer("UnrecognizedClientException", 403, _UNKNOWN),
    Problem.WRONG_TOKEN: _Answer("UnrecognizedClientException", 403, _UNKNOWN),
    Problem.EXPIRED_TOKEN: _Answer(
        "ExpiredTokenException", 403, "The security token included in the request is expired"
    ),
    Problem.MISMATCH: _Answer("InvalidSignatureException", 403, _WRONG_SIGNATURE),
}
_QUERY = {
    Problem.MISSING: _Answer("MissingAuthenticationToken", 403, "Request is missing Authentication Token"),
    Problem.INCOMPLETE: _Answer("IncompleteSignature", 403),
    Problem.SCOPE: _Answer("SignatureDoesNotMatch", 403),
    Problem.UNKNOWN_KEY: _Answer("InvalidClientTokenId", 403, _UNKNOWN),
    Problem.WRONG_TOKEN: _Answer("InvalidClientTokenId", 403, _UNKNOWN),
    Problem.EXPIRED_TOKEN: _Answer("ExpiredToken", 403, "The security token included in the request is expired"),
    Problem.MISMATCH: _Answer("SignatureDoesNotMatch", 403, _WRONG_SIGNATURE),
}
_EC2 = {
    Problem.MISSING: _Answer("AuthFailure", 401, _NO_ACCESS),
    Problem.INCOMPLETE: _Answer("IncompleteSignature", 403),
    Problem.SCOPE: _Answer("AuthFailure", 401, _NO_ACCESS),
    Problem.UNKNOWN_KEY: _Answer("AuthFailure", 401, _NO_ACCESS),
    Problem.WRONG_TOKEN: _Answer("AuthFailure", 401, _NO_ACCESS),
    Problem.EXPIRED_TOKEN: _Answer("RequestExpired", 400, "Request has expired."),
    Problem.MISMATCH: _Answer("AuthFailure", 401, _NO_ACCESS),
    Problem.SKEWED: _Answer("RequestExpired", 400),
}
_S3 = {
    Problem.MISSING: _Answer("AccessDenied", 403, "Access Denied"),
    Problem.UNSUPPORTED: _Answer("InvalidRequest", 400),
    Problem.INCOMPLETE: _Answer("AuthorizationHeaderMalformed", 400),
    Problem.SCOPE: _Answer("AuthorizationHeaderMalformed", 400),
    Problem.UNKNOWN_KEY: _Answer(
        "InvalidAccessKeyId", 403, "The AWS Access Key Id you provided does not exist in our records."
    ),
    Problem.WRONG_TOKEN: _Answer("InvalidToken", 400, "The provided token is malformed or otherwise invalid."),
    Problem.EXPIRED_TOKEN: _Answer("ExpiredToken", 400, "The provided token has expired."),
    Problem.MISMATCH: _Answer(
        "SignatureDoesNotMatch",
        403,
        "The request signature we calculated does not match the signature you provided. Check your key and signing "
        "method.",
    ),
    Problem.SKEWED: _Answer(
        "RequestTimeTooSkewed", 403, "The difference between the request time and the current time is too large."
    ),
    Problem.EXPIRED: _Answer("AccessDenied", 403, "Request has expired"),
    Problem.QUERY: _Answer("AuthorizationQueryParametersError", 400),
    Problem.UNSIGNED_HEADERS: _Answer("AccessDenied", 403),
    Problem.PAYLOAD: _Answer("InvalidRequest", 400),
    Problem.PAYLOAD_MISMATCH: _Answer(
        "XAmzContentSHA256Mismatch", 400, "The provided 'x-amz-content-sha256' header does not match what was computed."
    ),
    Problem.INCOMPLETE_BODY: _Answer("IncompleteBody", 400, _CUT_OFF),
}


@dataclass(frozen=True)
class Refusals:
    """Makes the errors of one service and protocol.

    Attributes:
        service: botocore's name of the service.
        protocol: how the service is spoken to.
        advises: whether a wrong signature may come from credentials that are meant for AWS itself.
    """

    service: str
    protocol: str
    advises: bool = False

    @classmethod
    def of(cls, call: Call) -> Refusals:
        """Those of the service that a call is for."""
        return cls(call.service, call.protocol)

    def make(self, problem: Problem, message: str = "") -> AwsError:
        """The error to raise.

        Args:
            problem: what is wrong.
            message: AWS's words, where they name what was sent; a service that has fixed ones uses those.
        """
        answers = _S3 if self.service == "s3" else {"ec2": _EC2, "query": _QUERY}.get(self.protocol, _JSON)
        # What only S3 tells apart is a wrong signature for all others.
        answer = answers.get(problem, answers[Problem.MISMATCH])
        status = 400 if self.protocol == "json" else answer.status
        text = (answer.message if problem in answers else "") or message or answer.message
        if problem is Problem.UNKNOWN_KEY or (problem is Problem.MISMATCH and self.advises):
            text = f"{text} ({ADVICE}.)"
        return AwsError(answer.code, text, status=status)
