"""The WSGI application: checks each call with IAM, answers what moto only records, and leaves the rest to moto."""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Iterable
from random import Random
from typing import Any

from flask import Flask
from moto.backends import get_backend
from moto.core.exceptions import ServiceException
from moto.core.request import Request
from moto.core.routing import get_service_router
from moto.moto_api._internal.models import moto_api_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from whippet.local import gaps
from whippet.local.access.authorisation import authorise
from whippet.local.access.handlers import HANDLERS as ACCESS_HANDLERS
from whippet.local.calls import AwsError, Call, error_answer, identify, json_answer
from whippet.local.clock import Clock
from whippet.local.endpoints.service import Endpoints
from whippet.local.forwarding import aligned
from whippet.local.functions import runtime
from whippet.local.functions.service import Functions
from whippet.local.jobs.service import Jobs
from whippet.local.monitoring.evaluator import Evaluator
from whippet.local.monitoring.metrics import Metrics
from whippet.local.monitoring.service import Monitoring
from whippet.local.pages import refuse_pages
from whippet.local.scaling.engine import Engine
from whippet.local.scaling.service import Scaling
from whippet.local.scaling.targets import Scalable
from whippet.local.services import Handlers, Service
from whippet.local.settings import ACCOUNT, Settings
from whippet.local.state import State

log = logging.getLogger(__name__)

#: Local AWS's own paths, which no AWS service has.
STATUS_PATH = "/_whippet/status"
RESET_PATH = "/_whippet/reset"
SPEED_PATH = "/_whippet/speed"
#: A header that no form and no link of a web page can send: see also `pages`.
CONTROL_HEADER = "X-Whippet-Control"

#: Operations that change nothing which should survive.
READ_ONLY = re.compile(
    "Describe|Filter|Get(?!Federation|Session)|Head|Invoke|List|PutLogEvents|PutMetricData|Search|Simulate"
)

#: The services that the project uses.
WARM_SERVICES = ("sts", "s3", "iam", "sagemaker", "sagemaker-runtime", "lambda", "logs", "ssm", "ec2")
#: moto's names of services, where they are not botocore's.
MOTO_NAMES = {"sagemaker-runtime": "sagemakerruntime"}


def _moto_app(service: Any) -> Flask:
    """Moto's application for a service, without Flask's debug mode.

    That makes a class for each request, which keeps the request's body until the next garbage collection.

    Raises:
        NotImplementedError: there is no such service; or it is moto's own, whose paths look like a bucket's and which
            shows and empties everything.
    """
    if service in (None, "moto_api"):
        raise NotImplementedError
    app = create_backend_app(service)
    app.debug = False
    app.config["PROPAGATE_EXCEPTIONS"] = True  # `_forward` answers them
    return app


class Gateway:
    """One local AWS: all of its state, behind one WSGI application.

    Args:
        settings: how it runs.
        pid: the process that is reported.
        random: chooses among variants by weight.

    Attributes:
        clock: what everything in it follows.
    """

    def __init__(self, settings: Settings, pid: int, random: Random) -> None:
        self._settings = settings
        self._pid = pid
        self._moto = DomainDispatcherApplication(_moto_app)
        self.clock = Clock(settings.speed)
        self._state = State(settings.state, self.clock)
        self._metrics = Metrics(self.clock)
        evaluator = Evaluator(self.clock, self._metrics, self._state)
        self._endpoints = Endpoints(settings, self.clock, self._metrics, self._state, random)
        self._functions = Functions(settings, self.clock, self._metrics, self._state, random)
        monitoring = Monitoring(self.clock, self._metrics, evaluator)
        self._jobs = Jobs(settings, self.clock, self._metrics, self._state)
        scalables: dict[tuple[str, str], Scalable] = {
            ("sagemaker", "sagemaker:variant:DesiredInstanceCount"): self._endpoints.capacity,
            ("lambda", "lambda:function:ProvisionedConcurrency"): self._functions.provisioned,
        }
        scaling = Scaling(self.clock, Engine(self.clock, evaluator, self._state, scalables))
        self._services: tuple[Service, ...] = (self._endpoints, self._functions, self._jobs, monitoring, scaling)
        self._handlers: Handlers = {**gaps.HANDLERS, **ACCESS_HANDLERS}
        for service in self._services:
            self._handlers = {**self._handlers, **service.handlers()}
        self._begin()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answers one HTTP request, whose body is in memory: it is read more than once."""
        # Not noted in the environment, which it names itself: the body would stay until the next garbage collection.
        request = Request(environ, populate_request=False)
        return self._answer(request)(environ, start_response)

    def status(self) -> dict[str, Any]:
        """What runs, as `whippet local status` tells it."""
        return {
            "url": self._settings.url,
            "pid": self._pid,
            "id": self._state.id,
            "started_at": self._started_at,
            "now": f"{self.clock.now():%Y-%m-%dT%H:%M:%SZ}",
            "speed": self.clock.speed,
            "region": self._settings.region,
            "account": ACCOUNT,
            "concurrency": self._settings.account_concurrency,
            "endpoints": self._endpoints.status(),
            "functions": self._functions.status(),
            "jobs": self._jobs.status(),
            "log": str(self._settings.log),
            "state": str(self._settings.state),
            "state_bytes": self._state.size,
            "notice": self._state.notice,
        }

    def reset(self) -> None:
        """Empties everything; what starts afterwards has a new id."""
        self.stop()
        moto_api_backend.reset()
        self._state.empty()
        self._begin()

    def warm_up(self) -> None:
        """Loads what the first call of each service would wait for, mostly botocore's models and moto's AMIs."""
        for service in WARM_SERVICES:
            get_service_router(service)
            host = MOTO_NAMES.get(service, service)
            backend = get_backend(host)[ACCOUNT]  # type: ignore[call-overload]
            backend["aws" if service in ("iam", "s3", "sts") else self._settings.region]

    def stop(self) -> None:
        """Ends every process and removes what they ran on; what was on record before is what stays on disk."""
        self._state.close()
        for service in reversed(self._services):  # what acts on others first
            service.stop()
        shutil.rmtree(self._settings.work, ignore_errors=True)

    def _begin(self) -> None:
        self._state.open()
        self._started_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        shutil.rmtree(self._settings.work, ignore_errors=True)
        runtime.link_packages(self._settings.work / "runtime")
        for service in self._services:
            service.resume()

    def _own_answer(self, request: Request) -> Response | None:
        match (request.method, request.path):
            case ("GET", p) if p == STATUS_PATH:
                return json_answer(self.status())
            case ("POST", p) if p == RESET_PATH and CONTROL_HEADER in request.headers:
                self.reset()
                return json_answer(self.status())
            case ("POST", p) if p == SPEED_PATH and CONTROL_HEADER in request.headers:
                try:
                    self.clock.speed = float(request.args.get("speed", ""))
                except ValueError as error:
                    raise AwsError("ValidationException", str(error)) from None
                return json_answer(self.status())
        return None

    def _answer(self, request: Request) -> Response:
        service, protocol = "", "json"
        try:
            if (answered := self._functions.answer_url(request)) is not None:
                return answered  # to web pages too, where the URL says so
            refuse_pages(request)
            if (own := self._own_answer(request)) is not None:
                return own
            call = identify(request)
            service, protocol = call.service, call.protocol
            authorise(call)
            if READ_ONLY.match(call.operation):
                return self._handle(call)
            with self._state.watching():
                return self._handle(call)
        except AwsError as error:
            return error_answer(error, service, protocol)
        except ServiceException as error:  # of moto, for what a handler has looked for in its records
            return error_answer(AwsError(error.code, error.message), service, protocol)
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            failure = AwsError("InternalFailure", "Local AWS failed: its log says why.", status=500)
            return error_answer(failure, service, protocol)

    def _handle(self, call: Call) -> Response:
        handler = self._handlers.get((call.service, call.operation))
        return handler(call, self._forward) if handler else self._forward(call)

    def _forward(self, call: Call) -> Response:
        """Lets moto answer.

        Raises:
            AwsError: moto does not implement the operation. The status 501 keeps clients from trying again and again.
        """
        environ = aligned(call)
        try:
            response = Response.from_app(self._moto, environ, buffered=True)
            # Flask's page: no route leads there.
            if response.status_code == 404 and response.get_data().startswith(b"<!doctype html>"):
                raise NotImplementedError
            return response
        except NotImplementedError:
            message = f"Local AWS does not implement {call.service}:{call.operation or call.request.path}."
            log.warning(message)
            raise AwsError("NotImplemented", message, status=501) from None
        except HTTPException as error:  # raised outside of moto's own handling, as by a path that no service has
            return Response.force_type(error.get_response(environ))
