"""`whc models` and `whc models diff`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from whc.cli import _options

if TYPE_CHECKING:
    from rich.console import RenderableType

    from whc.registry.models import Registered

_HASH = re.compile(r"[0-9a-f]{64}")


@click.group(cls=_options.ListsByDefault)
def command() -> None:
    """List the registered models (the default command), or compare two of them."""


@command.command(name="list")
@_options.tracking_uri
@_options.as_json
def list_all(as_json: bool) -> None:
    """Every champion, ladder by ladder, the fastest first."""
    from dataclasses import asdict

    from whc.registry.models import Registry

    models = Registry(_options.location()).listed()
    _options.emit([asdict(model) for model in models], as_json, _listed(models))


@command.command
@click.argument("a", shell_complete=_options.complete_model)
@click.argument("b", shell_complete=_options.complete_model)
@_options.tracking_uri
@_options.as_json
def diff(a: str, b: str, as_json: bool) -> None:
    """In what the registered models A and B (whc_m, whc_m/3) differ: figures, origin and configuration."""
    from whc.registry.models import Registry

    registry = Registry(_options.location())
    ours, theirs = (_facts(registry.described(name)) for name in (a, b))
    keys = sorted(ours.keys() | theirs.keys(), key=lambda key: (key.startswith("config."), key))
    differences = {key: [ours.get(key, ""), theirs.get(key, "")] for key in keys if ours.get(key) != theirs.get(key)}
    _options.emit({"a": a, "b": b, "differences": differences}, as_json, _differences(a, b, differences))


def _facts(model: Registered) -> dict[str, str]:
    about = {"name": model.name, "version": model.version, "aliases": ", ".join(model.aliases)}
    return about | model.tags | dict(_flat(model.config, "config."))


def _flat(config: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    """Dotted keys and their values as text."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)


def _listed(models: Sequence[Registered]) -> RenderableType:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if not models:
        return Text("no model is registered yet: run `whc factory build-table`")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in ("model", "version", "score", "ms", "x ref", "KB", "study"):
        is_number = heading in ("version", "ms", "x ref", "KB")
        table.add_column(heading, justify="right" if is_number else "left", no_wrap=heading != "study")
    for model in models:
        tags = model.tags
        figures = (_score(tags), tags.get("latency_ms", ""), tags.get("latency_ratio", ""))
        size_kb = f"{int(tags.get('size_bytes', 0)) / 1000:.1f}"
        table.add_row(model.name, model.version, *figures, size_kb, Text(tags.get("study", "")))
    return table


def _score(tags: Mapping[str, str]) -> str:
    """The score on test with its metric; that on validation if there is no test split."""
    from whc import tasks
    from whc.records import NO_TEST_SPLIT

    try:
        metric = tasks.kind(tags.get("task", "")).metric
    except ValueError:  # of a task that this version does not have
        return ""
    test, val = tags.get(metric.key, ""), tags.get(f"val_{metric.key}", "")
    has_test = test and test != NO_TEST_SPLIT
    return " ".join(filter(None, (metric.name, test if has_test else f"{val} on val", metric.unit)))


def _differences(a: str, b: str, differences: Mapping[str, Sequence[str]]) -> RenderableType:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if not differences:
        return Text(f"{a} and {b} are the same")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in ("", a, b):
        table.add_column(Text(heading), overflow="fold")
    for key, (ours, theirs) in differences.items():
        table.add_row(*(Text(_options.printable(text)) for text in (key, *map(_short, (ours, theirs)))))
    return table


def _short(text: str) -> str:
    """A value as it fits beside another: hashes and long numbers cut."""
    if _HASH.fullmatch(text):
        return text[:12]
    try:
        return f"{float(text):.6g}" if len(text) > 12 else text
    except ValueError:
        return text
