"""`whc demo`."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from whc.cli import _options


@click.command()
@click.option(
    "--model",
    required=True,
    shell_complete=_options.complete_model,
    help="Registered name (whc_m, whc_m@champion, whc_m/3), or path to an .onnx file.",
)
@click.option("--source", help="Camera number, video, picture or folder of pictures.  [default: a rendered clip]")
@_options.file("--save", help="Video to write: .webm (VP8), or .mp4, which browsers do not play.")
@_options.file("--csv", help="CSV file to write, a row for each frame.")
@_options.region
@click.option("--headless", is_flag=True, help="Open no window.")
@_options.runtime
@_options.threads
@_options.wait
@_options.as_json
def command(
    model: str,
    source: str | None,
    save: Path | None,
    csv: Path | None,
    region: str | None,
    headless: bool,
    as_json: bool,
    **runtime_options: Any,
) -> None:
    """Run a model on a camera, a video or pictures. Ctrl-C ends it; the files that it writes are finished."""
    from whc.demo.regions import WHOLE_FRAME, parse
    from whc.demo.run import run

    picture_region = parse(region) if region else WHOLE_FRAME
    summary = run(
        _exported(_options.model_file(model)),
        source,
        save=save,
        csv=csv,
        display=not headless and _has_display(),
        region=picture_region,
        **runtime_options,
    )
    _options.emit(summary.model_dump(mode="json"), as_json, summary.line())


def _exported(path: Path) -> Path:
    from whc.errors import UsageError, problem

    if path.suffix.lower() != ".onnx" and path.is_file():
        onnx = path.with_suffix(".onnx").name
        advice = shlex.join(("whc", "export", "--checkpoint", str(path), "--out", onnx))
        raise UsageError(problem("--model", "must be a registered name or an .onnx file", str(path), f"run `{advice}`"))
    return path


def _has_display() -> bool:
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
