"""Metadata of files that are exported already: what is learnt of them later is written into them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from whc.records import ModelMetadata, replacing


def rewrite(path: Path, metadata: ModelMetadata) -> None:
    """Replace the metadata of an .onnx or .tflite file that whc exported; all else stays."""
    properties = metadata.to_properties()
    content = _onnx(path, properties) if path.suffix == ".onnx" else _litert(path, properties)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _onnx(path: Path, properties: dict[str, str]) -> bytes:
    model = onnx.load(path)
    onnx.helper.set_model_props(model, properties)
    content: bytes = model.SerializeToString()
    return content


def _litert(path: Path, properties: dict[str, str]) -> bytes:
    import flatbuffers  # LiteRT is an extra
    from ai_edge_litert import schema_py_generated as schema

    from whc.runtimes.litert_session import METADATA_NAME

    model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    (ours,) = [entry for entry in model.metadata if entry.name in (METADATA_NAME, METADATA_NAME.encode())]
    text = json.dumps(properties, ensure_ascii=False).encode()
    model.buffers[ours.buffer].data = np.frombuffer(text, np.uint8)
    builder = flatbuffers.Builder(len(text))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
