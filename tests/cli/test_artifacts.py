"""Kinds of files: how `whc export` writes them, and .tflite files in the commands that run a model."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import pandas as pd
import pytest

from whc.cli.factory.build_table import artifact_lines
from whc.export import converter
from whc.records import LadderTable, ModelMetadata, TriedArtifact
from whc.training.checkpoint import Checkpoint, save
from whc.trials.artifacts import untrained
from whc.trials.config import TrialConfig

Run = Callable[..., Any]
LABELS = ["dark", "bright"]


def write_checkpoint(path: Path) -> None:
    config = TrialConfig.model_validate({"model": {"width": 4, "depth": 2, "image_size": 16}})
    saved = Checkpoint(
        config=config.resolved(),
        weights=dict(untrained(config, LABELS).state_dict()),
        labels=LABELS,
        frame_rate=None,
        data_fingerprint="f00d",
        code_version="test",
        epoch=1,
        val_score=0.5,
    )
    save(saved, path)


def write_data(path: Path, corner: int) -> Path:
    """Pictures of one shade each, with a corner that is so much darker; three of each class in each split."""
    rows = []
    for number, (split, class_id) in enumerate(product(("train", "val") * 3, (0, 1))):
        picture = np.full((20, 20, 3), (40, 200)[class_id] + number, np.uint8)
        picture[:5, :5] -= corner
        encoded = cv2.imencode(".png", picture)[1].tobytes()
        rows.append({"split": split, "image_bytes": encoded, "class_id": class_id, "label": LABELS[class_id]})
    pd.DataFrame(rows).to_parquet(path)
    return path


@pytest.fixture
def data(home: Path) -> str:
    return write_data(home / "d.parquet", corner=30).name


@pytest.fixture
def model(home: Path, make_metadata: Callable[..., ModelMetadata], write_litert: Callable[..., Path]) -> str:
    """model.tflite in int8, which gives the mean of a picture."""
    described = make_metadata(labels=LABELS, height=8, width=8)
    return write_litert(home / "model.tflite", described.to_properties(), (8, 8), is_int8=True).name


def test_integers_are_fitted_to_the_training_split(home: Path, data: str, result: Run) -> None:
    write_checkpoint(home / "c.pt")
    told = result("export", "--checkpoint", "c.pt", "--artifact", "onnx_int8", "--data", data, "--out", "m.onnx")
    assert told == {"onnx": "m.onnx", "size_bytes": (home / "m.onnx").stat().st_size}
    assert result("predict", "--model", "m.onnx", "--source", data, "--out", "m.csv")["rows"] == 12


def test_pictures_of_one_colour_fit_nothing(home: Path, whc_command: Run) -> None:
    write_checkpoint(home / "c.pt")
    data = write_data(home / "plain.parquet", corner=0).name
    ended = whc_command("export", "--checkpoint", "c.pt", "--artifact", "onnx_int8", "--data", data, "--out", "m.onnx")
    said = "error: split 'train': calibration must see pictures of more than one colour, got 6 of one colour each; "
    assert (ended.code, ended.out, ended.err[: len(said)]) == (1, "", said)
    assert ended.err.count("\n") == 1


def test_the_end_of_a_build_names_what_was_kept() -> None:
    ratios = {"ratio_to_onnx": 0.41, "ratio_low": 0.4, "ratio_high": 0.42}
    kept = TriedArtifact(kind="litert", file="ladder/hand_m.litert.tflite", verdict="kept: faster", **ratios)
    dropped = TriedArtifact(kind="litert_int8", verdict="dropped: it could not be timed")
    rows = [SimpleNamespace(name="hand_m", artifacts=[kept, dropped]), SimpleNamespace(name="hand_l", artifacts=[])]
    assert artifact_lines(cast("LadderTable", SimpleNamespace(ladders=[SimpleNamespace(variants=rows)]))) == [
        "hand_m also as hand_m.litert.tflite: 0.41 (0.40 to 0.42) times the ONNX file's latency",
        "1 other file dropped; table.md says why",
    ]


REFUSED = {
    "suffix": ("--artifact litert --out m.onnx", "--out: must be a file that ends in .tflite (for --artifact litert)"),
    "kind": (
        "--artifact litert_int4 --out m.onnx",
        "--artifact: must be one of litert, litert_int8, onnx, onnx_int8, ",
    ),
    "no data": ("--artifact litert_int8 --out m.tflite", "--data: must be given, as pictures fit its integers"),
    "data": ("--artifact litert --data d.parquet --out m.tflite", "--data: must be left out, as it has no integers"),
    "parameter": ("--artifact litert --opset 20 --out m.tflite", "export: opset: "),
    "converter": ("--artifact litert --out m.tflite", "converter to LiteRT: must be set up, got nothing in "),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_go_together(case: str, home: Path, whc_command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    arguments, said = REFUSED[case]
    write_checkpoint(home / "c.pt")
    ended = whc_command("export", "--checkpoint", "c.pt", *arguments.split())
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"error: {said}")
    assert ended.err.count("\n") == 1
    assert [file.name for file in home.iterdir()] == ["c.pt"]


@pytest.mark.parametrize(("complete", "said"), [(None, "a half-made one"), ("0123", "one of other versions")])
def test_a_converter_that_cannot_be_used(
    complete: str | None, said: str, home: Path, whc_command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    (converter.folder() / "bin").mkdir(parents=True)
    if complete:
        (converter.folder() / "complete").write_text(complete)
    write_checkpoint(home / "c.pt")
    ended = whc_command("export", "--checkpoint", "c.pt", "--artifact", "litert", "--out", "m.tflite")
    told = rf"error: converter to LiteRT: must be set up, got {said} in .*; run `whc export --setup-litert` .*\n"
    assert (ended.code, ended.out) == (2, "")
    assert re.fullmatch(told, ended.err)


def test_a_converter_that_cannot_be_installed(home: Path, whc_command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is a file, as in a home that is none."""
    (home / "cache").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    ended = whc_command("export", "--setup-litert")
    assert ended.code == 1
    assert ended.err.splitlines()[-1].startswith(f"error: {home}/cache/whc: must be ")


def test_tflite_files_are_run_without_naming_a_runtime(
    model: str, data: str, home: Path, result: Run, whc_command: Run
) -> None:
    assert result("predict", "--model", model, "--source", data, "--out", "p.csv")["rows"] == 12
    assert result("val", "--model", model, "--data", data)["score"] == 1.0
    shown = result("demo", "--model", model, "--headless")
    assert shown["decisions"] == shown["frames"] > 0
    timed = result("bench", model)
    assert [file["latency"]["runtime"] for file in timed["files"]] == ["litert"]
    ended = whc_command("predict", "--model", model, "--source", data, "--out", "p.csv", "--runtime", "openvino")
    said = (
        "error: runtime openvino: must be given a .onnx file, got model.tflite; leave --runtime out (litert runs it)\n"
    )
    assert (ended.code, ended.out, ended.err) == (2, "", said)


def test_files_of_two_runtimes_are_timed_together(model: str, home: Path, result: Run, whc_command: Run) -> None:
    write_checkpoint(home / "c.pt")
    result("export", "--checkpoint", "c.pt", "--out", "m.onnx")
    timed = result("bench", "m.onnx", model)
    assert [file["latency"]["runtime"] for file in timed["files"]] == ["onnxruntime_cpu", "litert"]
    first, second = (file["ratio_to_first"] for file in timed["files"])
    assert first == 1 != second  # one session; which of the two is faster is the machine's affair


def test_a_bundle_of_a_tflite_file_needs_litert_alone(model: str, home: Path, result: Run) -> None:
    cv2.imwrite(str(home / "bright.png"), np.full((20, 20, 3), 200, np.uint8))
    result("export", "--model", model, "--bundle", "b")
    assert (home / "b" / "model.tflite").read_bytes() == (home / model).read_bytes()
    names = [re.split("[<>=]", line)[0] for line in (home / "b" / "requirements.txt").read_text().splitlines()]
    assert names == ["ai-edge-litert", "numpy", "opencv-python"]
    code = (
        "import runpy, sys; sys.modules['onnxruntime'] = None; sys.path.insert(0, 'b');"
        "runpy.run_path('b/run.py', run_name='__main__')"
    )
    command = [sys.executable, "-c", code, "bright.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=home)
    assert (done.stderr, {row["label"] for row in csv.DictReader(done.stdout.splitlines())}) == ("", {"bright"})
    assert json.loads((home / "b" / "bundle.json").read_text("utf-8"))["name"] == "model.tflite"
