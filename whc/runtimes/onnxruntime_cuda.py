"""ONNX Runtime on an NVIDIA GPU."""

from __future__ import annotations

from contextlib import redirect_stdout
from pathlib import Path

from pydantic import Field

from whc.errors import problem
from whc.plugins import PluginConfig
from whc.runtimes import RuntimeUnavailable, Session

NAME = "onnxruntime_cuda"
ON_GPU = True
PROVIDER = "CUDAExecutionProvider"
# The two packages hold the same module, so that no extra can put one in the place of the other.
INSTALL = "run `pip uninstall --yes onnxruntime onnxruntime-gpu`, then `pip install onnxruntime-gpu`"


class Config(PluginConfig):
    """`device_id`: the GPU, as CUDA counts them."""

    device_id: int = Field(0, ge=0, le=255)


def load(path: Path, config: Config) -> Session:
    """Load an ONNX file.

    Raises:
        RuntimeUnavailable: the installed ONNX Runtime has no CUDA, or CUDA does not come up.
        ArtifactError: the file is missing, is not ONNX, cannot run here, or has several inputs.
    """
    import onnxruntime

    from whc.runtimes import onnxruntime_session

    here = onnxruntime.get_available_providers()
    if PROVIDER not in here:
        raise RuntimeUnavailable(problem(f"runtime {NAME}", f"must have {PROVIDER}", here, INSTALL))
    with redirect_stdout(None):  # it complains aloud of libraries that may not be needed
        onnxruntime.preload_dlls()  # CUDA's and cuDNN's, where they came as Python packages
    options = {"device_id": str(config.device_id), "use_tf32": "0"}  # TF32 rounds to ten bits
    return onnxruntime_session.load(path, NAME, PROVIDER, options, threads=1)
