"""What a LiteRT file is and how it runs, without pydantic, for bundles."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from whc.errors import ArtifactError
from whc.runtimes.model_file import (
    UNUSABLE_ERRORS,
    FileSession,
    ModelFile,
    check_inputs,
    check_present,
    unusable_file,
)

FILE_KIND = "a LiteRT file"
LIBRARY_NAME = "LiteRT"
LIBRARY_ERRORS: tuple[type[Exception], ...] = (RuntimeError,)
METADATA_NAME = "whc"
"""Name of the buffer with the properties of the file, as one JSON object."""


class _Integers:
    """The integers of a tensor: q stands for (q - zero_point) * scale. Each call of NumPy costs as much as a layer."""

    def __init__(self, details: Mapping[str, Any]) -> None:
        scale, zero_point = details["quantization"]
        self._scale, self._zero_point = np.float32(scale), np.float32(zero_point)
        limits = np.iinfo(details["dtype"])
        self._lowest, self._highest = np.float32(limits.min), np.float32(limits.max)

    def steps(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """The nearest integers, still as floats; what is out of range becomes its end."""
        steps: NDArray[np.float32] = values / self._scale
        np.rint(steps, out=steps)
        np.add(steps, self._zero_point, out=steps)
        np.maximum(steps, self._lowest, out=steps)  # np.clip takes longer than the two
        np.minimum(steps, self._highest, out=steps)
        return steps

    def values(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """What integers stand for."""
        values: NDArray[np.float32] = (stored.astype(np.float32) - self._zero_point) * self._scale
        return values


class LiteRtSession(FileSession):
    """A file in LiteRT, which takes one input a pass.

    Pictures in such files are channels last (1, H, W, C); here they are (1, C, H, W) as everywhere in whc.
    """

    FILE_KIND: ClassVar[str] = FILE_KIND
    LIBRARY_NAME: ClassVar[str] = LIBRARY_NAME
    LIBRARY_ERRORS: ClassVar[tuple[type[Exception], ...]] = LIBRARY_ERRORS

    def __init__(self, file: ModelFile, interpreter: Interpreter) -> None:
        super().__init__(file, largest_batch=1)
        taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        self._interpreter, self._input, self._output = interpreter, taken["index"], given["index"]
        self._taken_integers = _Integers(taken) if taken["dtype"] != np.float32 else None
        self._given_integers = _Integers(given) if given["dtype"] != np.float32 else None
        self._stored = np.empty(taken["shape"], taken["dtype"])
        is_picture = self._stored.ndim == 4
        self._channels_first = self._stored.transpose(0, 3, 1, 2) if is_picture else self._stored

    def forward(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """One pass."""
        if images.shape != self._channels_first.shape:
            raise ValueError(f"input must be {self._channels_first.shape}, got {images.shape}")
        values = self._taken_integers.steps(images) if self._taken_integers else images
        np.copyto(self._channels_first, values, casting="unsafe")
        self._interpreter.set_tensor(self._input, self._stored)
        self._interpreter.invoke()
        output: NDArray[Any] = self._interpreter.get_tensor(self._output)
        return self._given_integers.values(output) if self._given_integers else output


def load_on_cpu(path: Path, threads: int) -> LiteRtSession:
    """Load a LiteRT file.

    Raises:
        ArtifactError: the file is missing, is not of LiteRT, cannot run here, or has several inputs.
    """
    check_present(path, FILE_KIND)
    content = path.read_bytes()
    if not content:
        raise unusable_file(path, LIBRARY_NAME, "an empty file", FILE_KIND)
    try:
        with _silent_stderr():
            interpreter = Interpreter(model_content=content, num_threads=threads)
            interpreter.allocate_tensors()
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        properties = _properties(content, path)
    except UNUSABLE_ERRORS + LIBRARY_ERRORS as error:
        raise unusable_file(path, LIBRARY_NAME, error, FILE_KIND) from error
    check_inputs(path, [(item["name"], _number_type(item)) for item in inputs], "float32")
    if not outputs or _number_type(outputs[0]) != "float32":
        got = [(item["name"], _number_type(item)) for item in outputs]
        raise unusable_file(path, LIBRARY_NAME, f"outputs {got}, none or none of numbers", FILE_KIND)
    sizes = tuple(map(int, inputs[0]["shape"]))
    shape = (sizes[0], sizes[3], sizes[1], sizes[2]) if len(sizes) == 4 else sizes
    return LiteRtSession(ModelFile(path, inputs[0]["name"], shape, outputs[0]["name"], properties), interpreter)


def _number_type(details: Mapping[str, Any]) -> str:
    """`float32` also for integers with a scale, which the session converts."""
    is_scaled = details["dtype"] in (np.int8, np.uint8) and details["quantization"][0]
    return "float32" if is_scaled else np.dtype(details["dtype"]).name


def _properties(content: bytes, path: Path) -> dict[str, str]:
    """The properties that whc wrote, empty where there are none; the interpreter has checked the file's structure."""
    model = schema.Model.GetRootAs(content, 0)
    for place in range(model.MetadataLength()):
        entry = model.Metadata(place)
        if entry.Name() == METADATA_NAME.encode():
            buffer = model.Buffers(entry.Buffer())
            try:
                properties = json.loads(bytes(buffer.DataAsNumpy()) if buffer.DataLength() else b"")
            except (ValueError, RecursionError) as error:
                reason = str(error).splitlines()[0]
                raise ArtifactError(f"{path}: whc's metadata is damaged ({reason}); export the model again") from error
            is_text = isinstance(properties, dict) and all(isinstance(value, str) for value in properties.values())
            if not is_text:
                raise ArtifactError(f"{path}: whc's metadata is damaged (no texts by name); export the model again")
            return dict(properties)
    return {}


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """LiteRT writes a line about its delegate to stderr, which no setting turns off; errors are raised."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123 (os.devnull is a name)
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
