"""The page that runs models in a browser, made of its modules and of the files that it loads."""

from __future__ import annotations

import base64
import gzip
import html
import json
import posixpath
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from string import Template
from typing import Any

import cv2
import numpy as np

from whc.demo.detectors import Settings
from whc.demo.sources import open_source
from whc.demo.web.descriptions import detector_bytes, detector_description, model_description
from whc.demo.web.runtime_files import runtime_files
from whc.records import Metric

CLIP_COLUMNS = 12  # frames side by side in the picture of the rendered clip
_CLIP_PART, _DETECTOR_PART = "clip", "detector"
_LOSSLESS = 101  # quality of a WebP file that loses nothing
_GZIP_LEVEL = 6  # 9 takes twice as long, for half a percent
_FOLDER = Path(__file__).parent
_PACKAGE = "whc"  # what the names of our modules begin with
_RELATIVE = re.compile(r"""(?P<before>\b(?:from|import)\s*["'])(?P<path>\.\.?/[^"']+)""")


@dataclass(frozen=True)
class PageModel:
    """A model of a page: its name, its file, and its score as people read it (None: not known)."""

    name: str
    file: Path
    score: float | None = None


@dataclass(frozen=True)
class PageDetector:
    """What finds the crops that the models see.

    `source` is the path of its ONNX file, or its name; `label` the only class to find, None for all; `margin` that of
    the crops, None for what the models learnt.
    """

    source: str
    label: str | None = None
    margin: str | None = None


@dataclass(frozen=True)
class Page:
    """What a page shows, as JSON has it, and the files that it loads, by name."""

    setup: Mapping[str, Any]
    parts: Mapping[str, bytes]

    def served(self, nonce: str) -> str:
        """The page without its files, which it loads from `parts/` beside it."""
        return _html(self.setup, {}, nonce, policy(nonce))

    def whole(self) -> str:
        """The page with its files, which a browser opens from disk."""
        nonce = secrets.token_urlsafe(16)
        return _html(self.setup, self.parts, nonce, policy(nonce, is_served=False))


def policy(nonce: str, is_served: bool = True) -> str:
    """The Content-Security-Policy of a page: its own scripts and styles, and nothing from elsewhere."""
    connect, images = ("'self'", "'self' data: blob:") if is_served else ("'none'", "data: blob:")
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}' 'wasm-unsafe-eval'; style-src 'nonce-{nonce}'; "
        f"connect-src {connect}; img-src {images}; media-src blob:; base-uri 'none'; form-action 'none'"
    )


def live_page(title: str, nonce: str) -> str:
    """The page of a source of this machine, whose frames are drawn here."""
    return _filled("live.html", policy=policy(nonce), nonce=nonce, title=html.escape(title))


def assemble(
    models: Sequence[PageModel], chosen: str, metric: Metric | None = None, detector: PageDetector | None = None
) -> Page:
    """The page of the variants of a model.

    Args:
        models: the variants, fastest first.
        chosen: name of the one that is drawn first.
        metric: that of their scores.
        detector: what finds the crops that they see; None: they see complete pictures.

    Raises:
        UsageError: the files of onnxruntime-web are not there, or the detector is none for a browser or these models.
        ArtifactError: a file cannot be used.
    """
    library, glue, wasm = paths = runtime_files().values()
    parts = {path.name: path.read_bytes() for path in paths}
    described = []
    for number, model in enumerate(models):
        parts[f"model-{number}"] = model.file.read_bytes()
        described.append(_described(model, f"model-{number}", metric, detector))
    clip, parts[_CLIP_PART] = _rendered_clip()
    setup = {
        "title": chosen if len(models) == 1 else _prefix(chosen),
        "about": _about(described),
        "runtime": {"library": library.name, "glue": glue.name, "wasm": wasm.name},
        "models": described,
        "chosen": chosen,
        "metric": {"name": metric.name, "isError": metric.is_error} if metric else None,
        "detector": None,
        "clip": {"part": _CLIP_PART, **clip},
    }
    if detector:
        description = detector_description(detector.source, Settings(detector.label))
        setup["detector"] = {"part": _DETECTOR_PART, "description": description}
        parts[_DETECTOR_PART] = detector_bytes(detector.source)
    return Page(setup, parts)


def _described(model: PageModel, part: str, metric: Metric | None, detector: PageDetector | None) -> dict[str, Any]:
    shown = "" if model.score is None or metric is None else f"{model.score:.{max(0, metric.digits - 1)}f}"
    return {
        "name": model.name,
        "part": part,
        "size_bytes": model.file.stat().st_size,
        "score": model.score,
        "shown": f"{shown} {metric.unit}".strip() if metric else "",
        "description": model_description(model.file, detector.margin if detector else None),
    }


def _prefix(name: str) -> str:
    """The name of the ladder of a variant."""
    return name.rpartition("_")[0]


def _about(described: Sequence[Mapping[str, Any]]) -> str:
    labels = described[0]["description"]["metadata"]["labels"]
    what = ", ".join(labels[:6]) + (", …" if len(labels) > 6 else "")
    return f"Labels: {what}. Everything runs in this browser: no picture leaves it."


def _rendered_clip() -> tuple[dict[str, Any], bytes]:
    """The frames of the rendered clip in one picture, row by row, and how they lie there."""
    with open_source(None) as source:
        frames = np.stack([frame.picture for frame in source])
        fps = source.fps
    count, height, width, _ = frames.shape
    rows = -(-count // CLIP_COLUMNS)
    padded = np.concatenate([frames, np.zeros((rows * CLIP_COLUMNS - count, height, width, 3), np.uint8)])
    grid = padded.reshape(rows, CLIP_COLUMNS, height, width, 3).swapaxes(1, 2)
    sheet = grid.reshape(rows * height, CLIP_COLUMNS * width, 3)
    encoded = cv2.imencode(".webp", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_WEBP_QUALITY, _LOSSLESS])[1]
    shape = {"frames": count, "height": height, "width": width, "columns": CLIP_COLUMNS, "fps": fps}
    return shape, encoded.tobytes()


def _html(setup: Mapping[str, Any], parts: Mapping[str, bytes], nonce: str, rules: str) -> str:
    """The page as HTML, with these files in it."""
    packed = {name: _base64(gzip.compress(content, _GZIP_LEVEL)) for name, content in parts.items()}
    elements = (
        f'<script type="application/octet-stream" id="part-{name}">{text}</script>' for name, text in packed.items()
    )
    return _filled(
        "index.html",
        policy=rules,
        nonce=nonce,
        title=html.escape(setup["title"]),
        imports=_json({"imports": _modules()}),
        setup=_json(setup),
        parts="\n".join(elements),
    )


def _filled(name: str, **values: str) -> str:
    """A template of the page's folder, with the style that all have."""
    folder = _FOLDER / "page"
    style = (folder / "page.css").read_text("utf-8")
    return Template((folder / name).read_text("utf-8")).substitute(style=style, **values)


def _json(value: object) -> str:
    """JSON that cannot end the element that holds it."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")


def _modules() -> dict[str, str]:
    """Every module by its name, as an address that holds it: a page on disk may import no other file."""
    paths = sorted([*_FOLDER.glob("engine/**/*.js"), *_FOLDER.glob("page/*.js")])
    return {
        f"{_PACKAGE}/{path.relative_to(_FOLDER).as_posix()}": f"data:text/javascript;base64,{_base64(_module(path))}"
        for path in paths
    }


def _module(path: Path) -> bytes:
    """A module that imports others by name: an address that holds a module has no others beside it."""
    place = PurePosixPath(_PACKAGE, path.relative_to(_FOLDER).parent.as_posix())

    def named(found: re.Match[str]) -> str:
        return found["before"] + posixpath.normpath(place / found["path"])

    return _RELATIVE.sub(named, path.read_text("utf-8")).encode()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
