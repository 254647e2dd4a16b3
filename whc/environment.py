"""What whc sets in the environment before any library is loaded, and so in every process that it starts.

Importing any part of whc runs this first, also in a timing process and in a worker on another machine.
"""

from __future__ import annotations

import getpass
import logging
import os
from pathlib import Path

MAX_PIXELS = 100_000_000
"""Pixels of the largest picture that is decoded."""

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


def prepare() -> None:
    """Set our limits, keep libraries from reporting to their makers, and let them run without a user or home folder."""
    # OpenCV reads this when it loads, and refuses larger pictures by their header.
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_PIXELS)
    # FFmpeg would print several lines about an error that we raise in one line.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # SVT-AV1, which encodes .mp4 files, would print twenty lines about itself.
    os.environ.setdefault("SVT_LOG", "1")
    # ONNX Runtime (1.29 and later) would send its makers the path of Python and a number of this device, keep both in
    # the home folder, and run a thread while latency is measured.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    # What runs on this machine (a camera's server, the registry) is never behind a proxy.
    names = (os.environ.get("no_proxy"), os.environ.get("NO_PROXY"), *LOOPBACK_NAMES)
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(dict.fromkeys(name for name in names if name))
    # Where matplotlib cannot write to the home folder, it takes a temporary folder, and would warn about it.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    # In a container a user may have no entry: MLflow and Ray, which ask for user and home, would end in a traceback.
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = str(os.getuid())
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = "/nonexistent"  # as for system users: libraries can handle a missing home folder
