"""`whc report`."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path

import click

from whc.cli import _options


@click.command()
@click.argument("study", required=False, shell_complete=_options.complete_study)
@_options.runs
@_options.as_json
def command(study: str | None, runs: Path, as_json: bool) -> None:
    """Draw the page of a STUDY (the newest by default) and open it in a browser; print its path where there is none."""
    from whc.records import existing_study
    from whc.search.showing import report

    page = report.draw(existing_study(runs, study))
    _options.emit({"page": str(page), "opened": _opened(page)}, as_json, str(page))


def _opened(page: Path) -> bool:
    """Open a page; False where no browser with windows can be found (one of text would take the terminal)."""
    has_windows = not sys.platform.startswith("linux") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    return has_windows and webbrowser.open(page.absolute().as_uri())
