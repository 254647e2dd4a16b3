"""What machine a latency was measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from whc.config import fingerprint

LIBRARIES = ("onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "numpy")
_GOVERNORS = Path("/sys/devices/system/cpu")


def cpu_model() -> str:
    """Name of the processor as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def governor() -> str:
    """How the cores' frequency is governed, such as `performance`; empty where the system does not tell."""
    found = set()
    for path in _GOVERNORS.glob("cpu[0-9]*/cpufreq/scaling_governor"):
        try:
            found.add(path.read_text(encoding="ascii").strip())
        except OSError:
            continue
    return "+".join(sorted(found))


@cache
def gpu() -> str:
    """Name and driver of the NVIDIA GPUs; empty where there is none."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    names = sorted({line.strip().replace(", ", " driver ") for line in done.stdout.splitlines() if line.strip()})
    return ", ".join(names)


def libraries() -> Iterator[tuple[str, str]]:
    """Those of the libraries that run networks which are installed here, with their versions."""
    for name in LIBRARIES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue


def description() -> dict[str, str | int]:
    """What latency depends on: processor, cores, governor, GPU, libraries; nothing that names machine or owner."""
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
    shown = [str(parts["cpu"]), f"{parts['cores']} cores"]
    shown += [f"governor {parts['governor']}"] if parts["governor"] else []
    shown += [str(parts["gpu"])] if parts["gpu"] else []
    shown += [f"{name} {parts[name]}" for name in LIBRARIES if name in parts]
    return f"{', '.join(shown)} ({fingerprint(parts)[:8]})"
