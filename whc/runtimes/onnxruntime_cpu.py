"""ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from whc.plugins import PluginConfig
from whc.runtimes import Session, onnxruntime_library

SUFFIX = ".onnx"
ON_GPU = False


class Config(PluginConfig):
    """`threads`: threads of one forward pass."""

    threads: int = Field(1, ge=1, le=256)


def load(path: Path, config: Config) -> Session:
    """Load an ONNX file.

    Raises:
        RuntimeUnavailable: ONNX Runtime is not installed, or twice.
        ArtifactError: the file is missing, is not ONNX, cannot run here, or has several inputs.
    """
    onnxruntime_library("onnxruntime_cpu")
    from whc.runtimes import onnxruntime_session

    return onnxruntime_session.load_on_cpu(path, config.threads)
