"""`whc factory compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from whc.cli import _options

if TYPE_CHECKING:
    from rich.console import Group

    from whc.factory.comparison import ComparedModel, Comparison
    from whc.factory.measuring import Side
    from whc.factory.scoring import Model
    from whc.records import Metric


@click.command()
@click.argument("a", shell_complete=_options.complete_study)
@click.argument("b", shell_complete=_options.complete_study)
@_options.file(
    "--data", help="Parquet file with labels (or folder of shards).  [default: the data of A's study, or of B's]"
)
@_options.scored_split
@_options.runs
@_options.tracking_uri
@_options.runtime
@_options.threads
@_options.wait
@_options.as_json
def command(
    a: str,
    b: str,
    data: Path | None,
    split: str | None,
    runs: Path,
    runtime: str | None,
    threads: int,
    wait_s: float,
    as_json: bool,
) -> None:
    """Compare the ladders A and B: the same rows, one timing session, paired by person or clip.

    Each is a study (its name or folder), the prefix of a registered ladder, an .onnx or .tflite file, or a folder of
    .onnx files. A file without whc's metadata is taken to have the input and output of the other side. Rows whose
    picture or person one of the two was trained on are left out.
    """
    from whc.factory.comparison import compare
    from whc.latency.timing import Protocol
    from whc.runtimes import choose_for

    sides = {"A": _side(a, runs), "B": _side(b, runs)}

    def load(path: Path, like: Model | None) -> Model:
        return _options.scored_model(path, runtime, threads, wait_s, like.metadata if like else None)

    with _options.steps() as on_step:
        files = [path for side in sides.values() for path in side.files.values()]
        result = compare(sides, load, data, split, choose_for(files, runtime, threads), Protocol(), on_step)
    _options.emit(result.model_dump(mode="json"), as_json, _shown(result))


def _side(text: str, runs: Path) -> Side:
    """The files that an argument names."""
    from whc import records
    from whc.errors import RegistryError, UsageError, problem
    from whc.factory.measuring import TABLE_FILE, Side, ladder_side
    from whc.records import LadderTable

    path = Path(text)
    for folder in (path, runs / text):
        if (folder / TABLE_FILE).is_file():
            return ladder_side(records.load(LadderTable, folder / TABLE_FILE), folder)
    if path.is_file():
        return Side(text, {path.stem: path})
    if inside := sorted(path.glob("*.onnx")):
        return Side(f"files in {text}", {file.stem: file for file in inside})
    from whc.registry.models import Registry

    champions = Registry(_options.location()).champions(text)
    if not champions:
        rule = "must be a study with a ladder, the prefix of a registered ladder, an .onnx file or a folder of them"
        raise UsageError(problem("A and B", rule, text, "see `whc studies` and `whc models`"))
    files = {}
    for champion in champions:
        if champion.path is None:
            raise RegistryError(champion.fault)
        files[champion.name] = champion.path
    return Side(f"registered {text}", files, runs / champions[0].study)


def _shown(result: Comparison) -> Group:
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from whc.words import quantity

    metric = result.metric
    counts = f"{quantity(result.rows, 'row')} of {quantity(result.groups, 'group')}"
    lines = [
        *(f"{key}: {title}" for key, title in result.sides.items()),
        f"split {result.split} of {result.source}: {counts}, {result.left_out} left out as A or B was trained on them",
        f"{result.floor_shown}; {result.host}",
    ]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    table.add_column("", no_wrap=True)
    table.add_column("model", overflow="fold")  # in a narrow window names have several lines, and no number is cut
    for heading in (f"{metric.name} (95 %)", "ms", "KB"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("rival", overflow="fold")
    for heading in ("better by (95 %)", "x ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    for model in result.models:
        table.add_row(*_row(model, metric))
    rival = "rival: the other side's best that is not slower, or its fastest; better by: more is better"
    remarks = [*result.notes, *(f"left out: {reason}" for reason in result.failed.values())]
    if result.noisy:
        remarks.append("the machine was too noisy for these latencies: close other programs and compare again")
    return Group(*(Text(_options.printable(line)) for line in lines), table, rival, *map(Text, remarks))


def _row(model: ComparedModel, metric: Metric) -> tuple[str, ...]:
    scale = metric.error_scale or 1
    digits = max(2, metric.digits - 1)
    gain, low, high = (f"{scale * value:+.{digits}f}" for value in (model.gain, model.gain_low, model.gain_high))
    return (
        model.side,
        _options.shortened(_options.printable(model.name), 11),
        f"{metric.number(model.score)} ({metric.shown_range(model.score_low, model.score_high, '-')})",
        f"{model.latency_ms:#.4g}",
        f"{model.size_bytes / 1000:.0f}",
        _options.shortened(_options.printable(model.rival), 11),
        f"{gain} ({low}, {high})",
        f"{model.times_rival:#.3g}",
    )
