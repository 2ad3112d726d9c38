from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import trustme

from support.lambda_function import JPEG
from whippet_lambda import fetch
from whippet_lambda.deadline import Deadline
from whippet_lambda.problem import Problem

HOST = "images.example.org"
PUBLIC = "93.184.215.14"


class Site:
    """A real TLS server for HOST; `reply` says how it answers."""

    def __init__(self) -> None:
        self.reply: Callable[[BaseHTTPRequestHandler], None] = lambda request: send(request, 200, JPEG)
        self.connected_to: list[str] = []
        self.seen: list[tuple[str, str | None]] = []
        authority = trustme.CA()
        self.client_tls = ssl.create_default_context()
        authority.configure_trust(self.client_tls)
        self.server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(HOST).configure_cert(self.server_tls)
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.seen.append((self.path, self.headers["host"]))
                site.reply(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                pass  # clients that hang up, or refuse the certificate, are what these tests are about

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.socket = self.server_tls.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def connect(self, host: str, address: str, seconds: float) -> ssl.SSLSocket:
        """As fetch.connect, but whatever the public address, the site is here."""
        self.connected_to.append(address)
        here = socket.create_connection(("127.0.0.1", self.server.server_port), seconds)
        return self.client_tls.wrap_socket(here, server_hostname=host)


def send(request: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    request.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.server.shutdown()
    made.server.server_close()


def read(site: Site, url: str = f"https://{HOST}/dogs/1.jpg?size=2", seconds: float = 5, **more: Any) -> bytes:
    arguments: dict[str, Any] = {
        "allowed_hosts": {HOST},
        "limit": 1000,
        "resolve": lambda host: [PUBLIC],
        "connect": site.connect,
        **more,
    }
    return fetch.read(url, deadline=Deadline(time.monotonic() + seconds), **arguments)


def status_of(site: Site, *arguments: Any, **more: Any) -> int:
    with pytest.raises(Problem) as raised:
        read(site, *arguments, **more)
    return int(raised.value.status)


def test_a_photo_is_fetched_from_the_address_that_was_checked(site: Site) -> None:
    assert read(site) == JPEG
    assert site.connected_to == [PUBLIC]
    assert site.seen == [("/dogs/1.jpg?size=2", HOST)]


@pytest.mark.parametrize(
    "url",
    [
        f"http://{HOST}/1.jpg",
        f"ftp://{HOST}/1.jpg",
        f"https://{HOST}:8443/1.jpg",
        f"https://user:secret@{HOST}/1.jpg",
        f"https://{HOST}:port/1.jpg",
        "https:///1.jpg",
        "https://[::1/1.jpg",
        f"https://{HOST}/1.jpg\r\nHost: internal",
        f"https://{HOST}/a b",
        "https://ımages.example.org/1.jpg",
    ],
)
def test_only_plain_https_addresses_are_taken(site: Site, url: str) -> None:
    assert status_of(site, url) == 400
    assert site.connected_to == []


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.example.org/1.jpg",
        f"https://{HOST}.evil.example/1.jpg",
        f"https://sub.{HOST}/1.jpg",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::1]/",
        "https://2130706433/",
    ],
)
def test_hosts_that_are_not_on_the_list_are_refused(site: Site, url: str) -> None:
    assert status_of(site, url) == 403
    assert site.connected_to == []


def test_an_empty_list_allows_nothing(site: Site) -> None:
    assert status_of(site, allowed_hosts=()) == 403


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("a.example.org", True),
        ("b.a.example.org", True),
        ("example.org", False),
        ("evilexample.org", False),
        ("a.example.org.evil.example", False),
    ],
)
def test_a_wildcard_allows_the_names_below_a_domain(host: str, allowed: bool) -> None:
    assert fetch.is_allowed(host, {"*.example.org"}) is allowed


def test_an_address_that_nobody_answers_at_is_followed_by_the_next(site: Site) -> None:
    def connect(host: str, address: str, seconds: float) -> ssl.SSLSocket:
        if address == "2606:4700::1111":
            raise OSError("Network is unreachable")
        return site.connect(host, address, seconds)

    assert read(site, resolve=lambda host: ["2606:4700::1111", PUBLIC], connect=connect) == JPEG
    assert site.connected_to == [PUBLIC]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1%eth0", "fc00::1", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "2002:7f00:1::",
        "2001:0:7f00:1::", "::127.0.0.1", "fd00:ec2::254", "2001:db8::1",
    ],
)  # fmt: skip
def test_a_name_that_resolves_into_a_network_is_refused(site: Site, address: str) -> None:
    assert status_of(site, resolve=lambda host: [address]) == 403
    assert status_of(site, resolve=lambda host: [PUBLIC, address]) == 403
    assert site.connected_to == []


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_pass(address: str) -> None:
    assert fetch.is_public(address)


def test_a_name_that_no_resolver_takes_is_a_502(site: Site) -> None:
    url = f"https://{'a' * 64}.example.org/"
    assert status_of(site, url, allowed_hosts={"*.example.org"}, resolve=fetch.resolve) == 502


def test_a_name_that_does_not_resolve_is_a_502(site: Site) -> None:
    def nowhere(host: str) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    assert status_of(site, resolve=nowhere) == 502


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(site: Site, status: int) -> None:
    site.reply = lambda request: send(request, status, b"", Location="https://169.254.169.254/")
    assert status_of(site) == 400
    assert site.connected_to == [PUBLIC]


@pytest.mark.parametrize("status", [204, 404, 500])
def test_any_answer_but_200_is_a_502(site: Site, status: int) -> None:
    site.reply = lambda request: send(request, status, b"")
    assert status_of(site) == 502


def test_too_many_bytes_are_refused_whatever_the_length_says(site: Site) -> None:
    def endless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        for _ in range(100):
            request.wfile.write(bytes(1000))

    site.reply = endless
    assert status_of(site) == 413


def test_a_host_that_drips_runs_out_of_time(site: Site) -> None:
    stop = threading.Event()

    def drip(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not stop.wait(0.02):
            request.wfile.write(b"x")
            request.wfile.flush()

    site.reply = drip
    try:
        assert status_of(site, seconds=0.3) == 504
    finally:
        stop.set()


def test_a_host_that_drips_its_headers_runs_out_of_time(site: Site) -> None:
    stop = threading.Event()

    def drip(request: BaseHTTPRequestHandler) -> None:
        while not stop.wait(0.02):
            request.wfile.write(b"H")
            request.wfile.flush()

    site.reply = drip
    try:
        assert status_of(site, seconds=0.3) == 504
    finally:
        stop.set()


@pytest.mark.parametrize("framing", [{"Content-Length": "1000"}, {"Transfer-Encoding": "chunked"}])
def test_half_a_photo_is_not_taken_for_a_whole_one(site: Site, framing: dict[str, str]) -> None:
    def hang_up(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        for name, value in framing.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(b"40\r\n" + JPEG)

    site.reply = hang_up
    assert status_of(site) == 502


def test_a_silent_host_runs_out_of_time(site: Site) -> None:
    stop = threading.Event()
    site.reply = lambda request: (stop.wait(30), None)[1]
    try:
        assert status_of(site, seconds=0.3) == 504
    finally:
        stop.set()


def test_a_certificate_for_another_name_is_refused(site: Site) -> None:
    def connect(host: str, address: str, seconds: float) -> ssl.SSLSocket:
        return site.connect("other.example.org", address, seconds)

    assert status_of(site, connect=connect) == 502
    assert site.seen == []


def test_a_certificate_that_nobody_vouches_for_is_refused(site: Site) -> None:
    def connect(host: str, address: str, seconds: float) -> ssl.SSLSocket:
        here = socket.create_connection(("127.0.0.1", site.server.server_port), seconds)
        return fetch.tls().wrap_socket(here, server_hostname=host)

    assert status_of(site, connect=connect) == 502


def test_resolving_finds_every_address() -> None:
    assert set(fetch.resolve("127.0.0.1")) == {"127.0.0.1"}
