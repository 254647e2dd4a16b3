"""ONNX Runtime on an NVIDIA GPU."""

from __future__ import annotations

from contextlib import redirect_stdout
from pathlib import Path

from pydantic import Field

from whc.errors import ArtifactError, RuntimeUnavailable, problem
from whc.plugins import PluginConfig
from whc.runtimes import Session, onnxruntime_library

RUNTIME_NAME = "onnxruntime_cuda"
SUFFIX = ".onnx"
ON_GPU = True
PROVIDER_NAME = "CUDAExecutionProvider"
# The two packages install the same module, so that an extra cannot replace one by the other.
INSTALL_ADVICE = "run `pip uninstall --yes onnxruntime onnxruntime-gpu`, then `pip install onnxruntime-gpu`"


class Config(PluginConfig):
    """`device_id`: the GPU, as CUDA counts them."""

    device_id: int = Field(0, ge=0, le=255)


def load(path: Path, config: Config) -> Session:
    """Load an ONNX file.

    Raises:
        RuntimeUnavailable: ONNX Runtime is not installed, or twice, or has no CUDA, or CUDA does not start.
        ArtifactError: the file is missing, is not ONNX, cannot run here, or has several inputs.
    """
    onnxruntime = onnxruntime_library(RUNTIME_NAME)
    from whc.runtimes import onnxruntime_graph, onnxruntime_session

    available = onnxruntime.get_available_providers()
    if PROVIDER_NAME not in available:
        rule = f"must have {PROVIDER_NAME}"
        raise RuntimeUnavailable(problem(f"runtime {RUNTIME_NAME}", rule, available, INSTALL_ADVICE))
    with redirect_stdout(None):  # it prints warnings about libraries that may not be needed
        onnxruntime.preload_dlls()  # those of CUDA and cuDNN that are installed as Python packages
    options = {"device_id": str(config.device_id), "use_tf32": "0"}  # TF32 rounds to ten bits
    try:
        return onnxruntime_graph.load(path, RUNTIME_NAME, PROVIDER_NAME, options, config.device_id)
    except ArtifactError:  # not a file, or one without a fixed list of kernels: some run on the CPU, or sizes vary
        return onnxruntime_session.load(path, RUNTIME_NAME, PROVIDER_NAME, options, threads=1)
