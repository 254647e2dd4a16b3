"""A page: one file, all text escaped, figures that scripts can read."""

from __future__ import annotations

import base64
import gzip
import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whc.pages import (
    Bar,
    Cell,
    Column,
    CurvePanel,
    Facts,
    Fold,
    Link,
    Listing,
    Part,
    Picture,
    Pictures,
    Section,
    SideBySide,
    Table,
    Text,
    render,
)
from whc.pages.figures import Axis, Dot, Dots, LineGroup, Steps, curves, front, parallel, plain, shares, steps
from whc.pages.thumbnails import THUMBNAIL_SIDE, thumbnail

ODD = "</script><script>alert(1)</script><b x=\"'&"


class Reader(HTMLParser):
    """Tags with their attributes, text, and scripts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: dict[str | None, str] = {}
        self._script: str | None = None
        self._is_script = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._is_script = tag in ("script", "style")
        if tag == "script":
            self._script = dict(attrs).get("id")
            self.scripts[self._script] = ""

    def handle_endtag(self, tag: str) -> None:
        self._is_script = False

    def handle_data(self, data: str) -> None:
        if self._is_script:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
        else:
            self.text += data


def page_data(page: str) -> dict[str, Any]:
    """What the page's script draws."""
    data: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(Reader(page).scripts["page-data"])))
    return data


def every_part(text: str) -> list[Part]:
    """Each kind of part with a text wherever one goes."""
    dot = Dot(text, 0.1, 0.5, text, label=text)
    other = Dot(text, 0.2, 0.6, text, (0.01, 0.02), (0.1, 0.1))
    axes = [Axis(text, [text, None, "b"]), Axis("lr", [0.1, 0.01, 0.1], is_log=True), Axis("one", [1, 1, 1])]
    return [
        Text(text),
        Facts({text: text, "file": Link(text, text)}),
        Listing([text]),
        Table([Column(text)], [[text], [Cell(text, 1.0)], [Bar(text, 0.5)]], True, [text] * 3),
        Pictures([Picture("", text), Picture(thumbnail(np.zeros((4, 4, 3), np.uint8)), text)]),
        Pictures([Picture(thumbnail(np.zeros((4, 4, 3), np.uint8)), text)], is_wide=True),
        SideBySide([steps(Steps([0, 1], [0, 1], "x", text, [text, text]))]),
        Fold(text, [curves({text: [(1, 0.5)]}, text)]),
        front([Dots("trials", [dot, other], "#888888")], text, [dot, other], is_less_better=False),
        shares({text: (0.5, 0.1)}, text),
        parallel(axes, [LineGroup("all", [0, 1, 2], "#888888", 1.0)], [text] * 3),
        CurvePanel(text, text, text, {text: (text, [(1, 0.5)])}),
    ]


def test_text_stays_text() -> None:
    page = render(ODD, {ODD: ODD}, [Section(ODD, every_part(ODD))], ODD)
    plain_page = render("t", {"t": "t"}, [Section("t", every_part("t"))], "t")
    assert [tag for tag, _ in Reader(page).tags] == [tag for tag, _ in Reader(plain_page).tags]
    assert "<script>alert" not in page
    assert Reader(page).text.count("alert(1)") >= 15
    data = page_data(page)
    assert list(data["curves"]) == [ODD]


@given(st.text())
def test_a_figure_shows_any_text_as_it_is(text: str) -> None:
    assert "<" not in plain(text)
    assert ">" not in plain(text)
    restored = plain(text).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert restored == text


def test_figures_hold_no_markup_of_users() -> None:
    page = render("t", {}, [Section("t", every_part("<a href='x'>b</a>"))])
    figures = json.dumps(page_data(page)["figures"])
    shown = re.sub(r'"customdata": \[.*?\]', "", figures)  # ids, which are not drawn
    assert "<a" not in shown.replace("<br>", "")
    assert "&lt;a href='x'&gt;b&lt;/a&gt;" in shown


def test_it_fetches_nothing() -> None:
    page = render("t", {}, [Section("t", every_part("t"))])
    sources = [value for _, given in Reader(page).tags for name, value in given.items() if name in ("src", "href")]
    assert len(sources) == 3
    assert all(value == "t" or str(value).startswith("data:image/webp;base64,") for value in sources)
    scripts = Reader(page).scripts
    assert "http" not in page.replace(scripts["library"], "").replace(scripts["page-data"], "")
    assert "http" not in json.dumps(page_data(page))


def test_the_library_comes_once_and_only_with_figures() -> None:
    with_figures = render("t", {}, [Section("t", every_part("t"))])
    assert 1_500_000 < len(Reader(with_figures).scripts["library"]) < 2_200_000
    assert "library" not in Reader(render("t", {}, [Section("t", [Text("only text")])])).scripts


def test_each_figure_has_its_place() -> None:
    page = render("t", {}, [Section("t", every_part("t"))])
    reader = Reader(page)
    places = [str(given["id"]) for tag, given in reader.tags if given.get("class") == "figure"]
    assert places == list(page_data(page)["figures"])
    assert len(places) == 5
    assert all("height: " in str(given["style"]) for _, given in reader.tags if given.get("class") == "figure")


@pytest.mark.parametrize("is_less_better", [False, True])
def test_the_front_shows_what_matters(is_less_better: bool) -> None:
    near = [Dot("a", 0.1, 0.9, ""), Dot("b", 0.4, 0.95, "", (0.05, 0.1), (0.02, 0.01))]
    far = Dot("c", 30.0, 0.1, "")
    layout = front([Dots("all", [*near, far], "#888888")], "F1", near, is_less_better).layout
    low, high = (10**end for end in layout["xaxis"]["range"])
    assert low < near[0].x
    assert 0.5 < high < 1
    first, second = layout["yaxis"]["range"]
    assert (first > second) == is_less_better
    assert min(first, second) > 0.5
    assert sum(low <= tick <= high for tick in layout["xaxis"]["tickvals"]) >= 4


@given(st.floats(1e-4, 1e3), st.floats(1.001, 1e4))
def test_an_axis_has_a_few_ticks(low: float, ratio: float) -> None:
    dots = [Dot("a", low, 0.1, ""), Dot("b", low * ratio, 0.9, "")]
    axis = front([Dots("all", dots, "#888888")], "F1", dots, False).layout["xaxis"]
    first, last = (10**end for end in axis["range"])
    inside = [tick for tick in axis["tickvals"] if first <= tick <= last]
    assert 3 <= len(inside) <= 20


def test_parallel_lines_leave_out_what_a_trial_lacks() -> None:
    axes = [Axis("name", ["a", "b"]), Axis("depth", [2, None]), Axis("score", [0.5, 0.7])]
    (trace,) = parallel(axes, [LineGroup("all", [0, 1], "#888888", 1.0)], ["00000", "00001"]).data
    assert trace["x"] == [0, 1, 2, None, 0, 2, None]
    assert trace["customdata"] == ["00000"] * 3 + [""] + ["00001"] * 2 + [""]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (16, 16), (400, 100), (3, 900)])
def test_thumbnails_are_small(height: int, width: int) -> None:
    import cv2

    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    made = thumbnail(picture, [((0.0, 0.0), (1.0, 1.0), (255, 0, 0)), ((-2.0, 0.5), (3.0, 0.5), (0, 255, 0))])
    head, _, content = made.partition(",")
    assert head == "data:image/webp;base64"
    read = cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR)
    assert read is not None
    assert max(read.shape[:2]) == THUMBNAIL_SIDE
    assert len(made) < 25_000


@pytest.mark.parametrize("picture", [None, np.empty((0, 4, 3), np.uint8)])
def test_what_cannot_be_read_has_no_picture(picture: Any) -> None:
    assert thumbnail(picture) == ""
    page = render("t", {}, [Section("t", [Pictures([Picture("", "broken.png: cannot be decoded")])])])
    assert "cannot be shown" in page
    assert "<img" not in page
