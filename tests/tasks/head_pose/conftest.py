"""What both outputs of head pose are tested with."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Decode = Callable[[Tensor], Tensor]
RunExported = Callable[[Decode, Tensor], NDArray[np.float32]]


class _Decoder(nn.Module):
    def __init__(self, decode: Decode) -> None:
        super().__init__()
        self.decode = decode

    def forward(self, raw: Tensor) -> Tensor:
        return self.decode(raw)


@pytest.fixture(scope="session")
def run_exported() -> RunExported:
    """Exports a decoding with an open batch and runs it: call with `decode` and raw numbers (N, outputs)."""
    import onnxruntime

    sessions: dict[tuple[Decode, int], onnxruntime.InferenceSession] = {}

    def run(decode: Decode, raw: Tensor) -> NDArray[np.float32]:
        key = decode, raw.shape[1]
        if key not in sessions:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                program = torch.onnx.export(
                    _Decoder(decode),
                    (torch.zeros(2, raw.shape[1]),),
                    dynamo=True,
                    input_names=["raw"],
                    dynamic_shapes=({0: torch.export.Dim("batch")},),
                    opset_version=18,
                    verbose=False,
                )
            assert program is not None
            sessions[key] = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
        outputs: NDArray[np.float32] = sessions[key].run(None, {"raw": raw.numpy()})[0]
        return outputs

    return run
