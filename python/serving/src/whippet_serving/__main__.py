from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from whippet_serving.app import MAX_BODY_BYTES
from whippet_serving.archive import ModelError
from whippet_serving.engine import EngineChoice
from whippet_serving.server import AddressError, serve

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
        EngineChoice, typer.Option(help="auto takes OpenVINO where it is installed, else PyTorch.")
    ] = EngineChoice.AUTO,
    max_body_bytes: Annotated[int, typer.Option(min=1, help="Larger requests are refused.")] = MAX_BODY_BYTES,
    access_log: Annotated[bool, typer.Option(help="Write a line to the log for every request.")] = False,
) -> None:
    """Serve a Whippet model: GET /ping, POST /invocations.

    Example: whippet-serving --model build/model.tar.gz, then
    curl -H 'Content-Type: image/jpeg' --data-binary @dog.jpg http://127.0.0.1:8080/invocations
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for name in ("whippet_serving", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.INFO)
    warnings.filterwarnings("ignore", module="PIL")  # what is odd about a photo is no concern of the operator's
    try:
        serve(model, host, port, engine, max_body_bytes, access_log)
    except (AddressError, ModelError) as error:
        sys.exit(f"whippet-serving: {error}")


if __name__ == "__main__":
    app(prog_name="python -m whippet_serving")
