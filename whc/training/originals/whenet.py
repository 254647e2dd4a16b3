"""The weights of WHENet (Zhou and Gregson 2020), a Keras file, under whc's names.

| theirs | ours |
|---|---|
| `conv2d_N`, `depthwise_conv2d_N`, `batch_normalization_N` | the convolutions and norms of `backbone`, in order |
| `yaw_new`, `pitch_new`, `roll_new` | `head.layers.1`, one linear layer |
| input normalised by ImageNet's mean and deviation | `normalize: imagenet` of the backbone |
| OpenCV's plain linear resizing | the interpolation `bilinear` |

Keras writes kernels as (height, width, in, out), of depthwise layers (height, width, channels, 1), of
dense layers (in, out).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from whc.errors import ArtifactError, problem
from whc.models.assemble import ModelConfig, shapes

if TYPE_CHECKING:
    import h5py

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
ORIGINAL_INTERPOLATION = "bilinear"
ANGLE_LOGITS = {"yaw_new": 120, "pitch_new": 66, "roll_new": 66}  # dense layers, and their logits
_HEAD_LAYER = "head.layers.1"
_NORM_ARRAYS = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
_MODEL_CONFIG = {
    "backbone": {"efficientnet": {"expansion": 6, "padding": "same_tensorflow", "normalize": "imagenet"}},
    "head": "linear",
    "color": "rgb",
    "sequence": "none",
    "width": 32,
    "depth": 16,
    "image_size": 224,
    "dropout": 0.0,
}
_TASK_CONFIG = {"head_pose": {"output": "bins", "uncertainty": False}}

ReadArray = Callable[[str, str, tuple[int, ...]], Tensor]


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as Keras files do; False for a file that cannot be opened."""
    try:
        with path.open("rb") as file:
            return file.read(len(HDF5_SIGNATURE)) == HDF5_SIGNATURE
    except OSError:
        return False


def read(path: Path) -> dict[str, Any]:
    """The fields of our `Checkpoint` from WHENet's file of weights.

    No code in the file runs. Only the arrays that the network has are read, and their shapes are checked.

    Raises:
        ArtifactError: h5py is not installed, or the file is damaged or holds other weights.
    """
    try:
        import h5py
    except ImportError as error:
        raise ArtifactError(f"{path}: needs h5py, as a Keras file, got {error}; install whc[whenet]") from error
    try:
        with h5py.File(path, "r") as file:
            weights = _weights(lambda layer, name, shape: _array(file, layer, name, shape, path))
    except (OSError, RuntimeError, ValueError, KeyError) as error:  # what h5py raises at damaged files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ArtifactError(problem(str(path), "must be a readable HDF5 file", reason, "copy it again")) from error
    return {
        "config": {"task": _TASK_CONFIG, "model": _MODEL_CONFIG},
        "weights": weights,
        "labels": [],
        "frame_rate": None,
        "data_fingerprint": "",
        "code_version": "",
        "epoch": 0,
        "val_score": 0.0,
        "interpolation": ORIGINAL_INTERPOLATION,
    }


def _array(file: h5py.File, layer: str, name: str, shape: tuple[int, ...], path: Path) -> Tensor:
    """One array; links to other files, and data stored in other files, are refused."""
    import h5py

    where = f"{path}: {layer}/{name}"
    node: Any = file
    for part in (layer, layer, f"{name}:0"):
        is_inside = isinstance(node, h5py.Group) and isinstance(node.get(part, getlink=True), h5py.HardLink)
        node = node[part] if is_inside else None
    if not isinstance(node, h5py.Dataset):
        raise ArtifactError(problem(where, "must be there", "nothing", "give the weights of WHENet"))
    if (node.shape, node.dtype) != (shape, np.float32):
        rule = f"must be float32 of shape {shape}"
        raise ArtifactError(problem(where, rule, f"{node.dtype} of {node.shape}", "give the weights of WHENet"))
    if node.external or node.is_virtual:
        raise ArtifactError(problem(where, "must lie in the file itself", "another file", "copy it into one"))
    return torch.from_numpy(np.asarray(node[()]))


def _weights(array: ReadArray) -> dict[str, Tensor]:
    """All weights of the network, by whc's names."""
    layers: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes(ModelConfig.model_validate(_MODEL_CONFIG), sum(ANGLE_LOGITS.values())).items():
        layer, _, part = name.rpartition(".")
        layers.setdefault(layer, {})[part] = shape
    weights = _head(layers.pop(_HEAD_LAYER)["weight"][1], array)
    numbers = {kind: count(1) for kind in ("conv2d", "depthwise_conv2d", "batch_normalization")}
    for layer, parts in layers.items():
        is_depthwise = parts["weight"][1:2] == (1,)
        kind = "batch_normalization" if "running_mean" in parts else "depthwise_conv2d" if is_depthwise else "conv2d"
        theirs = f"{kind}_{next(numbers[kind])}"  # Keras counts the layers of each kind
        arrays = _norm(theirs, parts, array) if "running_mean" in parts else _convolution(theirs, parts, array)
        weights |= {f"{layer}.{part}": weight for part, weight in arrays.items()}
    return weights


def _head(features: int, array: ReadArray) -> dict[str, Tensor]:
    """Three dense layers, joined into one."""
    kernels = [array(name, "kernel", (features, size)).T for name, size in ANGLE_LOGITS.items()]
    biases = [array(name, "bias", (size,)) for name, size in ANGLE_LOGITS.items()]
    return {f"{_HEAD_LAYER}.weight": torch.cat(kernels), f"{_HEAD_LAYER}.bias": torch.cat(biases)}


def _norm(layer: str, parts: Mapping[str, tuple[int, ...]], array: ReadArray) -> dict[str, Tensor]:
    arrays = {ours: array(layer, theirs, parts[ours]) for theirs, ours in _NORM_ARRAYS.items()}
    return {**arrays, "num_batches_tracked": torch.tensor(0)}


def _convolution(layer: str, parts: Mapping[str, tuple[int, ...]], array: ReadArray) -> dict[str, Tensor]:
    out, into, height, width = parts["weight"]
    if layer.startswith("depthwise"):
        kernel = array(layer, "depthwise_kernel", (height, width, out, into)).permute(2, 3, 0, 1)
    else:
        kernel = array(layer, "kernel", (height, width, into, out)).permute(3, 2, 0, 1)
    bias = {"bias": array(layer, "bias", parts["bias"])} if "bias" in parts else {}
    return {"weight": kernel.contiguous(), **bias}
