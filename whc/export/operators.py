"""ONNX operators to replace those of PyTorch's exporter that ONNX Runtime runs slower."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from onnxscript import opset18 as op
from torch import Tensor, nn

import whc.models.boxes  # noqa: F401 (defines an operator)


# Tensors here are symbols of the exporter, which have no public type.
def _over_space(
    x: Any, dim: Sequence[int], keepdim: bool, pool: Callable[[Any], Any], reduce: Callable[..., Any]
) -> Any:
    """A reduction over all of space (and time) as pooling, which runs in ONNX Runtime's blocked layout."""
    rank = len(x.shape)
    if {axis % rank for axis in dim} != set(range(2, rank)):
        axes: Any = op.Constant(value_ints=list(dim))
        return reduce(x, axes, keepdims=int(keepdim))
    pooled = pool(x)
    return pooled if keepdim else op.Flatten(pooled)


def _mean(x: Any, dim: Sequence[int], keepdim: bool = False, dtype: Any = None) -> Any:
    del dtype  # networks are float32 throughout
    return _over_space(x, dim, keepdim, op.GlobalAveragePool, op.ReduceMean)


def _amax(x: Any, dim: Sequence[int] = (), keepdim: bool = False) -> Any:
    return _over_space(x, dim, keepdim, op.GlobalMaxPool, op.ReduceMax)


def _constant(**value: Any) -> Any:
    return op.Constant(**value)


def _softplus(x: Any, beta: float = 1.0, linear_from: float = 20.0) -> Any:
    """One operator: where PyTorch's is the line x it differs by less than 3e-9."""
    assert (beta, linear_from) == (1.0, 20.0)  # noqa: S101 (networks here use no others)
    return op.Softplus(x)


def _without_duplicates(boxes: Any, scores: Any, labels: Any, nms_iou: float, one_class: bool) -> Any:
    """`whc.models.boxes.without_duplicates`, each class apart, of as many classes as the batch has."""
    first, ends = _constant(value_ints=[1]), _constant(value_ints=[0, 2])
    by_class: Any = op.Unsqueeze(scores, first)
    if not one_class:
        classes: Any = op.Range(0.0, op.Add(op.ReduceMax(labels, keepdims=0), 1.0), 1.0)
        is_class = op.Equal(op.Unsqueeze(labels, first), op.Unsqueeze(classes, ends))
        by_class = op.Where(is_class, by_class, -1.0)
    most, overlap = _constant(value_ints=[int(scores.shape[1])]), _constant(value_floats=[nms_iou])
    above = _constant(value_floats=[-0.5])  # scores above this take part
    kept: Any = op.NonMaxSuppression(boxes, by_class, most, overlap, above, center_point_box=1)
    places: Any = op.Gather(kept, ends, axis=1)  # picture and box, without the class between them
    return op.ScatterND(op.Sub(op.Mul(scores, 0.0), 1.0), places, op.GatherND(scores, places))


OPERATOR_TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.mean.dim: _mean,
    torch.ops.aten.amax.default: _amax,
    torch.ops.aten.softplus.default: _softplus,
    torch.ops.whc.without_duplicates.default: _without_duplicates,
}


class _Lstm(nn.Module):
    """An LSTM that is exported as one ONNX operator, over any number of frames.

    PyTorch's exporter (2.13) may unroll it instead, depending on earlier exports of the process.
    """

    weight: Tensor
    recurrence: Tensor
    bias: Tensor

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.lstm = lstm

        def gates(name: str) -> Tensor:
            """From PyTorch's order (input, forget, cell, output) to ONNX's (input, output, forget, cell)."""
            i, f, c, o = lstm.get_parameter(name).detach().chunk(4)
            return torch.cat([i, o, f, c])[None]

        self.register_buffer("weight", gates("weight_ih_l0"))
        self.register_buffer("recurrence", gates("weight_hh_l0"))
        self.register_buffer("bias", torch.cat([gates("bias_ih_l0"), gates("bias_hh_l0")], dim=1))

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """As nn.LSTM: (N, T, F) to all steps (N, T, H), and the last step and cell, each (1, N, H)."""
        if not torch.compiler.is_exporting():
            steps: tuple[Tensor, tuple[Tensor, Tensor]] = self.lstm(x)
            return steps
        count, frames, hidden = x.shape[0], x.shape[1], self.lstm.hidden_size
        all_steps, last_step, cell = torch.onnx.ops.symbolic_multi_out(
            "LSTM",
            (x.transpose(0, 1), self.weight, self.recurrence, self.bias),
            {"hidden_size": hidden},
            dtypes=(x.dtype,) * 3,
            shapes=((frames, 1, count, hidden), (1, count, hidden), (1, count, hidden)),
            version=18,
        )
        return all_steps.squeeze(1).transpose(0, 1), (last_step, cell)


def as_operators(network: nn.Module) -> nn.Module:
    """`network` with each plain LSTM replaced by a module that is exported as one ONNX operator."""
    for name, child in network.named_children():
        if isinstance(child, nn.LSTM) and _is_plain(child):
            setattr(network, name, _Lstm(child))
        else:
            as_operators(child)
    return network


def _is_plain(lstm: nn.LSTM) -> bool:
    """One layer in one direction, (N, T, F), with biases."""
    return lstm.num_layers == 1 and lstm.batch_first and lstm.bias and not lstm.bidirectional and not lstm.proj_size
