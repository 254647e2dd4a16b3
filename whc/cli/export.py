"""`whc export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from whc.cli import _options


@click.command()
@_options.file("--checkpoint", required=True, help="checkpoint.pt of a training or a trial.")
@_options.file("--out", required=True, help="ONNX file to write.")
@click.option("--static", is_flag=True, help="Fix every size, the batch to 1.")
@click.option("--dynamic-sequence", is_flag=True, help="Take any number of frames (lstm and cnn3d networks).")
@click.option("--opset", type=int, help="Version of the operator set, 18 or higher.  [default: 18]")
@_options.settings
@_options.as_json
def command(checkpoint: Path, out: Path, assignments: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Write a checkpoint as one ONNX file that carries its own labels and input description."""
    from whc.config import validate
    from whc.errors import UsageError, problem

    if out.suffix != ".onnx" or out.is_dir():
        raise UsageError(problem("--out", "must be a file that ends in .onnx", str(out), "name it model.onnx"))
    from whc.export.onnx import Config
    from whc.training.checkpoint import load
    from whc.trials.artifacts import export, restore

    config = validate(Config, {name: value for name, value in options.items() if value is not None}, "export")
    saved = load(checkpoint, _options.assigned(assignments))
    trial, network = restore(saved, str(checkpoint))
    export(trial, network, saved, out, config)
    size = out.stat().st_size
    _options.emit({"onnx": str(out), "size_bytes": size}, as_json, f"{out}: {size / 1000:.1f} KB")
