"""Who may call a function through its URL: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html."""

from __future__ import annotations

from moto.core.request import Request

from whippet.local.access.actions import Need
from whippet.local.access.authorisation import verified
from whippet.local.access.context import RequestContext
from whippet.local.access.policies import Decision
from whippet.local.access.principals import ANONYMOUS, Principal
from whippet.local.access.refusals import Problem, Refusals
from whippet.local.access.resource_policies import policy_of
from whippet.local.calls import AwsError, Call, read_signature
from whippet.local.settings import ACCOUNT

FORBIDDEN = (
    "Forbidden. For troubleshooting Function URL authorization issues, see: "
    "https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"
)


def authorise_url(request: Request, region: str, function: str, qualifier: str, auth_type: str) -> Principal:
    """Checks that a request to a function's URL may reach the function.

    Args:
        request: as it came, to whichever host; signed for the service `lambda` where it is signed.
        region: of the function.
        function: the name of the function.
        qualifier: the alias whose URL it is; empty for that of the function itself.
        auth_type: `NONE` or `AWS_IAM`.

    Returns:
        Who calls; with `NONE` nobody in particular, even where the request is signed.

    Raises:
        AwsError: nobody signed it, or not rightly, or they may not.
    """
    call = Call("lambda", "InvokeFunctionUrl", region, "", request, {})
    principal = ANONYMOUS if auth_type == "NONE" else _signed_by(call)
    arn = f"arn:aws:lambda:{region}:{ACCOUNT}:function:{function}{f':{qualifier}' if qualifier else ''}"
    known = {**RequestContext(call, arn), "lambda:functionurlauthtype": auth_type}
    policy = policy_of(arn)
    # Both are needed since October 2025, the second one with a key that only calls through a URL have.
    for action, more in (
        ("lambda:InvokeFunctionUrl", {}),
        ("lambda:InvokeFunction", {"lambda:invokedviafunctionurl": "true"}),
    ):
        if principal.judge(Need(action, arn), {**known, **more}, policy).decision is not Decision.ALLOWED:
            raise AwsError("AccessDeniedException", FORBIDDEN, status=403)
    return principal


def _signed_by(call: Call) -> Principal:
    signature = read_signature(call.request)
    if signature is None:
        raise AwsError("AccessDeniedException", FORBIDDEN, status=403)
    refusals = Refusals("lambda", "rest-json")
    principal = verified(call, signature, refusals)
    if signature.region != call.region:
        raise refusals.make(Problem.SCOPE, f"Credential should be scoped to a valid region, not '{signature.region}'.")
    return principal
