"""The converter from PyTorch to LiteRT, in an environment of its own.

Its libraries ask for versions that contradict those of whc, and take 2 GB. `whc export --setup-litert` installs them
into the user's cache; a conversion is one run of `script.py` there. The two processes exchange files: the network as
torch.export writes it, arrays as NumPy does, and JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch import nn

from whc.errors import ArtifactError, UsageError
from whc.export.finite import check_finite
from whc.export.fold import fold
from whc.paths import user_cache
from whc.records import ModelMetadata, replacing, write_atomic
from whc.runtimes import library
from whc.tasks import Task

SETUP_COMMAND = "whc export --setup-litert"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
"""All packages of the environment, with their versions."""
_SCRIPT = Path(__file__).with_name("script.py")
_COMPLETE_FILE = "complete"
"""Written last: the hash of the requirements that were installed."""
_WHERE = "converter to LiteRT"
# PyTorch's own operators, which the converter reports itself where LiteRT lacks one.
_KNOWN_NAMESPACES = {"aten", "prim", "prims"}


def folder() -> Path:
    """Where the environment lies."""
    return user_cache() / "litert-converter"


def set_up() -> Path:
    """Install the environment, in minutes, unless it is there; a half-made or outdated one is replaced.

    Raises:
        UsageError: the folder cannot be written, another process installs it, or a package cannot be installed.
    """
    place = folder()
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(place.with_suffix(".lock"), timeout=0):
            if _fault() is not None:
                shutil.rmtree(place, ignore_errors=True)
                _install(place)
    except Timeout as error:
        raise UsageError(f"{_WHERE}: must be set up by one process, got another at work; wait for it") from error
    return place


def _install(place: Path) -> None:
    _run([sys.executable, "-I", "-m", "venv", str(place)])
    _run([str(_python()), "-I", "-m", "pip", "install", "--quiet", "--requirement", str(REQUIREMENTS)])
    _run([str(_python()), "-I", str(_SCRIPT)])  # which imports all that it needs
    write_atomic(place / _COMPLETE_FILE, _versions())


def _run(command: list[str]) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        lines = (ended.stderr.strip() or ended.stdout.strip()).splitlines()
        errors = [line for line in lines if line.startswith("ERROR")] or lines or [_ending(ended.returncode)]
        rule = f"must install into {folder()}"
        raise UsageError(
            f"{_WHERE}: {rule}, got {errors[-1].removeprefix('ERROR: ')}; mend that and run `{SETUP_COMMAND}` again"
        )


def _fault() -> str | None:
    """What is wrong with the environment, None if it can be used."""
    place = folder()
    if not place.exists():
        return f"nothing in {place}"
    complete = place / _COMPLETE_FILE
    if not complete.is_file():
        return f"a half-made one in {place}"
    return None if complete.read_text("utf-8") == _versions() else f"one of other versions in {place}"


def _versions() -> str:
    return hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()


def _python() -> Path:
    return folder() / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def require() -> None:
    """Raise UsageError, with what helps, unless the converter can be used, and what it writes be run."""
    library("litert", "ai_edge_litert.interpreter")
    if fault := _fault():
        raise UsageError(f"{_WHERE}: must be set up, got {fault}; run `{SETUP_COMMAND}` (minutes, 2 GB)")


def convert(
    network: nn.Module,
    task: Task,
    path: Path,
    metadata: ModelMetadata,
    input_shape: tuple[int, ...],
    calibration: NDArray[np.float32] | None = None,
) -> None:
    """Write a network as a LiteRT file of batch 1: float32, or int8 with the ranges that `calibration` gives.

    Pictures are channels last in the file (1, H, W, C), as LiteRT computes; inputs of five dimensions stay as they are.

    Args:
        network: the network.
        task: decodes its output within the file.
        path: the file.
        metadata: is written into the file.
        input_shape: shape of one input, without the batch.
        calibration: inputs (K, *input_shape) in 0..1.

    Raises:
        UsageError: the environment is not set up.
        ArtifactError: the network gives NaN or infinity, or has an operator that LiteRT lacks.
    """
    require()
    folded_network = fold(network).cpu().eval()
    check_finite(folded_network, path, input_shape)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch's own layers, which a caller cannot mend
        program = torch.export.export(task.finished(folded_network).eval(), (torch.zeros(1, *input_shape),))
    _check_operators(program, path)
    _drop_detached(program)
    with tempfile.TemporaryDirectory(prefix="whc-litert-") as scratch:
        place = Path(scratch)
        torch.export.save(program, place / "network.pt2")
        if calibration is not None:
            np.save(place / "calibration.npy", calibration)
        write_atomic(place / "metadata.json", json.dumps(metadata.to_properties(), ensure_ascii=False))
        ended = subprocess.run(
            [str(_python()), "-I", str(_SCRIPT), scratch], capture_output=True, text=True, check=False
        )
        if not (place / "model.tflite").is_file():
            raise ArtifactError(_refusal(path, place / "refusal.json", ended))
        with replacing(path) as temporary:
            shutil.copyfile(place / "model.tflite", temporary)


def _check_operators(program: torch.export.ExportedProgram, path: Path) -> None:
    """Refuse operators of our own, which the converter's process could not even read."""
    for node in program.graph.nodes:
        if node.op == "call_function" and getattr(node.target, "namespace", "aten") not in _KNOWN_NAMESPACES:
            raise ArtifactError(_lacking(path, str(node.target)))


def _drop_detached(program: torch.export.ExportedProgram) -> None:
    """Remove what matters to gradients alone: the converter cannot trace it again."""
    for node in list(program.graph.nodes):
        if node.target is torch.ops.aten.detach_.default:
            node.replace_all_uses_with(node.args[0])
            program.graph.erase_node(node)
    program.graph_module.recompile()


def _refusal(path: Path, file: Path, ended: subprocess.CompletedProcess[str]) -> str:
    """Why there is no file, in one line."""
    if file.is_file():
        refusal = json.loads(file.read_bytes())
        if refusal["operator"]:
            return _lacking(path, refusal["operator"])
        reason = refusal["reason"]
    else:
        lines = ended.stderr.strip().splitlines()
        reason = lines[-1] if ended.returncode > 0 and lines else _ending(ended.returncode)
    return f"{path}: the converter to LiteRT must accept the network, got: {reason}; choose another artifact"


def _lacking(path: Path, operator: str) -> str:
    rule = "LiteRT must have every operator of the network"
    return f"{path}: {rule}, got {operator}, which it lacks; choose another network or artifact"


def _ending(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
