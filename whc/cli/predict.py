"""`whc predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from whc.cli import _options

if TYPE_CHECKING:
    from whc.demo.model import LoadedModel


@click.command()
@click.option(
    "--model",
    required=True,
    shell_complete=_options.complete_model,
    help="Registered name (whc_m, whc_m/3), .onnx or .tflite file, or checkpoint (an original project's too).",
)
@_options.settings
@_options.file("--source", required=True, help="Folder of images, image, Parquet file (or folder of shards), or video.")
@_options.file("--out", required=True, help="CSV file to write, a row for each decision.")
@click.option("--split", help="Take this split of a Parquet file alone (validation, dev ... are val).")
@_options.region
@_options.runtime
@_options.threads
@_options.wait
@_options.tracking_uri
@_options.as_json
def command(
    model: str,
    assignments: tuple[str, ...],
    source: Path,
    out: Path,
    split: str | None,
    region: str | None,
    as_json: bool,
    **running: Any,
) -> int:
    """Run a model over many pictures and write what it calls them.

    A row of the CSV begins with the columns that identify its picture. For a folder (with subfolders) this is path; for
    a Parquet file row, path, and, where the file has them, split and what is true; for a video frame and seconds.
    Then come the columns of the model's task; those of a classifier are label (the predicted one), probability (of that
    label), and prob_LABEL: for the positive label of two, or for each label of three or more.

    A model of several frames has a row for each full window, at its last frame; windows stay within a video_id, a video
    or a folder. With labels in the Parquet file, each split's score is told. Ctrl-C finishes the file with the rows so
    far.
    """
    from whc.demo.predict import predict
    from whc.demo.regions import WHOLE_FRAME, parse

    picture_region = parse(region) if region else WHOLE_FRAME
    loaded = _load(_options.model_file(model, running["runtime"]), _options.assigned(assignments), **running)
    with _options.progress(_options.messages(), "predicting") as on_progress:
        summary = predict(loaded, source, out, split=split, region=picture_region, on_progress=on_progress)
    _options.emit(summary.model_dump(mode="json"), as_json, summary.line())
    return 128 + summary.signal if summary.signal else 0


def _load(path: Path, changes: dict[str, Any], runtime: str | None, threads: int, wait_s: float) -> LoadedModel:
    from whc.demo import model as models
    from whc.demo.answering import BATCH_WINDOWS
    from whc.errors import UsageError, problem
    from whc.runtimes import DEFAULT_RUNTIMES

    if path.suffix.lower() in DEFAULT_RUNTIMES:
        if changes:
            advice = "give it to whc export, or leave it out"
            raise UsageError(problem("--set", "needs a checkpoint, as an exported file is fixed", str(path), advice))
        return models.load(path, runtime, threads, wait_s, BATCH_WINDOWS)
    if runtime:
        advice = "export it first, or leave --runtime out"
        raise UsageError(problem("--runtime", f"needs an exported file, as PyTorch runs {path}", runtime, advice))
    from whc.trials import predict

    return models.checked(predict.load(path, threads, changes))
