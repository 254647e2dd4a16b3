"""A whole page: one HTML file with its style, its scripts and all its pictures inside."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from whc.pages.figures import Figure
from whc.pages.parts import CurvePanel, Fold, Part, SideBySide

_TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class Section:
    """A heading with the parts below it."""

    title: str
    parts: Sequence[Part]


def render(title: str, facts: Mapping[str, str], sections: Sequence[Section], note: str = "") -> str:
    """The HTML of a page, the same for the same values.

    Args:
        title: its heading.
        facts: shown below the heading.
        sections: in order.
        note: a remark below the facts, such as that the page holds pictures.
    """
    parts = [part for section in sections for part in _all_parts(section.parts)]
    figures = [part for part in parts if isinstance(part, Figure)]
    panels = [part for part in parts if isinstance(part, CurvePanel)]
    curves = {trial: curve for panel in panels for trial, curve in panel.curves.items()}
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    numbers = {id(figure): f"figure-{number}" for number, figure in enumerate(figures)}
    environment.globals["figure_id"] = lambda figure: numbers[id(figure)]
    data = {
        "figures": {numbers[id(figure)]: figure.spec for figure in figures},
        "curves": curves,
        "curveTitle": panels[0].value_title if panels else "",
        "firstCurve": panels[0].first if panels else "",
    }
    return environment.get_template("page.html.j2").render(
        title=title,
        facts=facts,
        note=note,
        sections=sections,
        style=_own("page.css"),
        script=_own("page.js"),
        library=_library() if figures else "",
        data=_packed(json.dumps(data, separators=(",", ":"), allow_nan=False).encode()) if figures else "",
    )


def _all_parts(parts: Sequence[Part]) -> Iterator[Part]:
    """The parts with those inside them."""
    for part in parts:
        yield part
        if isinstance(part, SideBySide | Fold):
            yield from _all_parts(part.parts)


def _own(name: str) -> Markup:
    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))  # noqa: S704 (our own file)


@cache
def _library() -> Markup:
    """plotly.js, packed: 2 MB instead of 5. The page inflates it (DecompressionStream, in browsers since 2023)."""
    spec = find_spec("plotly")
    assert spec is not None and spec.origin is not None  # noqa: S101 (a dependency)
    script = Path(spec.origin).with_name("package_data") / "plotly.min.js"
    return _packed(script.read_bytes())


def _packed(content: bytes) -> Markup:
    """Compressed content in base64, which no text of a user can leave."""
    return Markup(base64.b64encode(gzip.compress(content, mtime=0)).decode())  # noqa: S704 (base64)
