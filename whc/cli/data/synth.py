"""`whc data synth`."""

from __future__ import annotations

from pathlib import Path

import click

from whc.cli import _options


@click.command()
@_options.file("--out", required=True, help="Folder for dataset.parquet.")
@click.option("--clips", type=int, default=None, help="How many clips to render.  [default: 560]")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same data.")
@_options.as_json
def command(out: Path, clips: int | None, seed: int, as_json: bool) -> None:
    """Render labelled clips of hands that wave or do not."""
    from whc.data import synthetic

    with _options.progress(_options.messages(), "rendering") as on_progress:
        path = synthetic.render(out, synthetic.DEFAULT_CLIPS if clips is None else clips, seed, on_progress)
    _options.emit({"data": str(path)}, as_json, f"{path}")
