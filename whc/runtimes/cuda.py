"""One NVIDIA GPU, through CUDA's own Python bindings: neither PyTorch nor PyCUDA is needed."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whc.errors import RuntimeUnavailable, problem
from whc.runtimes import library


class Gpu:
    """A stream on a GPU, and memory that is freed with this object; an error of CUDA raises RuntimeUnavailable.

    Args:
        runtime: name of the runtime plug-in that uses it.
        number: the GPU, as CUDA counts them.
    """

    def __init__(self, runtime: str, number: int) -> None:
        self._cuda = library(runtime, "cuda.bindings.runtime")
        self._where = f"runtime {runtime}: GPU {number}"
        self._call("cudaSetDevice", number)
        self._properties = self._call("cudaGetDeviceProperties", number)
        self._memory: list[int] = []
        self.stream = int(self._call("cudaStreamCreate"))
        weakref.finalize(self, _free_all, self._cuda, self._memory, self.stream)

    @property
    def name(self) -> str:
        """Name and compute capability of the GPU: an engine for one kind of GPU does not run on another."""
        properties = self._properties
        return f"{properties.name.decode()} {properties.major}.{properties.minor}"

    def allocate(self, size_bytes: int) -> int:
        """The address of new memory on the GPU."""
        address = int(self._call("cudaMalloc", size_bytes))
        self._memory.append(address)
        return address

    def send(self, values: NDArray[np.float32], address: int) -> None:
        """Copy a contiguous array to the GPU, in order within the stream."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, values.ctypes.data, values.nbytes, kind, self.stream)

    def fetch(self, address: int, values: NDArray[np.float32]) -> None:
        """Fill a contiguous array from the GPU after all earlier work of the stream."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", values.ctypes.data, address, values.nbytes, kind, self.stream)
        self._call("cudaStreamSynchronize", self.stream)

    def _call(self, function: str, *arguments: object) -> Any:
        error, *values = getattr(self._cuda, function)(*arguments)
        if error != self._cuda.cudaError_t.cudaSuccess:
            advice = "check the driver (nvidia-smi) and free memory, or choose another runtime"
            raise RuntimeUnavailable(problem(self._where, f"{function} must succeed", error.name, advice))
        return values[0] if values else None


def _free_all(cuda: Any, memory: list[int], stream: int) -> None:
    for address in memory:
        cuda.cudaFree(address)
    cuda.cudaStreamDestroy(stream)
