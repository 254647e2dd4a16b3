from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from whc.errors import RuntimeUnavailable
from whc.runtimes import onnxruntime_cpu, onnxruntime_cuda
from whc.runtimes.onnxruntime_cuda import Config
from whc.runtimes.onnxruntime_graph import GraphSession

Build = Callable[..., Path]
HAS_CUDA = onnxruntime_cuda.PROVIDER_NAME in onnxruntime.get_available_providers()
without_cuda = pytest.mark.skipif(HAS_CUDA, reason="about an ONNX Runtime without CUDA")


@without_cuda
def test_what_to_install_is_said_whatever_the_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailable) as caught:
        onnxruntime_cuda.load(tmp_path / "none.onnx", Config())
    message = str(caught.value)
    assert message.startswith("runtime onnxruntime_cuda: must have CUDAExecutionProvider, got [")
    assert message.endswith(
        "; run `pip uninstall --yes onnxruntime onnxruntime-gpu`, then `pip install onnxruntime-gpu`"
    )


@without_cuda
def test_the_cpu_in_its_place_is_refused(
    build: Build, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime itself only warns."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [onnxruntime_cuda.PROVIDER_NAME])
    with (
        pytest.warns(UserWarning, match="'CUDAExecutionProvider' is not in available provider names"),
        pytest.raises(RuntimeUnavailable) as caught,
    ):
        onnxruntime_cuda.load(build(), Config())
    message = (
        "runtime onnxruntime_cuda: must run on CUDAExecutionProvider, got ['CPUExecutionProvider']; check the device"
    )
    assert str(caught.value).startswith(message)
    assert capfd.readouterr().out == ""


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_CUDA, reason="needs onnxruntime-gpu")
def test_gives_what_the_cpu_gives(exported: Path) -> None:
    ours = onnxruntime_cuda.load(exported, Config())
    theirs = onnxruntime_cpu.load(exported, onnxruntime_cpu.Config())
    images = np.random.default_rng(0).random((9, *ours.input_shape[1:]), np.float32)
    for batch in (images[:1], images, images[4:5], images[:1]):  # one picture is a recorded graph, several are not
        np.testing.assert_allclose(ours.run(batch), theirs.run(batch), atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_CUDA, reason="needs onnxruntime-gpu")
def test_a_network_of_kernels_alone_is_a_graph(exported: Path) -> None:
    assert isinstance(onnxruntime_cuda.load(exported, Config()), GraphSession)


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_CUDA, reason="needs onnxruntime-gpu")
def test_sizes_that_vary_are_no_graph_and_run(tmp_path: Path) -> None:
    """How many numbers are above a half, which no recorded list of kernels can tell."""
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 4, 4])
    output = helper.make_tensor_value_info("count", TensorProto.FLOAT, [1])
    nodes = [
        helper.make_node("Round", ["images"], ["rounded"]),
        helper.make_node("NonZero", ["rounded"], ["places"]),
        helper.make_node("Shape", ["places"], ["sizes"], start=1),
        helper.make_node("Cast", ["sizes"], ["count"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(nodes, "count", [images], [output])
    path = tmp_path / "count.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    session = onnxruntime_cuda.load(path, Config())
    for above in (0, 3, 48):
        numbers = np.zeros(48, np.float32)
        numbers[:above] = 1
        assert session.run(numbers.reshape(1, 3, 4, 4)) == [above]


def test_devices_are_counted_from_zero() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        Config(device_id=-1)
