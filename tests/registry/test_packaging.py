"""Registered versions as MLflow models: loaded by name, moved, and served over HTTP."""

from __future__ import annotations

import base64
import contextlib
import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pandas as pd
import pytest

pytest.importorskip("mlflow.tracking")

import mlflow
from mlflow.exceptions import MlflowException

from whc.demo import model as models
from whc.demo.predict import predict
from whc.records import LadderTable, ModelMetadata
from whc.registry import packaging
from whc.registry.location import Location
from whc.registry.models import Registry

Ladder = Callable[..., tuple[LadderTable, Path]]

# MLflow compares a table's columns with a range, which pandas will refuse one day.
pytestmark = pytest.mark.filterwarnings("ignore:Operation with range is deprecated")


@pytest.fixture
def tracking(location: Location) -> Iterator[str]:
    """MLflow's functions use the test's database."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(location.mlflow_uri)
    mlflow.set_registry_uri(location.mlflow_uri)
    yield location.mlflow_uri
    mlflow.set_tracking_uri(before)
    mlflow.set_registry_uri(None)
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # MLflow sets it for its children; whc would mention it


@pytest.fixture
def pictures(tmp_path: Path) -> list[bytes]:
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    encoded = []
    for number in range(5):
        picture = rng.integers(0, 256, (20, 24, 3)).astype(np.uint8)
        encoded.append(cv2.imencode(".png", picture)[1].tobytes())
        (tmp_path / "pictures" / f"{number}.png").write_bytes(encoded[-1])
    return encoded


def by_predict(location: Location, name: str, tmp_path: Path) -> list[dict[str, Any]]:
    predict(models.load(Registry(location).resolve(name)), tmp_path / "pictures", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        {"row": number, "label": row["label"]} | {name: float(row[name]) for name in ("probability", "prob_waving")}
        for number, row in enumerate(rows)
    ]


def test_a_champion_is_loaded_by_name_and_answers_as_predict(
    location: Location, ladder: Ladder, tracking: str, pictures: list[bytes], tmp_path: Path
) -> None:
    Registry(location).ladder_built(*ladder("sm"))
    model = mlflow.pyfunc.load_model("models:/whc_m@champion")
    answers = model.predict(pd.DataFrame({"image": pictures}))
    assert answers.to_dict("records") == by_predict(location, "whc_m", tmp_path)
    inside = model.unwrap_python_model()
    by_path = inside.predict_paths([tmp_path / "pictures" / f"{number}.png" for number in range(5)])
    pd.testing.assert_frame_equal(by_path, answers)
    assert len(inside.predict_arrays(np.zeros((2, 9, 9, 3), np.uint8))) == 2
    with pytest.raises(MlflowException, match="row 0: image: must be a picture, got: neither JPEG nor PNG"):
        model.predict(pd.DataFrame({"image": [str(tmp_path / "pictures" / "0.png").encode()]}))
    with pytest.raises(MlflowException, match="image"):
        model.predict(pd.DataFrame({"image": [str(tmp_path / "pictures" / "0.png")]}))


def test_its_input_example_runs_and_its_signature_names_the_columns(
    location: Location, ladder: Ladder, tracking: str
) -> None:
    Registry(location).ladder_built(*ladder("m"))
    model = mlflow.pyfunc.load_model("models:/whc_m@champion")
    answers = model.predict(model.input_example)
    assert [column.name for column in model.metadata.signature.outputs] == list(answers)
    assert [column.name for column in model.metadata.signature.inputs] == ["image"]


@pytest.mark.parametrize("kind", ["int64", "float64", "str"])
def test_frames_are_ordered_by_timestamps_of_any_kind(
    ladder: Ladder, make_metadata: Callable[..., ModelMetadata], pictures: list[bytes], tmp_path: Path, kind: str
) -> None:
    table, folder = ladder("m")
    model = onnx.load(folder / table.variants[0].file)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 6
    metadata = make_metadata(layout="frame_stack", frames=2, frame_rate=10.0)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, metadata.to_properties())
    onnx.save(model, tmp_path / "windows.onnx")
    packaging.write(tmp_path / "windows.onnx", tmp_path / "packed")
    frames = pd.DataFrame({"image": pictures, "video_id": "clip", "timestamp": range(5)})
    answers = mlflow.pyfunc.load_model(str(tmp_path / "packed")).predict(frames.astype({"timestamp": kind})[::-1])
    assert sorted(answers["row"]) == [0, 1, 2, 3]  # the frame of row 4 is the first: its window is not full


def test_it_does_not_depend_on_where_it_was_made(
    location: Location, ladder: Ladder, pictures: list[bytes], tmp_path: Path
) -> None:
    table, folder = ladder("m")
    Registry(location).ladder_built(table, folder)
    shutil.rmtree(folder)
    files = Registry(location).resolve("whc_m").parent
    shutil.move(files, tmp_path / "moved")
    assert str(tmp_path) not in (tmp_path / "moved" / "MLmodel").read_text("utf-8")
    model = mlflow.pyfunc.load_model(str(tmp_path / "moved"))
    assert len(model.predict(pd.DataFrame({"image": pictures}))) == 5


def test_a_damaged_model_is_made_again(location: Location, ladder: Ladder) -> None:
    built = ladder("m")
    Registry(location).ladder_built(*built)
    folder = Registry(location).resolve("whc_m").parent
    file = packaging.bundle_folder(folder) / "model.onnx"
    before = (folder / "MLmodel").read_bytes()
    Registry(location).ladder_built(*built)
    assert (folder / "MLmodel").read_bytes() == before  # nothing is made twice
    file.write_bytes(b"damaged")
    (folder / ".model").mkdir()  # left by a process that was killed
    Registry(location).ladder_built(*built)
    assert file.read_bytes() == Registry(location).resolve("whc_m").read_bytes()
    assert not (folder / ".model").exists()


@pytest.fixture
def served(location: Location, ladder: Ladder, tracking: str, tmp_path: Path) -> Iterator[str]:
    """The address of a server of the champion."""
    Registry(location).ladder_built(*ladder("m"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", "models:/whc_m@champion"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"MLFLOW_TRACKING_URI": tracking, "NO_PROXY": "127.0.0.1", "PATH": programs}
    with (tmp_path / "served.txt").open("wb") as log:
        server = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _await(server, f"{address}/ping")
            yield f"{address}/invocations"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)


def _await(server: subprocess.Popen[bytes], address: str) -> None:
    for _ in range(600):
        assert server.poll() is None
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    pytest.fail("no answer")


def ask(address: str, images: list[Any]) -> Any:
    body = json.dumps({"dataframe_split": {"columns": ["image"], "data": [[image] for image in images]}}).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)["predictions"]


@pytest.mark.slow
def test_a_server_answers_as_predict(location: Location, served: str, pictures: list[bytes], tmp_path: Path) -> None:
    images = [base64.b64encode(picture).decode() for picture in pictures]
    assert ask(served, images) == by_predict(location, "whc_m", tmp_path)
    path = str(tmp_path / "pictures" / "0.png")
    for wrong in (path, base64.b64encode(path.encode()).decode(), f"file://{path}", None, 5):
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(served, [wrong])
        assert refused.value.code == 400
        refused.value.close()
    assert ask(served, images[:1])[0]["row"] == 0
