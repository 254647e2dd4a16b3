"""OpenVINO on the CPU."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from whc.plugins import PluginConfig
from whc.runtimes import library
from whc.runtimes.model_file import UNUSABLE_ERRORS, FileSession, ModelFile, unusable_file
from whc.runtimes.onnx_file import read

SUFFIX = ".onnx"
ON_GPU = False


class Config(PluginConfig):
    """`threads`: threads of one forward pass."""

    threads: int = Field(1, ge=1, le=256)


class _OpenVinoSession(FileSession):
    LIBRARY_NAME: ClassVar[str] = "OpenVINO"
    LIBRARY_ERRORS: ClassVar[tuple[type[Exception], ...]] = (RuntimeError,)

    def __init__(self, file: ModelFile, openvino: Any, request: Any) -> None:
        super().__init__(file, largest_batch=1 if file.batch == 1 else None)
        self._openvino = openvino
        self._request = request

    def forward(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        # As a tensor: with a plain array, a small network takes 1.5 times as long.
        images = np.ascontiguousarray(images)  # kept until the pass ends: the tensor only points to it
        self._request.set_input_tensor(0, self._openvino.Tensor(images, shared_memory=True))
        self._request.infer()
        return np.array(self._request.get_output_tensor(0).data, np.float32)


def load(path: Path, config: Config) -> _OpenVinoSession:
    """Load an ONNX file.

    Raises:
        RuntimeUnavailable: OpenVINO is not installed.
        ArtifactError: the file is missing, is not ONNX, cannot run here, or has several inputs.
    """
    # Importing OpenVINO would report to its makers, and leave a number of this device in the home folder. Without this
    # module, OpenVINO uses a dummy of its own.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    openvino = library("openvino", "openvino")
    file, _ = read(path)
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": config.threads,
        "INFERENCE_PRECISION_HINT": "f32",  # by default it takes bfloat16 where the processor has it
        "ENABLE_CPU_PINNING": False,  # the caller decides which cores to use
    }
    core = openvino.Core()
    try:
        compiled = core.compile_model(core.read_model(str(path)), "CPU", settings)
    except UNUSABLE_ERRORS + _OpenVinoSession.LIBRARY_ERRORS as error:
        raise unusable_file(path, "OpenVINO", error) from error
    return _OpenVinoSession(file, openvino, compiled.create_infer_request())
