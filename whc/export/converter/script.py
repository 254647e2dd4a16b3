"""Converts one network to LiteRT; runs in the converter's environment, which has no whc.

`python script.py FOLDER` reads network.pt2, metadata.json and perhaps calibration.npy there, and leaves model.tflite,
or else refusal.json with the reason and, where one is to blame, the operator. Without a folder it only imports.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import litert_torch
import numpy as np
import torch
from ai_edge_litert.tools import flatbuffer_utils
from ai_edge_quantizer import calibrator, recipe, recipe_manager
from ai_edge_quantizer.quantizer import Quantizer
from ai_edge_quantizer.utils.qsv_utils import min_max_update

METADATA_NAME = "whc"
INPUT_NAME = "args_0"
_OPERATOR = re.compile(r"\b(?:aten|prims|tfl|stablehlo)\.\w+(?:\.\w+)*")


def convert(folder: Path) -> bytes:
    """The LiteRT file, without metadata."""
    program = torch.export.load(folder / "network.pt2")
    network: Any = program.module()
    (example,), _ = program.example_inputs
    is_picture = example.ndim == 4
    if is_picture:
        network = litert_torch.to_channel_last_io(network, args=[0])
        example = example.permute(0, 2, 3, 1).contiguous()
    converted: bytes = litert_torch.convert(network, (example,)).model_content()
    calibration = folder / "calibration.npy"
    if not calibration.is_file():
        return converted
    inputs = np.load(calibration, allow_pickle=False)[:, None]
    return quantise(converted, np.moveaxis(inputs, 2, -1) if is_picture else inputs)


def quantise(model: bytes, inputs: np.ndarray) -> bytes:
    """The file in int8, with ranges from the smallest to the largest number that `inputs` (K, 1, ...) give."""
    static = recipe.static_wi8_ai8()
    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(static)
    # Not Quantizer.calibrate: it keeps a moving average of the ranges, which cuts most numbers off.
    calibration = calibrator.Calibrator(model, num_threads=1, qsv_update_func=min_max_update)
    (signature,) = calibration.get_signature_list()
    samples = [{INPUT_NAME: np.ascontiguousarray(given)} for given in inputs]
    calibration.calibrate({signature: samples}, manager)
    quantizer = Quantizer(model, static)
    result = quantizer.quantize(calibration.get_model_qsvs(), enable_progress_report=False)
    return bytes(result.quantized_model)


def with_metadata(model: bytes, text: bytes) -> bytes:
    """The file with a buffer of this text under our name."""
    whole = flatbuffer_utils.read_model_from_bytearray(bytearray(model))
    buffer, entry = flatbuffer_utils.BufferT(), flatbuffer_utils.schema_fb.MetadataT()
    buffer.data = np.frombuffer(text, np.uint8)
    entry.name, entry.buffer = METADATA_NAME, len(whole.buffers)
    whole.buffers.append(buffer)
    whole.metadata = [*(whole.metadata or []), entry]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(whole))


def main(folder: Path) -> None:
    """Convert the network in a folder."""
    try:
        content = convert(folder)
    except Exception as error:  # noqa: BLE001 (the libraries raise any; all of them go into the refusal)
        text = str(error).strip() or type(error).__name__
        operator = _OPERATOR.search(text)
        refusal = {"reason": text.splitlines()[0], "operator": operator.group() if operator else None}
        (folder / "refusal.json").write_text(json.dumps(refusal), encoding="utf-8")
        return
    (folder / "model.tflite").write_bytes(with_metadata(content, (folder / "metadata.json").read_bytes()))


if __name__ == "__main__" and len(sys.argv) > 1:
    main(Path(sys.argv[1]))
