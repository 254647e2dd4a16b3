"""Sources of frames: a camera, a video, a picture, a folder of pictures, an address, stdin, or a rendered clip.

One file a kind. What may block (a camera, a network, a pipe) is read by a thread, see `waiting`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from whc.demo.ending import Ending
from whc.demo.sources import camera, files, network, stdin, waiting
from whc.demo.sources.source import Source

__all__ = ["Source", "is_stream", "open_source"]


def is_stream(spec: str) -> bool:
    """Whether a source is a camera, an address or stdin, and not a path of files."""
    return camera.is_camera(spec) or network.is_address(spec) or spec == stdin.SPEC


@contextmanager
def open_source(spec: str | None, ending: Ending | None = None, is_fast: bool = False) -> Iterator[Source]:
    """Open a source and close it at the end.

    Args:
        spec: a camera's number or device (/dev/video0), an address (http, https, rtsp or rtsps), `-` for JPEGs on
            stdin, the path of a video, of a picture or of a folder of pictures (and its subfolders), or None for a
            rendered clip.
        ending: what ends the wait for a frame of a camera, an address or stdin.
        is_fast: whether the pictures on stdin are at an even distance in time; otherwise each comes at its own time.

    Raises:
        DataError: the source does not exist, does not answer, or holds nothing that can be shown.
        KeyboardInterrupt: a signal came before the first frame.
    """
    if spec is None:
        # Imported here, because the renderer needs the data set's libraries; a device with a camera need not have them.
        from whc.demo.sources import rendered

        yield rendered.source()
    elif camera.is_camera(spec):
        with waiting.read(camera.opened(spec), ending, camera.OPEN_SECONDS, f"camera {spec}") as source:
            yield source
    elif network.is_address(spec):
        address = network.parse(spec)
        with waiting.read(network.opened(address), ending, network.OPEN_SECONDS, address.name) as source:
            yield source
    elif spec == stdin.SPEC:
        with waiting.read(stdin.opened(is_fast), ending, None, stdin.NAME) as source:
            yield source
    else:
        with files.opened(spec) as source:
            yield source
