"""`whc ui`."""

from __future__ import annotations

import click

from whc.cli import _options


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on.  [default: that of mlflow/server.yaml]")
def command(port: int | None) -> None:
    """Open the model registry's pages (MLflow's UI) on this machine, until Ctrl-C."""
    from whc.registry.location import read_location
    from whc.registry.ui import serve

    location = read_location()
    chosen = location.model_copy(update={"port": port}) if port else location
    serve(chosen, _options.messages().print)
