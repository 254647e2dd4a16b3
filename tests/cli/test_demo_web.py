"""`whc demo --web` through the real entry point: what it serves, and what does not go with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whc.cli import _page
from whc.demo.web.runtime_files import runtime_files
from whc.errors import UsageError

Command = Callable[..., Any]


@pytest.fixture(autouse=True)
def _runtime() -> None:
    try:
        runtime_files()
    except UsageError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--save v.webm", "--save: must be left out with --web, got 'v.webm'"),
        ("--runtime litert", "--runtime: must be left out with --web, got 'litert'"),
        ("--source 0", "--source: must be left out with --web, got '0'"),
        ("--margin 0.1", "--margin: must come with --detect, got '0.1'"),
        ("--detect m.tflite", "--detect: must be an .onnx file to run in a browser, got 'm.tflite'"),
        ("--model m.tflite", "--model: must be an .onnx file to run in a browser, got 'm.tflite'"),
    ],
)
def test_what_does_not_go_with_a_page(options: str, told: str, home: Path, whc_command: Command) -> None:
    ended = whc_command("demo", "--web", "--headless", "--model", "m.onnx", *options.split())
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err


def test_a_port_without_a_page(whc_command: Command) -> None:
    ended = whc_command("demo", "--model", "m.onnx", "--port", "8000")
    assert ended.code == 2
    assert "--port: must come with --web, got 8000" in ended.err


def test_scores_are_of_one_split() -> None:
    tested = {"task": "classification", "f1": "0.9042", "val_f1": "0.8540"}
    untested = tested | {"f1": "no test split", "val_f1": "0.9000"}
    metric, scores = _page._scores({"whc_s": tested, "whc_m": tested})
    assert metric
    assert (metric.name, scores) == ("F1", {"whc_s": 0.9042, "whc_m": 0.9042})
    metric, scores = _page._scores({"whc_s": tested, "whc_m": untested})
    assert metric
    assert (metric.name, scores) == ("F1 on val", {"whc_s": 0.854, "whc_m": 0.9})
    assert _page._scores({"whc_s": tested | {"task": "unheard"}}) == (None, {})
