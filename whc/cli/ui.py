"""`whc ui`."""

from __future__ import annotations

import click

from whc.cli import _options


@click.command()
def command() -> None:
    """Open the model registry's pages (MLflow's UI) on this machine, until Ctrl-C."""
    from whc.registry.location import read_location
    from whc.registry.ui import serve

    serve(read_location(), _options.messages().print)
