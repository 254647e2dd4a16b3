"""The page of the demo, for the commands that serve it or write it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from whc.cli import _options

if TYPE_CHECKING:
    from whc.demo.model import LoadedModel
    from whc.demo.people import Finder
    from whc.demo.regions import Region
    from whc.demo.web.assemble import Page, PageDetector, PageModel
    from whc.demo.web.server import Site
    from whc.records import Metric


# What `whc demo --web` takes; the page itself chooses all else.
_PAGE_OPTIONS = frozenset({"model", "detect", "detect_class", "margin", "headless", "web", "port", "as_json"})
_LIVE_OPTIONS = _PAGE_OPTIONS | {"server", "source", "region", "runtime", "threads", "wait_s"}


def serve(model: str, port: int | None, is_opened: bool, as_json: bool) -> None:
    """Serve the page of a model until Ctrl-C, by the options of the command that runs.

    Args:
        model: registered name, or path.
        port: port of the page, None for a free one.
        is_opened: whether a browser opens.
        as_json: whether the address is printed as JSON.

    Raises:
        UsageError: an option has no meaning for a page, the port is taken, or as `page`.
        ArtifactError: as `page`.
        RegistryError: as `page`.
    """
    from whc.demo.web.server import page_site

    context = click.get_current_context()
    _check_options(context, _PAGE_OPTIONS, "--web")
    made = page(model, *(context.params[name] for name in ("detect", "detect_class", "margin")))
    _serve(page_site(made), port, is_opened, as_json)


def serve_live(
    model: LoadedModel, source: str | None, view: Region | Finder, port: int | None, is_opened: bool, as_json: bool
) -> None:
    """Serve a source of this machine, with what a model says of it, until Ctrl-C.

    Args:
        model: the model to run.
        source: as the demo takes it.
        view: the part of each frame that the model sees, or what finds the crops.
        port: as `serve`.
        is_opened: as `serve`.
        as_json: as `serve`.

    Raises:
        UsageError: an option has no meaning for a page, the port is taken, or the model does not suit the detector.
    """
    from whc.demo.web.live import Broadcast, frames_of
    from whc.demo.web.server import live_site

    _check_options(click.get_current_context(), _LIVE_OPTIONS, "--server")
    _serve(live_site(Broadcast(frames_of(model, source, view)), model.path.stem), port, is_opened, as_json)


def _serve(site: Site, port: int | None, is_opened: bool, as_json: bool) -> None:
    import webbrowser

    from whc.demo.web.server import serve

    def announce(address: str) -> None:
        # Flushed, as a program that started this waits for the line.
        _options.emit({"address": address}, as_json, f"{address}  (Ctrl-C ends it)")
        sys.stdout.flush()
        if is_opened:
            webbrowser.open(address)

    serve(site, port or 0, announce)


def _check_options(context: click.Context, allowed: frozenset[str], where: str) -> None:
    from whc.errors import UsageError, problem

    for param in context.command.get_params(context):
        name = param.name or ""
        is_given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if is_given and name in context.params.keys() - allowed:
            rule = f"must be left out with {where}"
            raise UsageError(problem(param.opts[0], rule, str(context.params[name]), "leave it out"))


def page(model: str, detect: str | None, detect_class: str | None, margin: str | None) -> Page:
    """The page of a model: of all variants of its ladder if it is a champion, else of its file alone.

    Raises:
        UsageError: a file or the detector is none for a browser, or the files of onnxruntime-web are not there.
        ArtifactError: a file cannot be used.
        RegistryError: there is no such file and no such model.
    """
    from whc.demo.web.assemble import assemble
    from whc.demo.web.runtime_files import runtime_files

    runtime_files()  # whose error comes before all others
    chosen = _runnable(_options.exported(_options.model_file(model), "--model"), "--model")
    models, metric = _ladder(model, chosen)
    return assemble(models, chosen.stem, metric, _detector(detect, detect_class, margin))


def _runnable(path: Path, option: str) -> Path:
    from whc.errors import UsageError, problem

    if path.suffix.lower() != ".onnx":
        raise UsageError(
            problem(
                option,
                "must be an .onnx file to run in a browser",
                str(path),
                "give a name of a ladder of ONNX files, or such a file",
            )
        )
    return path


def _ladder(model: str, chosen: Path) -> tuple[list[PageModel], Metric | None]:
    """The variants, fastest first, with their scores where they are known."""
    from whc.demo.web.assemble import PageModel
    from whc.errors import RegistryUnavailable
    from whc.registry.models import Registry

    alone = [PageModel(chosen.stem, chosen)]
    if Path(model) == chosen:
        return alone, None
    try:
        ladder = Registry(_options.location()).ladder(model)
    except RegistryUnavailable:  # the chosen file itself is here
        ladder = []
    usable = {champion.name: (champion.path, tags) for champion, tags in ladder if champion.path}
    if chosen.stem not in usable:
        return alone, None
    metric, scores = _scores({name: tags for name, (_, tags) in usable.items()})
    return [PageModel(name, path, scores.get(name)) for name, (path, _) in usable.items()], metric


def _scores(tags: Mapping[str, Mapping[str, str]]) -> tuple[Metric | None, dict[str, float]]:
    """The metric of a ladder and each variant's score in it: on test, or on validation if there is no test split."""
    from whc import tasks
    from whc.records import NO_TEST_SPLIT

    try:
        metric = tasks.kind(next(iter(tags.values())).get("task", "")).metric
    except ValueError:  # of a task that this version does not have
        return None, {}
    is_tested = all(known.get(metric.key, NO_TEST_SPLIT) != NO_TEST_SPLIT for known in tags.values())
    key, name = (metric.key, metric.name) if is_tested else (f"val_{metric.key}", f"{metric.name} on val")
    scores = {variant: float(known[key]) for variant, known in tags.items() if key in known}
    return metric.model_copy(update={"name": name}), scores


def _detector(name: str | None, label: str | None, margin: str | None) -> PageDetector | None:
    from whc.demo import detectors
    from whc.demo.web.assemble import PageDetector

    _options.check_detector(name, label, margin)
    if name is None or name in detectors.built_in_names():
        return PageDetector(name, label, margin) if name else None
    path = _runnable(_options.exported(_options.model_file(name), "--detect"), "--detect")
    return PageDetector(str(path), label, margin)
