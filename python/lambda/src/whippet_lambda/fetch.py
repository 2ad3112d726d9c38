"""Fetches a photo from the web without becoming somebody's way into the network (SSRF).

The host must be on the allow-list, the scheme https, the port 443. The name is resolved once, every address must be
public, and the connection goes to the address that was checked, so that a name cannot change its mind in between (DNS
rebinding); the certificate is checked against the name. Redirects are not followed. Size and time are bounded.
The standard library's client is used, since it takes a socket that is already connected.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from functools import cache
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from whippet_lambda.deadline import Deadline, too_slow
from whippet_lambda.problem import Problem, too_large

#: Seconds that a fetch may take in all.
SECONDS = 5.0

CHUNK = 64 * 1024
WAITING_FOR = "The photo's host"

#: Blocks that ipaddress counts as public, but through which a private IPv4 address can be reached: NAT64 (RFC 6052),
#: 6to4 (RFC 3056), Teredo (RFC 4380) and IPv4-compatible addresses (RFC 4291).
TUNNELS = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96")))

Resolve = Callable[[str], list[str]]
Connect = Callable[[str, str, float], ssl.SSLSocket]


@cache
def tls() -> ssl.SSLContext:
    """The authorities to trust; read at the first fetch, since that takes time and most functions never fetch."""
    return ssl.create_default_context()


def resolve(host: str) -> list[str]:
    """Every address of a name.

    Raises:
        OSError: The name has none.
    """
    return [str(found[4][0]) for found in socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)]


def connect(host: str, address: str, seconds: float) -> ssl.SSLSocket:
    """A connection to one address, whose certificate is the host's.

    Raises:
        OSError: There is nobody, or somebody else.
    """
    return tls().wrap_socket(socket.create_connection((address, 443), seconds), server_hostname=host)


def is_public(address: str) -> bool:
    """Whether an address may be connected to: not a private, loopback, link-local (metadata) or multicast one."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        elif any(parsed in tunnel for tunnel in TUNNELS):
            return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


def read(
    url: str,
    allowed_hosts: Iterable[str],
    limit: int,
    deadline: Deadline,
    resolve: Resolve = resolve,
    connect: Connect = connect,
) -> bytes:
    """Fetches a photo.

    Args:
        url: An https address.
        allowed_hosts: The names that may be asked, in lower case; "*." and a domain stands for every name below it.
        limit: The most bytes to take.
        deadline: When to give up, at the latest.
        resolve: Finds a name's addresses.
        connect: Opens connections to a host at an address.

    Raises:
        Problem: 400 the address is wrong, 403 the host is not allowed, 413 too large, 502 the host did not give out the
            photo, 504 too slow.
    """
    host, target = _split(url)
    if not is_allowed(host, allowed_hosts):
        raise Problem(HTTPStatus.FORBIDDEN, "Photos are not fetched from this host: send the photo itself.")
    deadline = deadline.within(SECONDS)
    try:
        addresses = resolve(host)
    except (OSError, UnicodeError) as error:  # UnicodeError: a label has more characters than DNS allows
        raise _unreachable(f"resolve: {error}") from None
    if not addresses or not all(map(is_public, addresses)):
        raise Problem(HTTPStatus.FORBIDDEN, "Photos are not fetched from this host: its address is not public.")
    try:
        with _connect_to_any(host, addresses, deadline, connect) as connection:
            return _get(connection, host, target, limit, deadline)
    except TimeoutError:
        raise too_slow(WAITING_FOR) from None
    except (OSError, ValueError, HTTPException) as error:  # ValueError: the connection was cut while it was read
        deadline.remaining(WAITING_FOR)
        raise _unreachable(f"{type(error).__name__}: {error}") from None


def is_allowed(host: str, allowed_hosts: Iterable[str]) -> bool:
    """Whether a host is on the list, by its name or below a "*." entry; the domain itself is not below it."""
    return any(host == allowed or (allowed[:2] == "*." and host.endswith(allowed[1:])) for allowed in allowed_hosts)


def _split(url: str) -> tuple[str, str]:
    wrong = Problem(HTTPStatus.BAD_REQUEST, "Send an address of the form https://host/path, without port or user name.")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme != "https" or not host.isascii() or not host or port not in (None, 443) or "@" in parts.netloc:
        raise wrong
    if not url.isascii() or any(character <= " " or character == "\x7f" for character in url):
        raise wrong
    return host, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _connect_to_any(host: str, addresses: list[str], deadline: Deadline, connect: Connect) -> ssl.SSLSocket:
    refused = OSError()
    for address in dict.fromkeys(addresses):  # all of them were checked; a network without IPv6 cannot reach all
        try:
            return connect(host, address, deadline.remaining(WAITING_FOR))
        except OSError as error:
            refused = error
    raise refused


def _get(connection: ssl.SSLSocket, host: str, target: str, limit: int, deadline: Deadline) -> bytes:
    # A socket's own time limit starts anew with every byte, so a host that drips is cut off from outside.
    cut = threading.Timer(deadline.remaining(WAITING_FOR), _cut, [connection])
    cut.daemon = True
    cut.start()
    try:
        photo = _receive(connection, host, target, limit)
    finally:
        cut.cancel()
    deadline.remaining(WAITING_FOR)  # a photo that was cut off here may look whole
    return photo


def _cut(connection: ssl.SSLSocket) -> None:
    with suppress(OSError):  # the other side was quicker
        connection.shutdown(socket.SHUT_RDWR)


def _receive(connection: ssl.SSLSocket, host: str, target: str, limit: int) -> bytes:
    with closing(HTTPConnection(host)) as http:
        http.sock = connection
        accept = {"Accept": "image/jpeg, image/png, image/webp", "Accept-Encoding": "identity"}
        http.request("GET", target, headers=accept)
        answer = http.getresponse()
        if 300 <= answer.status < 400:
            raise Problem(HTTPStatus.BAD_REQUEST, "The address answers with a redirect: send the one it leads to.")
        if answer.status != HTTPStatus.OK:
            raise _unreachable(f"status {answer.status}")
        length = answer.length  # None where the host does not say
        if length is not None and length > limit:
            raise too_large(limit)
        photo = bytearray()
        while chunk := answer.read1(CHUNK):
            photo += chunk
            if len(photo) > limit:
                raise too_large(limit)
        if length is not None and len(photo) != length:
            raise _unreachable(f"{len(photo)} of {length} bytes")
        return bytes(photo)


def _unreachable(cause: str) -> Problem:
    return Problem(HTTPStatus.BAD_GATEWAY, "The photo's host did not give it out: check the address.", cause=cause)
