from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from whippet_serving.app import Limits
from whippet_serving.archive import ModelError
from whippet_serving.engine import EngineChoice, EngineSettings
from whippet_serving.logs import LogFormat, set_up_logging
from whippet_serving.networks import Precision
from whippet_serving.server import AddressError, serve
from whippet_serving.traces import TracesError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    model: Annotated[
        Path, typer.Option(help="A model.tar.gz, or the folder it was unpacked to.", envvar="WHIPPET_MODEL")
    ],
    host: Annotated[str, typer.Option(help="Name or address to listen on.", envvar="WHIPPET_HOST")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="0 takes a free one.", envvar="SAGEMAKER_BIND_TO_PORT")
    ] = 8080,
    engine: Annotated[
        EngineChoice,
        typer.Option(
            help="auto takes OpenVINO where it is installed, else ONNX Runtime, else PyTorch, or what is faster.",
            envvar="WHIPPET_ENGINE",
        ),
    ] = EngineChoice.AUTO,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Cores for the network; by default all.", envvar="WHIPPET_THREADS")
    ] = None,
    streams: Annotated[
        int | None,
        typer.Option(
            min=1, help="Photos in the network at once; by default what was measured.", envvar="WHIPPET_STREAMS"
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1024,
            help="Photos in one call of the network; 1 for no batches, by default what was measured.",
            envvar="WHIPPET_BATCH",
        ),
    ] = None,
    batch_window_ms: Annotated[
        float,
        typer.Option(min=0, help="How long a batch waits for more photos.", envvar="WHIPPET_BATCH_WINDOW_MS"),
    ] = 0,
    warm_up_ms: Annotated[
        float,
        typer.Option(
            min=0, help="How long is measured at the start, at most; 0 for not at all.", envvar="WHIPPET_WARM_UP_MS"
        ),
    ] = 300,
    precision: Annotated[
        Precision,
        typer.Option(
            help="auto takes bfloat16 where the processor has it, which halves the network's time, and float32 again "
            "where two classes come close; on a GPU float16 where scores hold. float32 is always that.",
            envvar="WHIPPET_PRECISION",
        ),
    ] = Precision.AUTO,
    max_body_bytes: Annotated[int, typer.Option(min=1, help="Larger requests are refused.")] = Limits.body_bytes,
    max_in_flight: Annotated[
        int, typer.Option(min=1, help="Photos beyond these are told to come back.", envvar="WHIPPET_MAX_IN_FLIGHT")
    ] = Limits.in_flight,
    deadline: Annotated[
        float, typer.Option(min=0.001, help="Seconds that an answer may take.", envvar="WHIPPET_DEADLINE")
    ] = Limits.deadline_s,
    access_log: Annotated[
        bool, typer.Option(help="Write a line to the log for every request.", envvar="WHIPPET_ACCESS_LOG")
    ] = False,
    traces: Annotated[
        bool, typer.Option(help="Send traces to OTEL_EXPORTER_OTLP_ENDPOINT.", envvar="WHIPPET_TRACES")
    ] = False,
    log_format: Annotated[
        LogFormat, typer.Option(help="json for machines; auto writes text to terminals only.", envvar="WHIPPET_LOG")
    ] = LogFormat.AUTO,
) -> None:
    """Serve a Whippet model: POST /invocations, GET /ping, GET /metrics.

    Example: whippet-serving --model build/model.tar.gz, then
    curl -H 'Content-Type: image/jpeg' --data-binary @dog.jpg http://127.0.0.1:8080/invocations
    """
    set_up_logging(log_format, access_log)
    try:
        settings = EngineSettings(engine, threads, streams, batch, batch_window_ms / 1000, warm_up_ms / 1000, precision)
        serve(model, host, port, settings, Limits(max_body_bytes, max_in_flight, deadline_s=deadline), traces)
    except (AddressError, ModelError, TracesError) as error:
        sys.exit(f"whippet-serving: {error}")


if __name__ == "__main__":
    app(prog_name="python -m whippet_serving")
