"""The weights of WHENet (Zhou and Gregson 2020), a Keras file, in whc's words.

| theirs | ours |
|---|---|
| `conv2d_N`, `depthwise_conv2d_N`, `batch_normalization_N` | the convolutions and norms of `backbone`, in order |
| `yaw_new`, `pitch_new`, `roll_new` | `head.layers.1`, one linear layer |
| input normalised by ImageNet's mean and deviation | `normalize: imagenet` of the backbone |
| OpenCV's plain linear resizing | the interpolation `bilinear` |

Keras writes kernels as (height, width, in, out), of depthwise ones (height, width, channels, 1), dense ones (in, out).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from whc.errors import ArtifactError, problem
from whc.models.assemble import ModelConfig, build

if TYPE_CHECKING:
    import h5py

SIGNATURE = b"\x89HDF\r\n\x1a\n"
INTERPOLATION = "bilinear"
HEADS = ("yaw_new", "pitch_new", "roll_new")
LOGITS = (120, 66, 66)
_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
_MODEL = {
    "backbone": {"efficientnet": {"expansion": 6, "padding": "same_tensorflow", "normalize": "imagenet"}},
    "head": "linear",
    "color": "rgb",
    "sequence": "none",
    "width": 32,
    "depth": 16,
    "image_size": 224,
    "dropout": 0.0,
}
_TASK = {"head_pose": {"output": "bins", "uncertainty": False}}

Read = Callable[[str, str, tuple[int, ...]], Tensor]


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as Keras's do; False for one that cannot be opened."""
    try:
        with path.open("rb") as file:
            return file.read(len(SIGNATURE)) == SIGNATURE
    except OSError:
        return False


def read(path: Path) -> dict[str, Any]:
    """The fields of our `Checkpoint` from WHENet's file of weights.

    Nothing in the file is run, and of it only the arrays that the network has are read, in their shapes.

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
        "config": {"task": _TASK, "model": _MODEL},
        "weights": weights,
        "labels": [],
        "frame_rate": None,
        "data_fingerprint": "",
        "code_version": "",
        "epoch": 0,
        "val_score": 0.0,
        "interpolation": INTERPOLATION,
    }


def _array(file: h5py.File, layer: str, name: str, shape: tuple[int, ...], path: Path) -> Tensor:
    """One array; a link to another file, or data kept in one, is refused."""
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


def _weights(array: Read) -> dict[str, Tensor]:
    """All weights of the network, by our names."""
    with torch.device("meta"):
        network = build(ModelConfig.model_validate(_MODEL), sum(LOGITS))
    features, sizes = network.get_parameter("head.layers.1.weight").shape[1], dict(zip(HEADS, LOGITS, strict=True))
    weights = {
        "head.layers.1.weight": torch.cat([array(name, "kernel", (features, size)).T for name, size in sizes.items()]),
        "head.layers.1.bias": torch.cat([array(name, "bias", (size,)) for name, size in sizes.items()]),
    }
    for prefix, module, layer in _layers(network):
        if isinstance(module, nn.BatchNorm2d):
            channels = (module.num_features,)
            weights |= {f"{prefix}.{ours}": array(layer, theirs, channels) for theirs, ours in _NORM.items()}
            weights[f"{prefix}.num_batches_tracked"] = torch.tensor(0)
            continue
        out, into, height, width = module.weight.shape
        if layer.startswith("depthwise"):
            kernel = array(layer, "depthwise_kernel", (height, width, out, into)).permute(2, 3, 0, 1)
        else:
            kernel = array(layer, "kernel", (height, width, into, out)).permute(3, 2, 0, 1)
        weights[f"{prefix}.weight"] = kernel.contiguous()
        if module.bias is not None:
            weights[f"{prefix}.bias"] = array(layer, "bias", (out,))
    return weights


def _layers(network: nn.Module) -> Iterator[tuple[str, nn.Conv2d | nn.BatchNorm2d, str]]:
    """(our name, module, Keras's name) of each convolution and norm: Keras counts each kind in order."""
    numbers = {kind: count(1) for kind in ("conv2d", "depthwise_conv2d", "batch_normalization")}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            kind = "depthwise_conv2d" if module.groups > 1 else "conv2d"
        elif isinstance(module, nn.BatchNorm2d):
            kind = "batch_normalization"
        else:
            continue
        yield name, module, f"{kind}_{next(numbers[kind])}"
