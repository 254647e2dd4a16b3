"""`whc bench`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from whc.cli import _options

if TYPE_CHECKING:
    from rich.console import Group

    from whc.records import LatencySession

NUMBERS, MIN_NAME = 66, 12  # columns of a terminal that the figures take, and that a file's name has at least


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@_options.threads
@_options.runtime
@_options.wait
@_options.file("--out", help="JSON file to write: the result with each file's hash.")
@_options.as_json
def command(
    files: tuple[Path, ...], threads: int, runtime: str, wait_s: float, out: Path | None, as_json: bool
) -> None:
    """Time ONNX FILES against each other, interleaved; any ONNX file with one input of fixed size will do.

    A file that cannot be timed is told and left out, also when it crashes its runtime or never answers.
    """
    from whc import records
    from whc.errors import ArtifactError, UsageError, problem
    from whc.latency.bench import session
    from whc.latency.timing import Protocol
    from whc.runtimes import choose

    if out and out.is_dir():
        raise UsageError(problem("--out", "must be a file", str(out), "name a .json file in it"))
    found = session(files, choose(runtime, threads), Protocol(), wait_s=wait_s)
    if as_json or found.files:
        _options.emit(found.model_dump(mode="json", by_alias=True), as_json, _table(found))
    if out:  # after all is told: what was measured is not lost where the file is refused
        records.save(found, out)
    if found.failed:
        raise ArtifactError("\n".join(file.reason for file in found.failed))


def _table(found: LatencySession) -> Group:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from whc.words import quantity

    # Lines of their own: a title would be wrapped to the table's width.
    lines = [f"batch 1, {quantity(found.threads, 'thread')}, {found.runtime}, {found.host}"]
    folder, names = _options.common_folder([file.path for file in found.files])
    if folder:
        lines.append(f"files in {folder}")
    room = max(MIN_NAME, shutil.get_terminal_size().columns - NUMBERS)
    table = Table()
    table.add_column("file", no_wrap=True)
    for heading in ("ms", "±", "p90", "p99", "x ref", "x first", "±"):
        table.add_column(heading, justify="right", no_wrap=True)
    for file, name in zip(found.files, names, strict=True):
        latency, ratio = file.latency, file.ratio_to_first
        table.add_row(
            Text(_options.shortened(_options.printable(name), room)),
            f"{latency.ms:.4f}",
            f"{_half_width(latency.ms, latency.low_ms, latency.high_ms):.1%}",
            f"{latency.p90_ms:.4f}",
            f"{latency.p99_ms:.4f}",
            f"{latency.ratio:.3f}",
            f"{ratio:.3f}",
            f"{_half_width(ratio, file.ratio_to_first_low, file.ratio_to_first_high):.1%}",
        )
    return Group(*map(Text, lines), table, _caption(found))


def _half_width(value: float, low: float, high: float) -> float:
    return (high - low) / 2 / value


def _caption(found: LatencySession) -> str:
    """How long the reference network took, and how far to believe all this."""
    twin = f"{found.aa_ratio:.3f} ({found.aa_low:.3f} to {found.aa_high:.3f})"
    told = f"±: half of the 95 % interval; ref: reference network, {found.reference_ms:.4f} ms, against itself {twin}"
    if not found.noisy:
        return told
    return f"{told}\nThe machine was too noisy for these figures: close other programs and measure again."
