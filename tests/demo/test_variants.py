"""Changing the variant of a ladder while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from whc.demo import model as models
from whc.demo.model import LoadedModel
from whc.demo.outputs import Result
from whc.demo.variants import Variants

Build = Callable[..., Path]


@pytest.fixture
def ladder(brightness_model: Build, colour_model: Build, tmp_path: Path) -> list[tuple[str, Path]]:
    """Two models of two labels, and one of three."""
    files = [brightness_model().rename(tmp_path / f"it_{letter}.onnx") for letter in "ps"]
    return [("it_p", files[0]), ("it_s", files[1]), ("it_l", colour_model())]


def seen(variants: Variants, changes: dict[int, str]) -> tuple[list[int], list[str], list[str]]:
    """Numbers of the results, the model of each, and what was told at the changes before some of them."""
    stream, by, told = iter(range(6)), [], []

    def begin(model: LoadedModel) -> Iterator[Result]:
        for number, place in enumerate(stream):
            by.append(model.path.name)
            yield Result(number, place / 10, np.zeros((2, 2, 3), np.uint8), ())

    numbers = []
    for result in variants.results(begin):
        numbers.append(result.number)
        if result.number in changes:
            told.append(variants.change())
    return numbers, by, told


def test_the_next_variant_goes_on_where_the_other_stopped(ladder: list[tuple[str, Path]]) -> None:
    variants = Variants(models.load(ladder[0][1]), models.load, lambda: ladder[:2])
    numbers, by, told = seen(variants, {1: "m", 3: "m"})
    assert numbers == list(range(6))
    assert by == ["it_p.onnx"] * 2 + ["it_s.onnx"] * 2 + ["it_p.onnx"] * 2
    assert told == ["variant: it_s", "variant: it_p"]
    assert variants.frames == {"it_p.onnx": 4, "it_s.onnx": 2}


def test_why_there_is_no_other(ladder: list[tuple[str, Path]]) -> None:
    model = models.load(ladder[1][1])
    assert seen(Variants(model, models.load, None), {1: "m"})[2] == [
        "no other variant: --model is a file; give a registered name to change variants"
    ]
    assert seen(Variants(model, models.load, lambda: [ladder[1]]), {1: "m"})[2] == [
        "no other variant: the ladder has only this one"
    ]
    assert seen(Variants(model, models.load, list), {1: "m"})[2] == ["no other variant: the ladder has only this one"]
    numbers, by, told = seen(Variants(model, models.load, lambda: ladder), {1: "m"})
    assert told == ["it_l predicts something else, and was not taken"]
    assert (numbers, set(by)) == (list(range(6)), {"it_s.onnx"})
