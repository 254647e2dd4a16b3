"""`whc export`."""

from __future__ import annotations

from pathlib import Path

import click

from whc.cli import _options


@click.command()
@_options.file("--checkpoint", required=True, help="checkpoint.pt of a training or a trial.")
@_options.file("--out", required=True, help="ONNX file to write.")
@_options.as_json
def command(checkpoint: Path, out: Path, as_json: bool) -> None:
    """Write a checkpoint as one ONNX file that carries its own labels and input description."""
    from whc.errors import UsageError, problem

    if out.suffix != ".onnx" or out.is_dir():
        raise UsageError(problem("--out", "must be a file that ends in .onnx", str(out), "name it model.onnx"))
    from whc.training.checkpoint import load
    from whc.trials.artifacts import export, restore

    saved = load(checkpoint)
    config, network = restore(saved, str(checkpoint))
    _options.make_folder(out.parent, "--out")
    export(config, network, saved, out)
    size = out.stat().st_size
    _options.emit({"onnx": str(out), "size_bytes": size}, as_json, f"{out}: {size / 1000:.1f} KB")
