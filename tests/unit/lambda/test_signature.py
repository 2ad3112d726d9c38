from __future__ import annotations

import calendar
import time

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given, settings
from hypothesis import strategies as st

from whippet_lambda.signature import Credentials, sign

PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=40).map(str.strip)
HOSTS = st.sampled_from(["runtime.sagemaker.eu-central-1.amazonaws.com", "127.0.0.1:4566"])
PATHS = st.lists(
    st.text("abcXYZ019-_~", min_size=1, max_size=8) | st.sampled_from(["a%20b", "%C3%A9", "x%2Fy"]), max_size=4
)


@settings(max_examples=200, deadline=None)
@given(
    secret=PRINTABLE,
    token=st.just("") | PRINTABLE,
    region=st.sampled_from(["us-east-1", "cn-north-1"]),
    host=HOSTS,
    parts=PATHS,
    attributes=st.just("") | VALUES,
    body=st.binary(max_size=200),
)
def test_the_signature_is_botocores(
    secret: str, token: str, region: str, host: str, parts: list[str], attributes: str, body: bytes
) -> None:
    headers = {"host": host, "content-type": "image/jpeg"} | ({"x-amzn-attributes": attributes} if attributes else {})
    path = "/" + "/".join(parts)
    theirs = AWSRequest("POST", f"https://{host}{path}", headers=headers, data=body)
    SigV4Auth(BotocoreCredentials("AKID", secret, token or None), "sagemaker", region).add_auth(theirs)
    at = calendar.timegm(time.strptime(theirs.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ"))
    ours = sign(Credentials("AKID", secret, token), "sagemaker", region, path, headers, body, at)
    assert ours == {name.lower(): value for name, value in theirs.headers.items()}


def test_credentials_in_a_log_show_no_secret() -> None:
    assert repr(Credentials("AKID", "hidden", "hidden")) == "Credentials('AKID')"
