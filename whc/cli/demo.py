"""`whc demo`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from whc.cli import _options, _page

if TYPE_CHECKING:
    from whc.demo.model import LoadedModel
    from whc.demo.people import Finder
    from whc.demo.regions import Region


@click.command()
@click.option(
    "--model",
    required=True,
    shell_complete=_options.complete_model,
    help="Registered name (whc_m, whc_m@champion, whc_m/3), or path to an .onnx or .tflite file.",
)
@click.option(
    "--source",
    help="Camera (0, /dev/video0), video, picture, folder of pictures, address (http, https, rtsp), or - for JPEGs on "
    "stdin.  [default: a rendered clip]",
)
@_options.file("--save", help="Video to write: .webm, or .mp4 with the package of `pip install 'whc[video]'`.")
@_options.file("--csv", help="CSV file to write, a row for each frame (and person).")
@_options.file("--jsonl", help="File to write, a JSON object a line for each frame, with states and events.")
@click.option("--no-smoothing", is_flag=True, help="Take each answer as it comes, not smoothed over time.")
@_options.region
@_options.detect
@_options.detect_class
@_options.margin
@click.option("--headless", is_flag=True, help="Open no window, and no browser.")
@click.option(
    "--fast", is_flag=True, help="Show files as quickly as possible, not at their own speed; JPEGs on stdin are files."
)
@click.option("--web", is_flag=True, help="Serve a page that runs the model, and its whole ladder, in the browser.")
@click.option("--server", is_flag=True, help="With --web: run the model here, on --source, and show the frames there.")
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Port of 127.0.0.1 that the page is on.  [default: a free one]"
)
@_options.runtime
@_options.threads
@_options.wait
@_options.tracking_uri
@_options.as_json
def command(
    model: str,
    source: str | None,
    save: Path | None,
    csv: Path | None,
    headless: bool,
    web: bool,
    server: bool,
    port: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Run a model on a camera, a video or pictures. Ctrl-C ends it; the files that it writes are finished.

    Keys in the window: space pauses, s saves the frame beside --save, m takes the next variant of the ladder, d shows
    latency, speed, source and dropped frames, q ends.

    With --web a page on this machine does it, in the browser: no picture leaves the browser.
    """
    is_shown = not headless and _has_display()
    if web and not server:
        _page.serve(model, port, is_shown, as_json)
        return
    from whc.demo import model as models
    from whc.demo.events import EventOptions
    from whc.demo.run import Playing, run

    _check_page_options(web, server, port)
    view = _view(**options)
    path = _options.exported(_options.model_file(model, options["runtime"]), "--model")
    loading = {name: options[name] for name in ("runtime", "threads", "wait_s")}
    load: Callable[[Path], LoadedModel] = partial(models.load, **loading)
    if web:
        _page.serve_live(load(path), source, view, port, is_shown, as_json)
        return
    events = EventOptions(not options["no_smoothing"], options["jsonl"], partial(click.echo, err=as_json))
    playing = Playing(is_shown, options["fast"], _options.siblings(model, options["runtime"]))
    summary = run(path, source, save=save, csv=csv, playing=playing, region=view, events=events, load=load)
    _options.emit(summary.model_dump(mode="json"), as_json, summary.line())


def _check_page_options(web: bool, server: bool, port: int | None) -> None:
    from whc.errors import UsageError, problem

    for option, value in (("--server", server or None), ("--port", port)):
        if value is not None and not web:
            raise UsageError(problem(option, "must come with --web", value, "add --web"))


def _view(region: str | None, margin: str | None, **options: Any) -> Region | Finder:
    """What the model sees of each frame, by what the options say of it."""
    from whc.demo.people import Finder
    from whc.demo.regions import WHOLE_FRAME, parse
    from whc.errors import UsageError, problem

    if region and options["detect"]:
        raise UsageError(problem("--region", "must be given without --detect", region, "leave one of them out"))
    detector = _options.detector(
        options["detect"], options["detect_class"], margin, options["threads"], options["wait_s"]
    )
    if detector:
        return Finder(detector, margin)
    return parse(region) if region else WHOLE_FRAME


def _has_display() -> bool:
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
