from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from whc.errors import RuntimeUnavailable
from whc.runtimes import onnxruntime_cpu, onnxruntime_cuda
from whc.runtimes.onnxruntime_cuda import Config

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
    np.testing.assert_allclose(ours.run(images), theirs.run(images), atol=1e-4)


def test_devices_are_counted_from_zero() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        Config(device_id=-1)
