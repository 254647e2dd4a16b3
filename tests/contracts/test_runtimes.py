"""Every runtime: loads an artifact, says what it is, runs it; never imports torch.

One that is missing here says so, and what to do, in one line; then its other tests are skipped.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from whc import plugins
from whc.errors import ArtifactError, RuntimeUnavailable
from whc.records import ModelMetadata
from whc.runtimes import Session

KIND = "runtimes"

# Half precision, where that is the default.
TOLERANCE = {"tensorrt": 1e-3}

pytestmark = pytest.mark.parametrize("name", plugins.names(KIND))


@pytest.fixture
def metadata(make_metadata: Callable[..., ModelMetadata]) -> ModelMetadata:
    return make_metadata(height=6, width=4)


@pytest.fixture
def artifact(name: str, tmp_path: Path, metadata: ModelMetadata, request: pytest.FixtureRequest) -> Path:
    """A network that gives the mean of each image, in the runtime's kind of file."""
    if plugins.load(KIND, name).SUFFIX == ".tflite":
        written: Path = request.getfixturevalue("write_litert")(
            tmp_path / "mean.tflite", metadata.to_properties(), (6, 4)
        )
        return written
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["images", "axes"], ["prob_waving"], keepdims=0)],
        "mean",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 6, 4])],
        [helper.make_tensor_value_info("prob_waving", TensorProto.FLOAT, ["batch"])],
        [helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, metadata.to_properties())
    path = tmp_path / "mean.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def load(name: str, path: Path) -> Session:
    module: Any = plugins.load(KIND, name)
    try:
        session: Session = module.load(path, module.Config())
    except RuntimeUnavailable as error:
        assert re.fullmatch(rf"runtime {name}: .*must .+, got .+; (install|run|check) .+", str(error))
        pytest.skip(str(error))
    return session


def test_config(name: str, check_config: Callable[[str, str], None]) -> None:
    check_config(KIND, name)


def test_needs_no_torch(name: str) -> None:
    code = f"""
import sys
from whc import plugins
plugins.load({KIND!r}, {name!r}).Config()
assert not {{"torch", "ray", "mlflow", "pandas", "cv2"}} & set(sys.modules)
libraries = {{"ai_edge_litert", "onnxruntime", "openvino", "tensorrt", "cuda", "onnx"}}
assert not libraries & set(sys.modules), "a configuration can be read where the library is missing"
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_running_needs_no_torch(name: str, artifact: Path) -> None:
    code = f"""
import sys
from pathlib import Path
import numpy as np
from whc import plugins
from whc.runtimes import RuntimeUnavailable
module = plugins.load({KIND!r}, {name!r})
try:
    module.load(Path({str(artifact)!r}), module.Config()).run(np.zeros((1, 3, 6, 4), np.float32))
except RuntimeUnavailable:
    pass
assert not {{"torch", "ray", "mlflow", "pandas", "cv2"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_runs_any_batch(name: str, artifact: Path, batch: int) -> None:
    images = np.random.default_rng(batch).random((batch, 3, 6, 4), np.float32)
    given = images.copy()
    values = load(name, artifact).run(images)
    assert values.dtype == np.float32
    assert values.shape == (batch,)
    np.testing.assert_allclose(values, images.mean((1, 2, 3)), atol=TOLERANCE.get(name, 1e-5))
    np.testing.assert_array_equal(images, given)


def test_results_are_kept(name: str, artifact: Path) -> None:
    """The next run must not overwrite the result of the last."""
    session = load(name, artifact)
    first = session.run(np.zeros((1, 3, 6, 4), np.float32))
    session.run(np.ones((1, 3, 6, 4), np.float32))
    assert first.tolist() == [0]


def test_says_what_it_is(name: str, artifact: Path, metadata: ModelMetadata) -> None:
    session = load(name, artifact)
    assert session.path == artifact
    assert session.input_shape == (1, 3, 6, 4)
    assert session.metadata() == metadata


@pytest.mark.parametrize("content", [None, b"", b"not a network"])
def test_what_cannot_be_loaded_is_told_in_one_line(name: str, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / f"model{plugins.load(KIND, name).SUFFIX}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        load(name, path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
