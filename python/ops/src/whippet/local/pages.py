"""Keeps web pages away from local AWS.

A page from anywhere may send requests to 127.0.0.1, and everybody knows the administrator's credentials: without this,
a page that somebody visits could start a training job, and so run what it likes on their machine.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from moto.core.request import Request

from whippet.local.calls import AwsError


def refuse_pages(request: Request) -> None:
    """Refuses what a web page from elsewhere has sent; pages of this machine, as a notebook's, may.

    What tools send has neither of the headers that browsers add:
    https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Origin
    https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Sec-Fetch-Site

    Raises:
        AwsError: AccessDeniedException.
    """
    headers = request.headers
    if not _is_here(f"//{request.host}"):
        # A name of the page's own that now stands for this machine (DNS rebinding), for which a browser adds nothing.
        raise _refusal("call it as localhost or 127.0.0.1")
    is_from_page = "Origin" in headers or headers.get("Sec-Fetch-Site") == "cross-site"
    if is_from_page and not _is_here(headers.get("Origin") or headers.get("Referer", "")):
        raise _refusal("it takes nothing from web pages of other machines")


def _is_here(url: str) -> bool:
    """Whether the host of a URL is this machine, whatever anybody's name server says."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761, section 6.3
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refusal(why: str) -> AwsError:
    return AwsError("AccessDeniedException", f"Local AWS is for this machine alone: {why}.", status=403)
