"""`whc train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from whc.cli import _options

if TYPE_CHECKING:
    from whc.trials.config import TrialConfig


@click.command()
@_options.file("--data", required=True, help="Parquet file of labelled crops.")
@_options.file("--out", required=True, help="Folder for checkpoint.pt, config.yaml and summary.json.")
@_options.file("--config", help="YAML file such as config.yaml or the config of a record.json.")
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Change one value, such as training.lr=0.01."
)
@_options.as_json
def command(data: Path, out: Path, config: Path | None, assignments: tuple[str, ...], as_json: bool) -> None:
    """Train one network, keep its best weights by validation F1, and score the test split once."""
    settings = _settings(config, assignments)
    from whc.data.dataset import load
    from whc.trials.train import train_and_save

    console = _options.messages()
    with _options.progress(console, "decoding") as told:
        corpus = load(data, [settings.model.image_size], told)
    _options.make_folder(out, "--out")
    if corpus.unreadable:
        console.print(f"{len(corpus.unreadable)} unreadable images left out, first {corpus.unreadable[0]}")
    with _options.progress(console, "epochs") as told:

        def report(epoch: int, val_f1: float, seconds: float) -> None:
            told(epoch, settings.training.epochs)
            console.print(f"epoch {epoch}/{settings.training.epochs}: val_f1 {val_f1:.4f}, {seconds:.1f} s")

        summary = train_and_save(settings, corpus, out, lambda point: report(point.epoch, point.val_f1, point.seconds))
    shown = (
        f"{out / 'checkpoint.pt'}: test F1 {summary['f1']:.4f}, validation F1 {summary['val_f1']:.4f} "
        f"(epoch {summary['epoch']}), always positive {summary['constant_f1']:.4f}"
    )
    _options.emit(summary, as_json, shown)


def _settings(config: Path | None, assignments: tuple[str, ...]) -> TrialConfig:
    from whc.config import load_yaml, overlay, validate
    from whc.errors import UsageError, problem

    pairs = dict(item.partition("=")[::2] for item in assignments)
    for key, value in pairs.items():
        if not key or not value:
            raise UsageError(problem("--set", "must be KEY=VALUE", f"{key}={value}", "write training.lr=0.01"))
    content = overlay(load_yaml(config) if config else {}, pairs)
    from whc.trials.config import TrialConfig

    return validate(TrialConfig, content, str(config or "--set"))
