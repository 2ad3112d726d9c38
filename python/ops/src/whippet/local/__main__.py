"""The process behind `whippet local up`: `python -m whippet.local --port 4566`. It ends with SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import logging
import os
import resource
import shlex
import signal
import sys
import threading
from dataclasses import replace
from random import Random

import filelock

from whippet.local.gateway import Gateway
from whippet.local.processes import Reaper
from whippet.local.server import Server, listen
from whippet.local.settings import DEFAULT_PORT, DEFAULT_REGION, Settings, home_of

log = logging.getLogger("whippet.local")

#: Files that may be open at once.
OPEN_FILES = 16_384


def main() -> int:
    """Runs local AWS until it is told to stop; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m whippet.local")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    parser.add_argument("--region", default=DEFAULT_REGION)
    parser.add_argument("--speed", type=float, default=Settings.speed)
    parser.add_argument("--concurrency", type=int, default=Settings.account_concurrency)
    parser.add_argument("--container", help="command line of an endpoint instance; {model} becomes its model.tar.gz")
    arguments = parser.parse_args()
    settings = Settings(
        home=home_of(arguments.port),
        port=arguments.port,
        region=arguments.region,
        speed=arguments.speed,
        account_concurrency=arguments.concurrency,
    )
    if arguments.container:
        settings = replace(settings, container_command=tuple(shlex.split(arguments.container)))
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for noisy in ("botocore", "werkzeug", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.ERROR)

    allow_many_files()
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    lock = filelock.FileLock(settings.running_lock, timeout=0)
    try:
        with lock:
            serve(settings, stopped)
    except filelock.Timeout:
        print(f"Local AWS already runs on port {settings.port}.", file=sys.stderr)  # noqa: T201
        return 1
    except OSError as error:
        print(f"Local AWS cannot start: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def allow_many_files() -> None:
    """Raises the number of files that may be open, usually 1,024: each connection and each process has some."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def serve(settings: Settings, stopped: threading.Event) -> None:
    """Serves until `stopped` is set.

    Raises:
        OSError: the port is in use.
    """
    with listen(settings.port) as listener:
        # Only `whippet local up` makes a session; that of a terminal holds processes that are none of our business.
        reaper = Reaper() if os.getsid(0) == os.getpid() else None
        gateway = Gateway(settings, os.getpid(), Random())  # noqa: S311 - chooses variants, guards nothing
        try:
            with Server(gateway, listener):
                log.info("local AWS listens on %s", settings.url)
                gateway.warm_up()
                stopped.wait()
        finally:
            gateway.stop()
            if reaper is not None:
                reaper.close()
            log.info("local AWS has stopped")


if __name__ == "__main__":
    sys.exit(main())
