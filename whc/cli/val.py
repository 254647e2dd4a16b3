"""`whc val`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from whc.cli import _options

if TYPE_CHECKING:
    from rich.console import Group

    from whc.factory.validation import Validation


@click.command()
@click.option(
    "--model",
    required=True,
    shell_complete=_options.complete_model,
    help="Registered name (whc_m, whc_m/3), or .onnx or .tflite file.",
)
@_options.file("--data", required=True, help="Parquet file with labels (or folder of shards).")
@_options.scored_split
@_options.file("--out", help="Folder to write: val.json, diagnostics.png, and mistakes.png with the worst mistakes.")
@_options.runtime
@_options.threads
@_options.wait
@_options.tracking_uri
@_options.as_json
def command(model: str, data: Path, split: str | None, out: Path | None, as_json: bool, **running: Any) -> None:
    """Score a model on labelled data: metric with interval, floor, diagnostics and the worst mistakes.

    The interval is at 95 %, from a bootstrap over people or clips. A model of several frames is scored on each full
    window, at its last frame; a classifier also on whole clips, by the mean of their windows' probabilities.
    """
    from whc.errors import UsageError, problem
    from whc.factory import validation
    from whc.factory.scoring import read_rows

    if out and out.is_file():
        raise UsageError(problem("--out", "must be a folder", str(out), "name another"))
    path = _options.exported(_options.model_file(model, running["runtime"]), "--model")
    loaded = _options.scored_model(path, **running)
    rows = read_rows([data], [loaded], split)
    result, scored = validation.validate(loaded, rows, model)
    _options.emit(result.model_dump(mode="json"), as_json, _shown(result, out))
    if out:  # after printing: the result is not lost when a file cannot be written
        validation.write(result, scored, loaded, rows, out)


def _shown(result: Validation, out: Path | None) -> Group:
    import json

    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from whc.words import quantity

    counts = f"{quantity(result.rows, 'row')} of {quantity(result.groups, 'group')}"
    details = {name: value for name, value in result.details.items() if name not in result.parts}
    lines = [
        f"{result.model} on {result.source}, split {result.split}: {counts}",
        f"{result.shown}; {result.floor_shown}",
        *([f"by the mean of each clip's windows: {result.clips.shown}"] if result.clips else []),
        *(f"{name}: {part.shown}" for name, part in result.parts.items()),
        *(f"{name}: {json.dumps(_brief(value), ensure_ascii=False)}" for name, value in details.items()),
        *result.notes,
    ]
    table = Table(title="worst mistakes", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("row", justify="right")
    for heading in ("picture", "mistake"):
        table.add_column(heading, overflow="fold")
    for wrong in result.mistakes:
        table.add_row(str(wrong.row), *(Text(_options.printable(text)) for text in (wrong.picture, wrong.words)))
    files = [Text(f"files: {out / 'val.json'}, diagnostics.png, mistakes.png")] if out else []
    return Group(*(Text(_options.printable(line)) for line in lines), *([table] if result.mistakes else []), *files)


def _brief(value: Any) -> Any:
    """A JSON value with numbers of four digits."""
    if isinstance(value, dict):
        return {name: _brief(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_brief(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value
