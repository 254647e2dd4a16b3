"""Runtimes: one file each. A runtime loads an artifact and runs it; none of them imports torch.

A file defines `Config`, `load(path, config) -> Session`, `SUFFIX`: that of the files it reads, and `ON_GPU`: whether a
first pass may take minutes, because an engine is built or kernels are loaded for a device. It imports its library
within `load`, so that a configuration can be read where the runtime is missing; `load` then raises RuntimeUnavailable.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from whc.errors import RuntimeUnavailable, UsageError
from whc.plugins import Choice, ChoiceOf
from whc.plugins import load as load_plugin
from whc.records import ModelMetadata

ONNXRUNTIME_PACKAGES = ("onnxruntime", "onnxruntime-gpu")  # for CPUs, and for NVIDIA GPUs too
DEFAULT_RUNTIMES = {".onnx": "onnxruntime_cpu", ".tflite": "litert"}  # by the suffix of the files that they read


class Session(Protocol):
    """A loaded artifact with one input and one output of interest."""

    @property
    def path(self) -> Path:
        """The file it came from."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, batch size 1; raises ArtifactError when it is open, or larger than any picture."""

    @property
    def is_ours(self) -> bool:
        """Whether the file has metadata of whc."""

    def metadata(self) -> ModelMetadata:
        """The metadata in the file; raises ArtifactError when whc did not write the file."""

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs for a batch (N, ...), as the task of the file has them; raises ArtifactError when it fails."""


def choose(name: str, threads: int = 1) -> Choice:
    """The runtime of that name; `threads` is ignored by runtimes without such a parameter.

    Raises:
        UsageError: no such runtime.
    """
    try:
        fields = load_plugin("runtimes", name).Config.model_fields
        return ChoiceOf("runtimes").parse({name: {"threads": threads} if "threads" in fields else {}})
    except ValueError as error:
        raise UsageError(f"runtime: {error}") from error


def choose_for(paths: Sequence[Path], name: str | None = None, threads: int = 1) -> Choice:
    """The runtime of that name, or the usual one for the first of some files.

    Raises:
        UsageError: no such runtime, or it reads none of the files.
    """
    choice = choose(name or DEFAULT_RUNTIMES[suffix_of(paths[0])], threads)
    if all(suffix_of(path) != reads(choice.name) for path in paths):
        usual = DEFAULT_RUNTIMES[suffix_of(paths[0])]
        rule = f"runtime {choice.name}: must be given a {reads(choice.name)} file"
        raise UsageError(f"{rule}, got {paths[0]}; leave --runtime out ({usual} runs it)")
    return choice


def suited(path: Path, choice: Choice) -> Choice:
    """A runtime, if it reads this file, or else the usual one for it, with as many threads."""
    if suffix_of(path) == reads(choice.name):
        return choice
    return choose(DEFAULT_RUNTIMES[suffix_of(path)], getattr(choice.config, "threads", 1))


def name_for(suffix: str, name: str) -> str:
    """Name of what runs files of a suffix where the runtime `name` runs all those that it reads."""
    return name if reads(name) == suffix else DEFAULT_RUNTIMES[suffix]


def suffix_of(path: Path) -> str:
    """The kind of a file, a key of DEFAULT_RUNTIMES; a file without one of these suffixes is taken to be ONNX."""
    suffix = path.suffix.lower()
    return suffix if suffix in DEFAULT_RUNTIMES else ".onnx"


def reads(name: str) -> str:
    """Suffix of the files that a runtime reads."""
    suffix: str = load_plugin("runtimes", name).SUFFIX
    return suffix


def library(runtime: str, module: str, extras: str = "") -> Any:
    """Import a module that the runtime's extra installs; `extras` names others in its place.

    Raises:
        RuntimeUnavailable: it is not installed, or lacks a library of its own.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:
        missing = f"no module {error.name!r}" if isinstance(error, ModuleNotFoundError) else ""
        reason = missing or str(error).splitlines()[0]
        raise RuntimeUnavailable(
            f"runtime {runtime}: must be installed, got {reason}; install {extras or f'whc[{runtime}]'}"
        ) from error


def onnxruntime_library(runtime: str) -> Any:
    """Import ONNX Runtime, which two packages install.

    Raises:
        RuntimeUnavailable: neither package is installed, or both are: each overwrites files of the other.
    """
    has_gpu = shutil.which("nvidia-smi") is not None
    installed = _installed_onnxruntimes()
    if len(installed) > 1:
        uninstall = f"pip uninstall --yes {' '.join(installed)}"
        rule = "only one of onnxruntime and onnxruntime-gpu must be installed, as their files overwrite each other's"
        mend = f"run `{uninstall}`, then `pip install {ONNXRUNTIME_PACKAGES[has_gpu]}`"
        raise RuntimeUnavailable(f"runtime {runtime}: {rule}, got both; {mend}")
    whole = "whc[gpu]" if has_gpu else "whc[cpu]"
    return library(runtime, "onnxruntime", f"{whole}, or whc[onnxruntime] on a device that only times")


@cache
def _installed_onnxruntimes() -> list[str]:
    """The packages of ONNX Runtime that are installed; asked once, as files are loaded often while they are timed."""
    installed = []
    for package in ONNXRUNTIME_PACKAGES:
        with suppress(PackageNotFoundError):
            version(package)
            installed.append(package)
    return installed
