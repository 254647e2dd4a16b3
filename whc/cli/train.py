"""`whc train`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from whc.cli import _options

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from whc.records import Metric
    from whc.training.loop import Epoch
    from whc.trials.train import Start


class _Diagnostics(click.ParamType[int | None]):
    """`off`, `last` or a number of epochs, as epochs between pictures: None, 0, N."""

    name = "diagnostics"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if str(value).isdecimal() and int(str(value)) > 0:
            return int(str(value))
        if value not in ("off", "last"):
            self.fail(f"must be a number of epochs, 'last' or 'off', got {value!r}", param, ctx)
        return 0 if value == "last" else None


@click.command()
@_options.file(
    "--data", required=True, multiple=True, help="Parquet file of labelled crops, or a folder of shards (repeatable)."
)
@_options.file("--out", required=True, help="Folder of the run: checkpoints, logs, pictures and summary.json.")
@_options.file("--config", help="YAML file such as config.yaml or the config of a record.json.")
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Change one value, such as training.lr=0.01."
)
@_options.file("--init", help="Checkpoint to take model and weights from, ours or an original project's.")
@click.option("--resume", is_flag=True, help="Go on with the interrupted run in --out, as if it had not stopped.")
@click.option(
    "--diagnostics",
    type=_Diagnostics(),
    default="last",
    show_default=True,
    metavar="N|last|off",
    help="Draw how outputs and labels agree every N epochs, after the last, or never.",
)
@_options.as_json
def command(
    data: tuple[Path, ...],
    out: Path,
    config: Path | None,
    assignments: tuple[str, ...],
    init: Path | None,
    resume: bool,
    diagnostics: int | None,
    as_json: bool,
) -> None:
    """Train one network, keep its best weights by validation score, and score the test split once (if there is one)."""
    # PyTorch reads this when it loads. If waiting threads spin for long, training is ten times slower beside another
    # busy process; if they do not spin at all, it is twice as slow on an idle machine.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    start = _start(config, assignments, out, init, resume)
    from whc.data.dataset import load
    from whc.demo.predict import write_outputs
    from whc.trials.learning import image_sizes
    from whc.trials.train import train_and_save
    from whc.words import quantity

    console = _options.messages()
    with _options.progress(console, "decoding") as on_progress:
        corpus = load(data, image_sizes(start.config), start.config.task_kind, on_progress, start.interpolation)
    if corpus.unreadable:
        console.print(f"{quantity(len(corpus.unreadable), 'unreadable image')} left out, first {corpus.unreadable[0]}")
    if start.config.model.frames > 1:
        console.print(corpus.clip_rule, soft_wrap=True)
    try:
        with _watched(console, start.config.task_kind.metric) as watcher:
            trained = train_and_save(start, corpus, out, diagnostics, watcher)
        summary = trained.summary
        if summary["test_split"]:
            predictions = out / "test_predictions.csv"
            write_outputs(trained.test_outputs, data, trained.task, start.config.model.frames, "test", predictions)
    except KeyboardInterrupt:
        console.print(f"stopped; the same command with --resume goes on from {out / 'checkpoints'}")
        raise
    _options.emit(summary, as_json, _shown(summary))
    if summary["remark"]:
        console.print(summary["remark"], soft_wrap=True, markup=False)


def _shown(summary: dict[str, Any]) -> str:
    from whc.records import Metric

    metric = Metric.model_validate(summary["metric"])
    val = f"validation {metric.shown(summary['val_score'])} (epoch {summary['epoch']})"
    if not summary["test_split"]:
        floor = f"best constant {metric.number(summary['val_floor'])} on validation"
        return f"{summary['checkpoint']}: {val}, {floor}\n{metric.untested}"
    test, floor = metric.shown(summary["score"]), metric.number(summary["floor"])
    shown = f"{summary['checkpoint']}: test {test}, {val}, best constant {floor}"
    if summary["tuned"] is not None:
        at = ", ".join(f"{name} {value:.3f}" for name, value in summary["tuned"].items())
        shown += f"; test {metric.shown(summary['score_when_tuned'])} at {at}, tuned on validation"
    return shown


class _Watcher:
    """Prints a line for each epoch, and shows a progress bar of images below."""

    def __init__(self, bar: Progress, task: TaskID, console: Console, metric: Metric) -> None:
        self._bar, self._task, self._console, self._metric = bar, task, console, metric
        self._epochs = 0

    def started(self, epochs: int, of_epochs: int, images: int) -> None:
        self._epochs = of_epochs
        self._bar.reset(self._task, total=of_epochs * images, completed=epochs * images)

    def trained(self, images: int) -> None:
        self._bar.advance(self._task, images)

    def epoch_ended(self, epoch: Epoch) -> None:
        self._bar.update(self._task, speed=f"{epoch.images_per_second:.0f} images/s")
        self._console.print(
            f"epoch {epoch.epoch}/{self._epochs}: train loss {epoch.train_loss:.4f}, "
            f"val loss {epoch.val_loss:.4f}, val {self._metric.shown(epoch.val_score)}, "
            f"{epoch.images_per_second:.0f} images/s, {epoch.seconds:.1f} s",
            soft_wrap=True,
        )


@contextmanager
def _watched(console: Console, metric: Metric) -> Iterator[_Watcher]:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("training"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[speed]}", markup=False),
        TimeRemainingColumn(),
    )
    # Few updates a second: during each one the training must wait for the interpreter.
    with Progress(
        *columns, console=console, transient=True, refresh_per_second=2, disable=not console.is_terminal
    ) as bar:
        yield _Watcher(bar, bar.add_task("training", total=None, speed=""), console, metric)


def _start(config: Path | None, assignments: tuple[str, ...], out: Path, init: Path | None, resume: bool) -> Start:
    from whc.config import load_yaml
    from whc.errors import UsageError, problem

    if init and resume:
        raise UsageError(problem("--init", "must not come with --resume", str(init), "leave one of them out"))
    content = _options.assigned(assignments, load_yaml(config) if config else {})
    from whc.trials import train

    source = str(config or "--set")
    return train.resume(content, source, out) if resume else train.begin(content, source, out, init)
