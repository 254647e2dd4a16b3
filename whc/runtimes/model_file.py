"""What all runtimes share: a file's input and metadata, and batches that are larger than one pass."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from whc.errors import ArtifactError, problem
from whc.paths import is_file

if TYPE_CHECKING:
    from whc.records import ModelMetadata

# Most numbers in one input: as in the largest network that whc builds, or in a picture of 4096x4096.
MAX_NUMBERS = 64 * 3 * 512 * 512
ONNX_KIND = "an ONNX file"
# Python and numpy raise these for a file with names that are not UTF-8, with too much data for memory, or no array.
UNUSABLE_ERRORS: tuple[type[Exception], ...] = (UnicodeDecodeError, MemoryError, ValueError)


@dataclass(frozen=True)
class ModelFile:
    """A file with one input; in `shape` an open size is its name, or None where it has no name.

    The batch may be open, and also the frames, under the name `frames`: the metadata says how many the network learnt.
    """

    path: Path
    input: str
    shape: tuple[int | str | None, ...]
    output: str
    properties: Mapping[str, str]

    @property
    def batch(self) -> int | None:
        """The only batch size that the file takes; None where any size works."""
        return first if self.shape and isinstance(first := self.shape[0], int) else None

    @property
    def is_ours(self) -> bool:
        """Whether the file has metadata of whc."""
        return any(key.startswith("whc.") for key in self.properties)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, with batch size 1 where it is open.

        Raises:
            ArtifactError: another size is open, or the input has more than MAX_NUMBERS numbers.
        """
        sizes = [self.batch or 1, *self.shape[1:]]
        if "frames" in sizes and self.properties:
            frames = self.metadata().frames
            sizes = [frames if size == "frames" else size for size in sizes]
        fixed = tuple(size for size in sizes if isinstance(size, int))
        if len(fixed) != len(self.shape):
            rule = "must have fixed sizes, but for the batch (and frames, where whc's metadata says how many)"
            unfixed = [repr(size or f"size {index}") for index, size in enumerate(sizes) if not isinstance(size, int)]
            next_step = f"fix {', '.join(unfixed)} by `whc export` or onnxruntime.tools.make_dynamic_shape_fixed"
            raise ArtifactError(problem(str(self.path), rule, list(self.shape), next_step))
        if min(fixed, default=1) < 1 or math.prod(fixed) > MAX_NUMBERS:
            rule = f"input must have sizes above 0, and at most {MAX_NUMBERS} numbers"
            raise ArtifactError(problem(str(self.path), rule, fixed, "export it for smaller pictures"))
        return fixed

    def metadata(self) -> ModelMetadata:
        """The metadata in the file; raises ArtifactError when whc did not write the file."""
        from whc.records import ModelMetadata

        return ModelMetadata.from_properties(self.properties, str(self.path))


class FileSession(ABC):
    """A `whc.runtimes.Session` of a file; `largest_batch` is the most that one pass takes, None for any.

    A subclass sets the name of its library, the kind of file, and the exceptions that the library raises.
    """

    FILE_KIND: ClassVar[str] = ONNX_KIND
    LIBRARY_NAME: ClassVar[str]
    LIBRARY_ERRORS: ClassVar[tuple[type[Exception], ...]]

    def __init__(self, file: ModelFile, largest_batch: int | None) -> None:
        self.file = file
        self.largest_batch = largest_batch

    @property
    def path(self) -> Path:
        """The file it came from."""
        return self.file.path

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input; raises ArtifactError when no input of that shape can be made."""
        return self.file.input_shape

    @property
    def is_ours(self) -> bool:
        """Whether the file has metadata of whc."""
        return self.file.is_ours

    def metadata(self) -> ModelMetadata:
        """The metadata in the file; raises ArtifactError when whc did not write the file."""
        return self.file.metadata()

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs for a batch (N, ...), as the task of the file has them; raises ArtifactError when it fails."""
        limit = self.largest_batch
        try:
            if limit is None or len(images) <= limit:
                return self.forward(images)
            return np.concatenate([self.forward(images[i : i + limit]) for i in range(0, len(images), limit)])
        except UNUSABLE_ERRORS + self.LIBRARY_ERRORS as error:
            raise unusable_file(self.path, self.LIBRARY_NAME, error, self.FILE_KIND) from error

    @abstractmethod
    def forward(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """One pass over a batch of an allowed size; later passes do not overwrite the result."""


def unusable_file(path: Path, library: str, reason: str | Exception, kind: str = ONNX_KIND) -> ArtifactError:
    """The error for a file that a library cannot run; of an exception it shows the most useful line."""
    lines = str(reason).strip().splitlines() or [type(reason).__name__]
    message = lines[-1] if lines[0].endswith(":") else lines[0]  # OpenVINO begins with a line of its own code
    return ArtifactError(f"{path}: must be {kind} that {library} can run, got: {message}; export it again")


def check_present(path: Path, kind: str = ONNX_KIND) -> None:
    """Raise ArtifactError where there is no file."""
    if not is_file(path):
        raise ArtifactError(f"{path}: must be {kind}, got nothing there; check the path")


def check_inputs(path: Path, inputs: list[tuple[str, str]], float32: str) -> None:
    """Raise ArtifactError unless there is one input (name, type), of the type that this library calls `float32`."""
    if [kind for _, kind in inputs] != [float32]:
        raise ArtifactError(problem(str(path), "must have one float32 input", inputs, "export the network alone"))
