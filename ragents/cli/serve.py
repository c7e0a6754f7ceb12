"""ragents serve: check what can be checked in a second, then become `bentoml serve`."""

import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragents.cli.ingest import ingest_paths
from ragents.cli.output import ConfigOption, check_models, check_redis, console, operator, run, settings
from ragents.errors import ConfigError

if TYPE_CHECKING:
    from ragents.deployment.serving import ServingConfig

TARGET = "ragents.deployment.bentoml_service:RAGentsService"


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; else serving.host (127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65_535, help="Else serving.port (3000).")] = None,
    docs: Annotated[
        Path | None, typer.Option(help="File or directory to ingest first, instead of the sample documents.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Serve agents over HTTP."""

    async def prepare() -> "ServingConfig":
        loaded = settings(config)
        serving = loaded.serving
        check_models(loaded)
        await check_redis(loaded)
        _check_port(host or serving.host, port or serving.port)
        if docs is not None:
            await ingest_paths([docs], config=loaded, principal=operator("default"))
        return serving

    serving = run(prepare())
    environment = dict(os.environ) | {"BENTOML_DO_NOT_TRACK": "true"}
    if config is not None:
        environment["RAGENTS_CONFIG"] = str(config.absolute())
    address = ["--host", host or serving.host, "--port", str(port or serving.port)]
    arguments = [sys.executable, "-m", "bentoml", "serve", TARGET, *address]
    arguments += ["--timeout-graceful-shutdown", str(serving.graceful_shutdown_s)]
    console.print(f"serving on http://{address[1]}:{address[3]} (ctrl-C stops it)", highlight=False)
    os.execve(sys.executable, arguments, environment)  # noqa: S606  # no shell; the arguments are ours


def _check_port(host: str, port: int) -> None:
    """Before BentoML forks workers that would each fail with a trace."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise ConfigError(
                f"cannot listen on {host}:{port}: {reason}; choose another with --port (make: PORT=)"
            ) from None
