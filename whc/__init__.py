"""Families of tiny vision models: searched, timed, chosen, named, registered and run."""

import os

__version__ = "0.1.0"

MAX_PIXELS = 100_000_000
"""Pixels of the largest picture that is decoded."""

# OpenCV reads it once, when it is first imported by whichever module, and refuses what is larger by its header.
os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_PIXELS)
