"""`whc export`."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from whc.cli import _options, _page

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from whc.demo.web.assemble import Page
    from whc.training.checkpoint import Checkpoint
    from whc.trials.config import TrialConfig

_IN_BUNDLE = ""  # what --html says without a file


def _set_up_litert(ctx: click.Context, param: click.Parameter, is_asked: bool) -> None:
    """Install the converter to LiteRT, and nothing else."""
    del param
    if not is_asked or ctx.resilient_parsing:
        return
    from whc.export import converter

    with _options.steps() as on_step:
        on_step(f"installing the converter to LiteRT into {converter.folder()} (minutes, 2 GB)")
        place = converter.set_up()
    click.echo(f"the converter to LiteRT is in {place}")
    ctx.exit()


@click.command()
@_options.file("--checkpoint", help="checkpoint.pt of a training or a trial.")
@click.option("--model", shell_complete=_options.complete_model, help="Registered name, or .onnx or .tflite file.")
@_options.file("--out", help="File to write.")
@_options.file("--bundle", help="New folder, or .zip, to write: the file with a program that runs it without whc.")
@click.option(
    "--html",
    is_flag=False,
    flag_value=_IN_BUNDLE,
    metavar="[FILE]",
    help="Page to write that runs the model, and its whole ladder, in any browser: one file of about 6 MB, most of it "
    "the runtime. Without FILE: run.html in the bundle, for its model alone.",
)
@_options.detect
@_options.detect_class
@_options.margin
@_options.artifact
@_options.file("--data", help="Parquet file (or folder of shards): its training split fits the integers of int8 files.")
@click.option("--static", is_flag=True, default=None, help="Fix every size, the batch to 1 (onnx).")
@click.option(
    "--dynamic-sequence", is_flag=True, default=None, help="Take any number of frames (onnx; lstm and cnn3d networks)."
)
@click.option("--opset", type=int, help="Version of the operator set, 18 or higher (onnx).  [default: 18]")
@click.option(
    "--setup-litert",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_set_up_litert,
    help="Install the converter to LiteRT in the user's cache (minutes, 2 GB), and exit.",
)
@_options.settings
@_options.tracking_uri
@_options.as_json
def command(
    checkpoint: Path | None,
    model: str | None,
    out: Path | None,
    bundle: Path | None,
    html: str | None,
    assignments: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Write a checkpoint or a registered model as one file, as a bundle that runs anywhere, or as a page.

    The file carries its own labels and input description: .onnx for most runtimes, .tflite for LiteRT, which is the
    fastest on a CPU. A bundle holds it with run.py, which needs numpy, OpenCV and the file's runtime alone, and runs
    the model on a camera, a video or pictures. A page needs a browser alone, also without a network; --detect gives it
    the detector that finds what the model sees.
    """
    from whc.errors import UsageError, problem

    if bool(checkpoint) == bool(model):
        got = "both" if checkpoint else "neither"
        raise UsageError(problem("whc export", "must be given either --checkpoint or --model", got, "give one"))
    detection = {name: options.pop(name) for name in ("detect", "detect_class", "margin")}
    _check_targets(out, bundle, html, detection["detect"])
    chosen = {name: value for name, value in options.items() if value is not None}
    if model and (chosen or assignments):
        got = ", ".join([*chosen, *(["set"] if assignments else [])])
        raise UsageError(problem("--model", "must be given alone, as the file is fixed", got, "give its --checkpoint"))
    with tempfile.TemporaryDirectory(prefix="whc-export-") as scratch:
        if checkpoint:
            exported = _export(checkpoint, out, Path(scratch), chosen, _options.assigned(assignments))
        else:
            exported = _copied(str(model), out)
        page = (
            None
            if html is None
            else _page.page(str(exported if checkpoint or html == _IN_BUNDLE else model), **detection)
        )
        if bundle:
            from whc.demo.model import load
            from whc.export.bundle import write

            load(exported)  # whose errors come before a bundle is written
            write(exported, bundle, page.whole() if page and html == _IN_BUNDLE else None)
        if page and html:
            _write_page(Path(html), page)
        written = {exported.suffix.lower()[1:]: out, "bundle": bundle, "html": Path(html) if html else None}
        sizes = {name: _size_bytes(path) for name, path in written.items() if path}
    told: dict[str, Any] = {name: str(path) for name, path in written.items() if path}
    if out:
        told["size_bytes"] = _size_bytes(out)
    lines = [f"{written[name]}: {size / 1000:.1f} KB" for name, size in sizes.items()]
    if html:
        lines[-1] += ", most of it onnxruntime-web, which runs the model in the browser"
    _options.emit(told, as_json, "\n".join(lines))


def _check_targets(out: Path | None, bundle: Path | None, html: str | None, detect: str | None) -> None:
    from whc.errors import UsageError, problem

    if not out and not bundle and not html:
        if html == _IN_BUNDLE:
            raise UsageError("--html: must be given a file, or come with --bundle, got neither; name a file")
        rule, next_step = "must be given --out, --bundle or --html", "name what to write"
        raise UsageError(problem("whc export", rule, "none of them", next_step))
    if detect and html is None:
        raise UsageError(problem("--detect", "must come with --html", detect, "leave it out, or write a page"))
    if html and (Path(html).suffix.lower() not in (".html", ".htm") or Path(html).is_dir()):
        raise UsageError(problem("--html", "must be a file that ends in .html", html, "name it model.html"))


def _write_page(path: Path, page: Page) -> None:
    from whc.records import replacing

    with replacing(path) as temporary:
        temporary.write_text(page.whole(), "utf-8")


def _export(
    checkpoint: Path, out: Path | None, scratch: Path, options: dict[str, Any], changes: dict[str, Any]
) -> Path:
    """Write a checkpoint as `out`, or into `scratch` where there is none; returns the file."""
    from whc import plugins
    from whc.config import validate
    from whc.errors import UsageError
    from whc.plugins import Choice
    from whc.training.checkpoint import load
    from whc.trials.artifacts import export, restore

    kind, data = options.pop("artifact", "onnx"), options.pop("data", None)
    try:
        exporter = plugins.load("export", kind)
    except ValueError as error:
        raise UsageError(f"--artifact: {error}") from error
    _check_out(out, exporter.SUFFIX, f"--artifact {kind}")
    _check_data(data, exporter.NEEDS_CALIBRATION, kind)
    artifact = Choice(kind, validate(exporter.Config, options, "export"))
    saved = load(checkpoint, changes)
    trial, network = restore(saved, str(checkpoint))
    inputs = _calibration(data, trial, saved) if data else None
    path = out or scratch / f"{checkpoint.stem}{exporter.SUFFIX}"
    export(trial, network, saved, path, artifact, inputs)
    return path


def _check_out(out: Path | None, suffix: str, where: str) -> None:
    from whc.errors import UsageError, problem

    if out and (out.suffix != suffix or out.is_dir()):
        rule = f"must be a file that ends in {suffix} (for {where})"
        raise UsageError(problem("--out", rule, str(out), f"name it model{suffix}"))


def _check_data(data: Path | None, is_needed: bool, kind: str) -> None:
    from whc.errors import UsageError, problem

    if bool(data) != is_needed:
        rule, advice = (
            ("must be given, as pictures fit its integers", "give the data of its training")
            if is_needed
            else ("must be left out, as it has no integers to fit", "leave it out")
        )
        raise UsageError(problem("--data", f"{rule} (--artifact {kind})", str(data) if data else "none", advice))


def _calibration(data: Path, trial: TrialConfig, saved: Checkpoint) -> NDArray[np.float32]:
    from whc.data import dataset
    from whc.trials.calibration import calibration_inputs

    sizes = {trial.model.image_size}
    corpus = dataset.load(data, sizes, trial.task_kind, interpolation=saved.interpolation)
    return calibration_inputs(trial, corpus)


def _copied(model: str, out: Path | None) -> Path:
    """The model's file, as `out` where that is asked for."""
    from whc.records import replacing

    path = _options.exported(_options.model_file(model), "--model")
    if out is None:
        return path
    _check_out(out, path.suffix.lower(), "--model")
    with replacing(out) as temporary:
        shutil.copyfile(path, temporary)
    return out


def _size_bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
