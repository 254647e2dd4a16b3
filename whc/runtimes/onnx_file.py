"""ONNX files, for runtimes that do not give a file's inputs and metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from whc.runtimes.model_file import UNUSABLE_ERRORS, ModelFile, check_inputs, check_present, unusable_file


def read(path: Path) -> tuple[ModelFile, Any]:
    """The file's description and its `onnx.ModelProto`.

    Raises:
        ArtifactError: the file is missing, is not ONNX, or has several inputs.
    """
    import onnx
    from google.protobuf.message import DecodeError

    check_present(path)
    try:
        model = onnx.load(path)
    except (DecodeError, onnx.checker.ValidationError, *UNUSABLE_ERRORS) as error:
        raise unusable_file(path, "any runtime", error) from error
    if not model.graph.output:
        raise unusable_file(path, "any runtime", "no network in it")
    weights = {item.name for item in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in weights]
    types = [(item.name, onnx.TensorProto.DataType.Name(item.type.tensor_type.elem_type)) for item in inputs]
    check_inputs(path, types, "FLOAT")
    sizes = inputs[0].type.tensor_type.shape.dim
    shape = tuple(size.dim_value if size.HasField("dim_value") else size.dim_param or None for size in sizes)
    properties = {item.key: item.value for item in model.metadata_props}
    output = model.graph.output[0].name
    # Protobuf gives bytes in the place of text that is not UTF-8.
    if any(isinstance(text, bytes) for text in (*properties, *properties.values(), *shape, inputs[0].name, output)):
        raise unusable_file(path, "any runtime", "names that are not UTF-8")
    return ModelFile(path, inputs[0].name, shape, output, properties), model
