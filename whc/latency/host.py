"""The machine on which a latency was measured."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from whc.config import fingerprint

RUNTIME_LIBRARIES = ("onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "ai-edge-litert", "numpy")
_CPU_FOLDER = Path("/sys/devices/system/cpu")


def cpu_model() -> str:
    """Name of the processor as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def governor() -> str:
    """The governor of the cores' frequency, such as `performance`; empty where the system gives none."""
    governors = set()
    for path in _CPU_FOLDER.glob("cpu[0-9]*/cpufreq/scaling_governor"):
        try:
            governors.add(path.read_text(encoding="ascii").strip())
        except OSError:
            continue
    return "+".join(sorted(governors))


@cache
def gpu() -> str:
    """Name and driver of the NVIDIA GPUs; empty where there is none."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        completed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    names = sorted({line.strip().replace(", ", " driver ") for line in completed.stdout.splitlines() if line.strip()})
    return ", ".join(names)


def libraries() -> Iterator[tuple[str, str]]:
    """Installed libraries that run networks, with their versions."""
    for name in RUNTIME_LIBRARIES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue


def description() -> dict[str, str | int]:
    """What latency depends on: processor, cores, governor, GPU, libraries. It does not identify machine or owner."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count() or 1,
        "system": platform.system(),
        "governor": governor(),
        "gpu": gpu(),
        **dict(libraries()),
    }


def host() -> str:
    """The description with its fingerprint, as records keep it."""
    parts = description()
    words = [str(parts["cpu"]), f"{parts['cores']} cores"]
    words += [f"governor {parts['governor']}"] if parts["governor"] else []
    words += [str(parts["gpu"])] if parts["gpu"] else []
    words += [f"{name} {parts[name]}" for name in RUNTIME_LIBRARIES if name in parts]
    return f"{', '.join(words)} ({fingerprint(parts)[:8]})"
