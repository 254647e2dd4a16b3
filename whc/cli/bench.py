"""`whc bench`."""

from __future__ import annotations

from pathlib import Path

import click

from whc.cli import _options


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@_options.threads
@_options.as_json
def command(files: tuple[Path, ...], threads: int, as_json: bool) -> None:
    """Time ONNX FILES against each other, interleaved; any ONNX file with one input of fixed size will do."""
    from rich.table import Table

    from whc.latency.bench import bench
    from whc.latency.timing import REFERENCE, Protocol
    from whc.plugins import ChoiceOf

    runtime = ChoiceOf("runtimes").parse({"onnxruntime_cpu": {"threads": threads}})
    timed = bench({str(path): path for path in files}, runtime, Protocol(min_rounds=100, max_rounds=600))
    host = timed[REFERENCE].host
    table = Table(title=f"batch 1, {threads} thread(s), {host}", title_justify="left")
    table.add_column("file", overflow="fold")
    for heading in ("ms", "95 % interval", "p90", "p99", "x reference"):
        table.add_column(heading, justify="right")
    for name, latency in timed.items():
        interval = f"{latency.low_ms:.4f} to {latency.high_ms:.4f}"
        numbers = (
            f"{latency.ms:.4f}",
            interval,
            f"{latency.p90_ms:.4f}",
            f"{latency.p99_ms:.4f}",
            f"{latency.ratio:.3f}",
        )
        table.add_row(name, *numbers)
    _options.emit({name: latency.model_dump() for name, latency in timed.items()}, as_json, table)
