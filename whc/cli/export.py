"""`whc export`."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import click

from whc.cli import _options


@click.command()
@_options.file("--checkpoint", help="checkpoint.pt of a training or a trial.")
@click.option("--model", shell_complete=_options.complete_model, help="Registered name, or .onnx file.")
@_options.file("--out", help="ONNX file to write.")
@_options.file("--bundle", help="New folder, or .zip, to write: the file with a program that runs it without whc.")
@click.option("--static", is_flag=True, default=None, help="Fix every size, the batch to 1.")
@click.option(
    "--dynamic-sequence", is_flag=True, default=None, help="Take any number of frames (lstm and cnn3d networks)."
)
@click.option("--opset", type=int, help="Version of the operator set, 18 or higher.  [default: 18]")
@_options.settings
@_options.tracking_uri
@_options.as_json
def command(
    checkpoint: Path | None,
    model: str | None,
    out: Path | None,
    bundle: Path | None,
    assignments: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Write a checkpoint or a registered model as one ONNX file, or as a bundle that runs anywhere.

    The ONNX file carries its own labels and input description. A bundle holds it with run.py, which needs numpy, OpenCV
    and ONNX Runtime alone, and runs the model on a camera, a video or pictures.
    """
    from whc.errors import UsageError, problem

    if bool(checkpoint) == bool(model):
        got = "both" if checkpoint else "neither"
        raise UsageError(problem("whc export", "must be given either --checkpoint or --model", got, "give one"))
    if not out and not bundle:
        raise UsageError(problem("whc export", "must be given --out or --bundle", "neither", "name what to write"))
    if out and (out.suffix != ".onnx" or out.is_dir()):
        raise UsageError(problem("--out", "must be a file that ends in .onnx", str(out), "name it model.onnx"))
    chosen = {name: value for name, value in options.items() if value is not None}
    if model and (chosen or assignments):
        got = ", ".join([*chosen, *(["set"] if assignments else [])])
        raise UsageError(problem("--model", "must be given alone, as the file is fixed", got, "give its --checkpoint"))
    with tempfile.TemporaryDirectory(prefix="whc-export-") as scratch:
        if checkpoint:
            exported = out or Path(scratch) / f"{checkpoint.stem}.onnx"
            _export(checkpoint, exported, chosen, _options.assigned(assignments))
        else:
            exported = _copied(str(model), out)
        if bundle:
            from whc.demo.model import load
            from whc.export.bundle import write

            load(exported)  # whose errors come before a bundle is written
            write(exported, bundle)
        written = {"onnx": out, "bundle": bundle}
        sizes = {name: _size_bytes(path) for name, path in written.items() if path}
    told: dict[str, Any] = {name: str(path) for name, path in written.items() if path}
    if out:
        told["size_bytes"] = sizes["onnx"]
    lines = [f"{written[name]}: {size / 1000:.1f} KB" for name, size in sizes.items()]
    _options.emit(told, as_json, "\n".join(lines))


def _export(checkpoint: Path, out: Path, options: dict[str, Any], changes: dict[str, Any]) -> None:
    from whc.config import validate
    from whc.export.onnx import Config
    from whc.training.checkpoint import load
    from whc.trials.artifacts import export, restore

    config = validate(Config, options, "export")
    saved = load(checkpoint, changes)
    trial, network = restore(saved, str(checkpoint))
    export(trial, network, saved, out, config)


def _copied(model: str, out: Path | None) -> Path:
    """The model's ONNX file, as `out` where that is asked for."""
    from whc.records import replacing

    path = _options.exported(_options.model_file(model), "--model")
    if out is None:
        return path
    with replacing(out) as temporary:
        shutil.copyfile(path, temporary)
    return out


def _size_bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
