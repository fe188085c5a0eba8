"""`fankui serve`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn

from service.app import create_app
from service.settings import Settings, SettingsError

command = typer.Typer(add_completion=False)


def _option(setting: str) -> Any:
    """An option that sets a field of Settings, explained by it."""
    field = Settings.model_fields[setting]
    default = "" if field.default is None else f", {field.default}"
    return typer.Option(help=f"{field.description} (FANKUI_{setting.upper()}{default})")


@command.command()
def serve(
    host: Annotated[str | None, _option("host")] = None,
    port: Annotated[int | None, _option("port")] = None,
    model: Annotated[Path | None, _option("model")] = None,
    threads: Annotated[int | None, _option("threads")] = None,
) -> None:
    """Serve the model over HTTP; /docs describes the API. An option wins over its environment variable."""
    try:
        settings = Settings.read(host=host, port=port, model=model, threads=threads)
    except SettingsError as error:
        typer.echo(error, err=True)
        raise typer.Exit(2) from error
    logging.basicConfig(level=logging.INFO, format="%(levelname)s:     %(message)s")
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_timeout_seconds,
    )
