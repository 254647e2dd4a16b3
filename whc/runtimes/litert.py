"""LiteRT on the CPU."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from whc.plugins import PluginConfig
from whc.runtimes import Session, library

RUNTIME_NAME = "litert"
SUFFIX = ".tflite"
ON_GPU = False


class Config(PluginConfig):
    """`threads`: threads of one forward pass."""

    threads: int = Field(1, ge=1, le=256)


def load(path: Path, config: Config) -> Session:
    """Load a LiteRT file; inputs and outputs of int8 files are float32 here too.

    Raises:
        RuntimeUnavailable: LiteRT is not installed.
        ArtifactError: the file is missing, is not of LiteRT, cannot run here, or has several inputs.
    """
    library(RUNTIME_NAME, "ai_edge_litert.interpreter")
    from whc.runtimes import litert_session

    return litert_session.load_on_cpu(path, config.threads)
