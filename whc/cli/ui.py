"""`whc ui`."""

from __future__ import annotations

import click

from whc.cli import _options


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on.  [default: that of mlflow/server.yaml]")
@_options.tracking_uri
def command(port: int | None) -> None:
    """Open the model registry's pages (MLflow's UI) on this machine, until Ctrl-C."""
    from whc.registry.ui import serve

    location = _options.location()
    chosen = location.model_copy(update={"port": port}) if port else location
    serve(chosen, _options.messages().print)
