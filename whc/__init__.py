"""Families of tiny vision models: searched, timed, chosen, named, registered and run."""

import os

__version__ = "0.1.0"

MAX_PIXELS = 100_000_000
"""Pixels of the largest picture that is decoded."""

# Here, before any module imports OpenCV, which reads the first as it loads and refuses larger pictures by their header.
os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_PIXELS)
# FFmpeg would print its own account of what we raise as one line.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
