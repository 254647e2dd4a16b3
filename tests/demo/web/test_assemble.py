"""The page as HTML: its modules, what it is told, and the rendered clip."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from whc.demo.sources import open_source
from whc.demo.web.assemble import Page, PageModel, assemble
from whc.errors import ArtifactError
from whc.records import Metric

IMPORT = re.compile(r"""^(?:import|export)\b[^;]*?from\s+["']([^"']+)["']""", re.MULTILINE)


pytestmark = pytest.mark.usefixtures("_runtime")


class Elements(HTMLParser):
    """The scripts of a page by id or type, and the title."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}
        self._now = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self._now = (known.get("id") or known.get("type") or "") if tag == "script" else tag if tag == "title" else ""

    def handle_endtag(self, tag: str) -> None:
        self._now = ""

    def handle_data(self, data: str) -> None:
        if self._now:
            self.texts[self._now] = self.texts.get(self._now, "") + data


@pytest.fixture
def page(brightness_model: Callable[..., Path]) -> Page:
    model = brightness_model(labels=["dark", "</script><b>bright"])
    return assemble([PageModel("<i>m", model, 0.8)], "<i>m", Metric(key="mae", name="MAE", unit="degrees"))


def test_every_import_names_a_module(page: Page) -> None:
    modules = json.loads(Elements(page.served("n")).texts["importmap"])["imports"]
    assert {"whc/page/app.js", "whc/engine/engine.js"} <= modules.keys()
    for name, address in modules.items():
        source = base64.b64decode(address.partition(",")[2]).decode()
        assert set(IMPORT.findall(source)) <= modules.keys(), name


def test_names_and_labels_are_only_text(page: Page) -> None:
    texts = Elements(page.served("n")).texts
    assert texts["title"] == "<i>m"
    (model,) = json.loads(texts["setup"])["models"]
    assert model["name"] == "<i>m"
    assert model["shown"] == "0.800 degrees"
    assert model["description"]["metadata"]["labels"] == ["dark", "</script><b>bright"]


def test_all_files_are_in_the_whole_page(page: Page) -> None:
    whole = page.whole()
    texts = Elements(whole).texts
    assert {name.removeprefix("part-") for name in texts if name.startswith("part-")} == page.parts.keys()
    assert "http://" not in whole
    assert "https://" not in whole
    assert "connect-src 'none'" in whole


def test_the_clip_is_the_rendered_one(page: Page) -> None:
    clip = page.setup["clip"]
    sheet = cv2.cvtColor(cv2.imdecode(np.frombuffer(page.parts[clip["part"]], np.uint8), 1), cv2.COLOR_BGR2RGB)
    with open_source(None) as source:
        for number, frame in enumerate(source):
            row, column = divmod(number, clip["columns"])
            top, left = row * clip["height"], column * clip["width"]
            seen = sheet[top : top + clip["height"], left : left + clip["width"]]
            np.testing.assert_array_equal(seen, frame.picture)
    assert clip["frames"] == number + 1


def test_a_model_of_an_unknown_task(brightness_model: Callable[..., Path]) -> None:
    with pytest.raises(ArtifactError, match=r"whc.task: .*; upgrade whc or export the model again"):
        assemble([PageModel("m", brightness_model(task="unheard"))], "m")
