"""What whc sets in the environment before any library is loaded, and so in every process that is started from here.

Importing any part of whc comes here first, in a timing process and in a worker on another machine too.
"""

from __future__ import annotations

import getpass
import logging
import os
from pathlib import Path

MAX_PIXELS = 100_000_000
"""Pixels of the largest picture that is decoded."""


def prepare() -> None:
    """Keep libraries from calling home, from ending where there is no user or no home folder, and within our limits."""
    # OpenCV reads the first as it loads, and refuses larger pictures by their header.
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_PIXELS)
    # FFmpeg would print its own account of what we raise as one line.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # ONNX Runtime (from 1.29 on) would send its makers the path of Python and a number of this device, keep both in the
    # home folder, and leave a thread at work while latency is measured.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    # Where its folder in the home folder cannot be written, it takes a temporary one; nobody has to know.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    # In a container a user may have no entry: MLflow and Ray, asking who runs them and where, would end in a traceback.
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = str(os.getuid())
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = "/nonexistent"  # as system users have it: libraries know what to do without a home folder
