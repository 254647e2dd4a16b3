"""What the page is told of models and detectors."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from whc import plugins
from whc.demo.detectors import KIND, Settings
from whc.demo.web.descriptions import detector_bytes, detector_description, model_description
from whc.demo.web.runtime_files import RUNTIME_FOLDER
from whc.errors import ArtifactError, UsageError
from whc.records import CropRule
from whc.tasks.smoothing import Smoothing

Build = Callable[..., Path]


def test_a_model(brightness_model: Build) -> None:
    described = model_description(brightness_model(task_config={}))
    assert described["name"] == "bright"
    assert described["metadata"]["schema"] == 2
    assert described["metadata"]["task_config"] == {"threshold": 0.5, "smoothing": asdict(Smoothing())}
    assert described["metadata"]["crop"] is None
    json.dumps(described, allow_nan=False)


def test_a_margin_replaces_what_the_model_learnt(brightness_model: Build) -> None:
    path = brightness_model(crop=CropRule(detector="face", scale=1.5, aspect=0.8))
    assert model_description(path)["metadata"]["crop"]["scale"] == 1.5
    changed = CropRule(scale=1.2, offset_y=0.3, aspect=0.8)
    assert model_description(path, "0.1,0,0.3")["metadata"]["crop"] == changed.model_dump()
    with pytest.raises(UsageError, match="--margin: must be a share"):
        model_description(path, "wide")


def test_a_detector_of_whc(box_model: Build) -> None:
    described = detector_description(str(box_model([[0.9, 0, 0.3, 0.5, 0.2, 0.4]])), Settings(label="hand"))
    assert (described["kind"], described["what"], described["label"]) == ("whc_model", "hand", "hand")
    assert described["metadata"]["task"] == "detection"
    json.dumps(described, allow_nan=False)


def test_the_detector_without_a_file() -> None:
    described = detector_description("face")
    assert (described["kind"], described["what"], described["form"]) == ("face", "face", None)
    cascades = json.loads(detector_bytes("face"))
    assert {name: cascade["side"] for name, cascade in cascades.items()} == {"frontal": 24, "profile": 20}
    with pytest.raises(UsageError, match="--detect-class: must be a class of a whc detection model"):
        detector_description("face", Settings(label="eye"))


def test_what_cannot_run_there(brightness_model: Build, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--detect: .* must find boxes in single pictures"):
        detector_description(str(brightness_model()))
    (tmp_path / "model.tflite").write_bytes(b"1234TFL3")
    with pytest.raises(ArtifactError, match="must be an ONNX file"):
        model_description(tmp_path / "model.tflite")
    with pytest.raises(ArtifactError, match="got nothing there"):
        model_description(tmp_path / "none.onnx")


@pytest.mark.parametrize(("kind", "folder"), [("tasks", "tasks"), (KIND, "detectors")])
def test_the_engine_has_each_plugin(kind: str, folder: str) -> None:
    modules = {path.stem for path in RUNTIME_FOLDER.with_name("engine").joinpath(folder).glob("*.js")}
    assert set(plugins.names(kind)) <= modules


def test_torch_is_not_needed(brightness_model: Build) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from pathlib import Path;"
        "from whc.demo.web.descriptions import model_description; model_description(Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, str(brightness_model())], check=True)
