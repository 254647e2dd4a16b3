"""What machine a latency was measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import onnxruntime

from whc.config import fingerprint


def cpu_model() -> str:
    """Name of the processor as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def description() -> dict[str, str | int]:
    """Processor, cores and library versions: what latency depends on, nothing that names the machine or its owner."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count() or 1,
        "system": platform.system(),
        "onnxruntime": onnxruntime.__version__,
    }


def host() -> str:
    """The description with its fingerprint, as records keep it."""
    parts = description()
    return f"{parts['cpu']}, {parts['cores']} cores, onnxruntime {parts['onnxruntime']} ({fingerprint(parts)[:8]})"
