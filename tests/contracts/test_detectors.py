"""Every detector: its settings, its form in words, and how it is chosen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whc import plugins
from whc.demo import detectors
from whc.demo.detectors import KIND, Form

NAMES = plugins.names(KIND)

pytestmark = pytest.mark.parametrize("name", NAMES)


def test_config(name: str, check_config: Callable[[str, str], None]) -> None:
    check_config(KIND, name)


def test_the_form_is_told_in_words(name: str) -> None:
    module: Any = plugins.load(KIND, name)
    assert module.FORM
    assert module.FORM.isascii()


def test_a_file_of_no_form_is_refused(name: str) -> None:
    module: Any = plugins.load(KIND, name)
    for shape in ((1, 3, 8, 8), ("batch", 3, None, None), (1, 10), ()):
        for outputs in ({}, {"out": (1, 2)}, {"a": (1, 2, 3), "b": ()}):
            assert not module.reads(Form(Path("other.onnx"), shape, outputs, {}))


def test_it_needs_a_file_or_is_chosen_by_name(name: str) -> None:
    module: Any = plugins.load(KIND, name)
    assert (name in detectors.built_in_names()) == (not module.NEEDS_FILE)
