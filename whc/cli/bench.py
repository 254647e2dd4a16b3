"""`whc bench`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from whc.cli import _options

if TYPE_CHECKING:
    from rich.console import Group

    from whc.latency.timer import TimingPlace
    from whc.plugins import Choice
    from whc.records import LatencySession

FIGURES_WIDTH, MIN_NAME_WIDTH = 66, 12  # in a terminal's columns: all figures together, and a file's name at least


@click.command()
@click.argument("models", metavar="FILES", nargs=-1, shell_complete=_options.complete_model)
@_options.threads
@_options.runtime
@_options.wait
@_options.file("--out", help="JSON file to write: the result with each file's hash.")
@_options.tracking_uri
@_options.as_json
@click.option("--serve", is_flag=True, help="Time what `whc search --time-on` sends, until Ctrl-C.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on with --serve.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8700, show_default=True, help="Port to listen on; 0: a free one."
)
@_options.token_file
def command(
    models: tuple[str, ...],
    threads: int,
    runtime: str | None,
    wait_s: float,
    out: Path | None,
    as_json: bool,
    serve: bool,
    **listening: Any,
) -> None:
    """Time FILES against each other, interleaved: any .onnx or .tflite file with one input of fixed size.

    A registered name stands for its file. Each runs on the usual runtime of its kind, or on --runtime if that reads it.
    The time is what a Python caller sees.

    A file that cannot be timed is reported and left out, also when it crashes its runtime or never answers.

    With --serve there are no FILES: other machines send them, with a token, while they search.
    """
    from whc import records
    from whc.errors import ArtifactError, UsageError, problem
    from whc.latency.bench import session
    from whc.latency.timing import Protocol
    from whc.runtimes import DEFAULT_RUNTIMES, choose, choose_for

    if serve:
        if models or out or as_json:
            rule = "must come without FILES, --out and --json"
            raise UsageError(f"--serve: {rule}, got one of them; other machines send the files")
        _serve(choose(runtime or DEFAULT_RUNTIMES[".onnx"], threads), wait_s, **listening)
        return
    if not models:
        raise UsageError("FILES: required, got nothing; see `whc bench --help`")
    if out and out.is_dir():
        raise UsageError(problem("--out", "must be a file", str(out), "name a .json file in it"))
    files = [_options.model_file(model, runtime) for model in models]
    result = session(files, choose_for(files, runtime, threads), Protocol(), wait_s=wait_s)
    if as_json or result.files:
        _options.emit(result.model_dump(mode="json", by_alias=True), as_json, _table(result))
    if out:  # after printing: the result is not lost when the file cannot be written
        records.save(result, out)
    if result.failed:
        raise ArtifactError("\n".join(file.reason for file in result.failed))


def _serve(runtime: Choice, wait_s: float, host: str, port: int, token_file: Path | None) -> None:
    from whc.latency.timer.address import is_loopback
    from whc.latency.timer.server import serve
    from whc.latency.timer.token import new_token

    given = _options.timer_token(token_file)
    token = given or new_token()

    def announce(url: str, place: TimingPlace) -> None:
        click.echo(f"timer at {url}: {place}")
        if not given:
            click.echo(f"token, shown only here; others give it in WHC_TIMER_TOKEN: {token}")
        if not is_loopback(host):
            click.echo(
                f"{host} is open to other machines, and nothing is encrypted: who listens in reads token and files; "
                "an SSH tunnel to 127.0.0.1 is safe"
            )

    serve((host, port), runtime, wait_s, token, announce)


def _table(result: LatencySession) -> Group:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from whc.words import quantity

    # Separate lines: a title would be wrapped to the table's width.
    runtimes = dict.fromkeys(file.latency.runtime for file in result.files)
    lines = [f"batch 1, {quantity(result.threads, 'thread')}, {', '.join(runtimes)}, {result.host}"]
    folder, names = _options.common_folder([file.path for file in result.files])
    if folder:
        lines.append(f"files in {folder}")
    name_width = max(MIN_NAME_WIDTH, shutil.get_terminal_size().columns - FIGURES_WIDTH)
    table = Table()
    table.add_column("file", no_wrap=True)
    for heading in ("ms", "±", "p90", "p99", "x ref", "x first", "±"):
        table.add_column(heading, justify="right", no_wrap=True)
    for file, name in zip(result.files, names, strict=True):
        latency, ratio = file.latency, file.ratio_to_first
        table.add_row(
            Text(_options.shortened(_options.printable(name), name_width)),
            f"{latency.ms:.4f}",
            f"{_half_width(latency.ms, latency.low_ms, latency.high_ms):.1%}",
            f"{latency.p90_ms:.4f}",
            f"{latency.p99_ms:.4f}",
            f"{latency.ratio:.3f}",
            f"{ratio:.3f}",
            f"{_half_width(ratio, file.ratio_to_first_low, file.ratio_to_first_high):.1%}",
        )
    return Group(*map(Text, lines), table, _caption(result), *_parts(result, names))


def _half_width(value: float, low: float, high: float) -> float:
    return (high - low) / 2 / value


def _parts(result: LatencySession, names: Sequence[str]) -> Iterator[str]:
    """Lines on what a call costs, and on memory, where they were measured."""
    files = list(zip(result.files, map(_options.printable, names), strict=True))
    own = [f"{name} {file.own_ms:.4f}" for file, name in files if file.own_ms is not None]
    calls = {file.latency.runtime: file.call_ms for file, _ in files if file.call_ms is not None}
    if own:
        shown = " and ".join(f"{call_ms:.4f} ms on {runtime}" for runtime, call_ms in calls.items())
        yield f"A call of an empty network takes {shown}; beyond it, ms: {', '.join(own)}"
    less = [name for file, name in files if file.is_mostly_call]
    if less:
        yield f"Less than the call itself: {', '.join(less)}"
    memory = [f"{name} {file.ram_bytes / 1e6:.1f}" for file, name in files if file.ram_bytes is not None]
    if memory:
        yield f"Memory beyond an empty network, MB: {', '.join(memory)}"


def _caption(result: LatencySession) -> str:
    """Line on the reference network's time, and on whether the figures can be trusted."""
    twin = f"{result.aa_ratio:.3f} ({result.aa_low:.3f} to {result.aa_high:.3f})"
    reference = f"reference network, {result.reference_ms:.4f} ms, against itself {twin}"
    caption = f"±: half of the 95 % interval; ref: {reference}"
    if not result.noisy:
        return caption
    return f"{caption}\nThe machine was too noisy for these figures: close other programs and measure again."
