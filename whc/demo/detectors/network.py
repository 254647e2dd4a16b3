"""A network of somebody else, with all its outputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from whc.demo.detectors import Form, Settings
from whc.latency import first_pass
from whc.runtimes import choose, onnxruntime_library

RUNTIME_NAME = "onnxruntime_cpu"
Run = Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]


def load(form: Form, settings: Settings) -> Run:
    """A function from a network's input to its outputs, in the order of the file.

    Raises:
        ArtifactError: the file cannot be loaded, or its first pass, in a separate process, gives no output.
    """
    onnxruntime_library(RUNTIME_NAME)
    from whc.runtimes import onnxruntime_session

    first_pass.check(form.path, choose(RUNTIME_NAME, settings.threads), settings.wait_s)
    return onnxruntime_session.load_on_cpu(form.path, settings.threads).all_outputs
