"""Stops the notebook instance that it runs on when nobody has used it for a while; cron runs it every five minutes.

Python 3.7 and the aws command are all that it needs, since they are what every notebook instance has.

Usage: stop_when_idle.py NOTEBOOK REGION MINUTES [JUPYTER_URL]
"""

import datetime
import json
import pathlib
import ssl
import subprocess
import sys
import time
import urllib.request

#: Where Jupyter listens on a notebook instance, with a certificate that it has signed itself.
JUPYTER = "https://localhost:8443"
UPTIME = "/proc/uptime"


def idle_seconds(kernels, terminals, uptime, now):
    """Seconds since the notebook was used last: since it started, where it never was.

    Args:
        kernels: as Jupyter's /api/kernels lists them.
        terminals: as /api/terminals lists them.
        uptime: seconds since the machine started.
        now: seconds since 1970.
    """
    if any(kernel["execution_state"] == "busy" for kernel in kernels):
        return 0.0
    used = [_seconds(one["last_activity"]) for one in [*kernels, *terminals] if one.get("last_activity")]
    return min([uptime, *(now - at for at in used)])


def _seconds(moment):
    # Python 3.7 does not read the Z of "2026-11-23T02:00:00.123456Z".
    moment = moment.replace("Z", "+00:00")
    return datetime.datetime.fromisoformat(moment).timestamp()


def _ask(url):
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    context = trusting if url.startswith("https") else None
    with urllib.request.urlopen(url, timeout=10, context=context) as answer:  # noqa: S310 - Jupyter, on this machine
        return json.load(answer)


def main(notebook, region, minutes, jupyter=JUPYTER):
    """Looks once; the exit status of what it runs."""
    uptime = float(pathlib.Path(UPTIME).read_text().split()[0])
    idle = idle_seconds(_ask(jupyter + "/api/kernels"), _ask(jupyter + "/api/terminals"), uptime, time.time())
    print(f"{notebook}: idle for {idle:.0f} s", flush=True)  # noqa: T201 - cron keeps it in a log
    if idle < float(minutes) * 60:
        return 0
    command = ["aws", "sagemaker", "stop-notebook-instance", "--notebook-instance-name", notebook, "--region", region]
    return subprocess.call(command)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
