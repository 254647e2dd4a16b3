"""UHD's checkpoints through the commands: exported, run on pictures, and trained further; with what a file lacks."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from whc.models.assemble import ModelConfig
from whc.training import checkpoint
from whc.trials.artifacts import restore

MAX_BOX_ERROR = 1e-4
THRESHOLD = 0.3
SIZE = "model.image_size=48x64"
SETTINGS = {
    "centernet_w32_s16": (),
    "centernet_w16_s4_skip_ese_3cls": ("--set", SIZE),
    "anchor5_w64_s16_se_skip": (),
    "detr_d64_l3": (),
    "detr_fpn_d64_l3": (),
}


@pytest.fixture
def uhd(shared: Path) -> Path:
    folder = shared / "peer/uhd"
    if not folder.is_dir():
        pytest.skip(f"the original's checkpoints are not here ({folder})")
    return folder


def rows(outputs: NDArray[np.floating]) -> NDArray[np.float64]:
    """Outputs (N, K, 6) as rows of picture, score, class, cx, cy, w, h, as shown from the threshold on."""
    pictures, places = np.nonzero(outputs[..., 0] >= THRESHOLD)
    return np.column_stack([pictures, outputs[pictures, places].astype(np.float64)])


def largest_difference(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    """Each row with the nearest that is left; another picture or class is a difference of 1 at least."""
    assert len(ours) == len(theirs)
    left, largest = list(ours), 0.0
    for row in theirs:
        apart = [np.abs(other - row).max() for other in left]
        largest = max(largest, min(apart))
        del left[int(np.argmin(apart))]
    return largest


def run(path: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    import onnxruntime

    outputs: NDArray[np.float32] = onnxruntime.InferenceSession(str(path)).run(None, {"images": images})[0]
    return outputs


@pytest.mark.parametrize("name", SETTINGS)
def test_exported_files_find_the_boxes_of_the_original(
    uhd: Path, home: Path, result: Callable[..., Any], name: str
) -> None:
    result("export", "--checkpoint", uhd / f"{name}.pt", "--out", "model.onnx", *SETTINGS[name])
    golden = np.load(uhd / f"{name}.npz")
    apart = largest_difference(rows(run(home / "model.onnx", golden["images"])), golden["decoded"])
    print(f"\n{name:32} boxes of the exported file {apart:.1e}", end="")
    assert apart <= MAX_BOX_ERROR


def test_what_a_file_lacks_is_told_and_given(
    uhd: Path, home: Path, result: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Anchors give as many boxes as there are places, unless fewer are asked for."""
    arguments = ("export", "--out", "model.onnx", "--checkpoint")
    result(*arguments, uhd / "anchor5_w64_s16_se_skip.pt", "--set", "model.image_size=96x64")
    assert "taken as UHD's default" not in caplog.text
    assert run(home / "model.onnx", np.zeros((1, 3, 96, 64), np.float32)).shape == (1, 6 * 4 * 5, 6)
    result(*arguments, uhd / "anchor5_w64_s16_se_skip.pt", "--set", "task.detection.max_boxes=7")
    assert caplog.text.count("taken as UHD's default: pictures of 64x64 pixels") == 1
    assert run(home / "model.onnx", np.zeros((1, 3, 64, 64), np.float32)).shape == (1, 7, 6)


def test_settings_that_no_network_has(uhd: Path, home: Path, whc_command: Callable[..., Any]) -> None:
    path = uhd / "detr_d64_l3.pt"
    for setting, told in {
        "model.head.query.heads=5": f"{path}: model: query needs channels that are a multiple of 4 and of its 5 heads",
        "model.head.query.haeds=2": f"{path}: model.head.query.haeds: unknown key; did you mean 'heads'?",
        "model.head.anchor.size=exp": f"{path}: weights must fit the configuration, got: no head.anchors",
        "model.image_size=4": f"{path}: model.image_size: must be within 8 and 512 pixels",
        "model.image_size": "--set: must be KEY=VALUE, got 'model.image_size='",
    }.items():
        ended = whc_command("export", "--checkpoint", path, "--out", "model.onnx", "--set", setting)
        assert ended.code
        assert ended.err.startswith(f"error: {told}")
        assert ended.err.count("\n") == 1


def pictures(folder: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Write pictures; gives them as they are read again."""
    folder.mkdir()
    whole = np.rint(images * 255).astype(np.uint8)
    for number, picture in enumerate(whole):
        cv2.imwrite(str(folder / f"{number}.png"), picture.transpose(1, 2, 0)[..., ::-1])
    return whole.astype(np.float32) / 255


@pytest.mark.parametrize("name", SETTINGS)
def test_predictions_are_those_of_the_network(uhd: Path, home: Path, result: Callable[..., Any], name: str) -> None:
    """The table of boxes from pictures; with averaged weights in the file they are used, and no others."""
    saved = torch.load(uhd / f"{name}.pt", weights_only=True)
    other = {key: torch.zeros_like(weights) for key, weights in saved["model"].items()}
    torch.save({**saved, "ema": saved["model"], "model": other}, home / "averaged.pt")
    images = pictures(home / "pictures", np.load(uhd / f"{name}.npz")["images"])
    result("predict", "--model", "averaged.pt", "--source", "pictures", "--out", "p.csv", *SETTINGS[name])
    result("export", "--checkpoint", uhd / f"{name}.pt", "--out", "model.onnx", *SETTINGS[name])
    with (home / "p.csv").open(newline="") as file:
        listed = [row for row in csv.DictReader(file) if row["score"]]
    labels = [f"class {number}" for number in saved["classes"]]
    found = [
        [float(row["path"].removesuffix(".png")), float(row["score"]), labels.index(row["label"])]
        + [float(row[side]) for side in ("cx", "cy", "w", "h")]
        for row in listed
    ]
    assert largest_difference(np.array(found), rows(run(home / "model.onnx", images))) <= MAX_BOX_ERROR


@pytest.fixture
def data(boxes_data: Callable[..., Path]) -> Path:
    """Grey pictures, each with a bright box."""
    return boxes_data(9, 3)


@pytest.mark.parametrize("name", SETTINGS)
def test_training_begins_with_the_network(
    uhd: Path, home: Path, data: Path, result: Callable[..., Any], name: str
) -> None:
    """With a rate of nearly nothing its weights stay, whatever the file lacks.

    Two pictures a batch: attention over 1,024 places takes gigabytes for nine.
    """
    path, rest = uhd / f"{name}.pt", ("--data", data, "--out", "run", "--diagnostics", "off")
    if "3cls" not in name:
        result("data", "build", "--images", "drawn", "--out", "data", "--classes", "0")
    nothing = [f"--set=training.{setting}" for setting in ("lr=1e-12", "epochs=1", "ema=0", "batch_size=2")]
    trained = result("train", "--init", path, *rest, *nothing, *SETTINGS[name])
    assert trained["init"] == str(path)
    given = checkpoint.load(path, {"model": {"image_size": "48x64"}} if SETTINGS[name] else {})
    config, network = restore(checkpoint.load(home / "run/checkpoint.pt"), "checkpoint.pt")
    assert config.model == ModelConfig.model_validate(given.config["model"])
    assert config.task.config.model_dump()["max_boxes"] == given.config["task"]["detection"]["max_boxes"]
    for key, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.detach(), given.weights[key], atol=1e-6, rtol=1e-6)


def test_given_values_need_a_checkpoint(home: Path, whc_command: Callable[..., Any]) -> None:
    ended = whc_command("predict", "--model", "x.onnx", "--source", ".", "--out", "p.csv", "--set", "model.width=4")
    assert ended.code == 2
    assert "--set: needs a checkpoint, as an exported file is fixed, got 'x.onnx'; give it to whc export" in ended.err
