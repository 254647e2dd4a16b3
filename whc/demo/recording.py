"""Videos of a run, which browsers and phones play: VP8 in .webm by OpenCV, or AV1 in .mp4 by PyAV."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import cv2

from whc.data.pictures import require_utf8
from whc.data.preprocess import Image
from whc.demo.outputs import Result, Write, as_usage_error, replacing_output, require_suffix
from whc.demo.overlay import Size
from whc.errors import UsageError

MAX_HELD_SECONDS = 60.0
_AV1_OPTIONS = {"preset": "8", "crf": "30"}  # quick, and text stays sharp
_BT601, _LIMITED_RANGE = 6, 1  # how RGB becomes YUV; browsers guess where a file does not say it


class Encoder(Protocol):
    """Writes pictures into a file."""

    def write(self, picture: Image) -> object:
        """Add a picture, BGR uint8 (H, W, 3)."""

    def release(self) -> None:
        """Finish the file."""


@contextmanager
def video_file(path: Path, size: Size, fps: float) -> Iterator[Write]:
    """A video of the drawn frames at a constant rate; each frame is at its own time to within half a frame.

    A frame is repeated until the time of the next frame, at most for MAX_HELD_SECONDS. It is left out if the next frame
    has the same place in the video.

    Args:
        path: ends in .webm (VP8) or .mp4 (AV1).
        size: height and width of the drawn frames, both even.
        fps: frames a second of the video.

    Raises:
        UsageError: the video cannot be written.
    """
    require_suffix(path, (".webm", ".mp4"))
    require_utf8(path, UsageError)
    open_encoder = _vp8 if path.suffix.lower() == ".webm" else _Av1
    with replacing_output(path) as temporary:
        encoder = open_encoder(path, temporary, size, fps)
        reel = _Reel(encoder, fps)
        try:
            yield reel.add
        finally:
            reel.end()
            encoder.release()
        _check_video(path, temporary, reel.frames)


def _vp8(path: Path, temporary: Path, size: Size, fps: float) -> Encoder:
    """OpenCV's encoder; its VP9 takes twenty times longer."""
    with _silent_stderr():
        codec = cv2.VideoWriter.fourcc(*"VP80")
        encoder = cv2.VideoWriter(str(temporary), cv2.CAP_FFMPEG, codec, fps, (size[1], size[0]))
    if not encoder.isOpened():
        raise UsageError(f"{path}: must be a video that OpenCV can encode, got a refusal; choose --csv instead")
    return encoder


class _Av1:
    """PyAV's encoder, as OpenCV's wheel has none for an MP4 that browsers play."""

    def __init__(self, path: Path, temporary: Path, size: Size, fps: float) -> None:
        try:
            import av
        except ImportError as error:
            advice = f"run `pip install 'whc[video]'` (PyAV), or save {path.with_suffix('.webm').name}"
            raise UsageError(f"{path}: must have PyAV, which writes .mp4, got none; {advice}") from error
        self._path, self._frame = path, av.VideoFrame.from_ndarray
        with as_usage_error(path):
            # The index comes first in the file, so that a browser can begin before it has all of it.
            self._container = av.open(str(temporary), "w", options={"movflags": "+faststart"})
        rate = Fraction(fps).limit_denominator(1001)
        self._stream = self._container.add_stream("libsvtav1", rate, _AV1_OPTIONS)
        self._stream.height, self._stream.width, self._stream.pix_fmt = (*size, "yuv420p")
        self._stream.codec_context.colorspace, self._stream.codec_context.color_range = _BT601, _LIMITED_RANGE

    def write(self, picture: Image) -> None:
        """Add a picture, BGR uint8 (H, W, 3)."""
        with as_usage_error(self._path):
            self._container.mux(self._stream.encode(self._frame(picture, "bgr24")))

    def release(self) -> None:
        """Finish the file."""
        with as_usage_error(self._path), self._container:
            self._container.mux(self._stream.encode(None))


class _Reel:
    """Repeats each frame in a video of constant rate for as long as it is on the screen."""

    def __init__(self, encoder: Encoder, fps: float) -> None:
        self._encoder, self._fps = encoder, fps
        self._pending: Image | None = None
        self._skipped = 0  # places of a long gap that are not filled
        self.frames = 0  # number of frames written

    def add(self, result: Result) -> bool:
        """Write the pending frame up to the time of this frame, which is pending then."""
        place = round(result.seconds * self._fps) - self._skipped
        last_place = self.frames + max(1, round(MAX_HELD_SECONDS * self._fps))
        if place > last_place:
            self._skipped += place - last_place
        self._fill(min(place, last_place))
        self._pending = cv2.cvtColor(result.drawing, cv2.COLOR_RGB2BGR)
        return True

    def end(self) -> None:
        """Write the pending frame."""
        self._fill(self.frames + 1)

    def _fill(self, place: int) -> None:
        while self._pending is not None and self.frames < place:
            self._encoder.write(self._pending)
            self.frames += 1


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Suppress a warning of OpenCV: WebM lacks AVI's name of the codec, and OpenCV then finds the right name."""
    sys.stderr.flush()
    original, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(devnull, 2)
        yield
    finally:
        os.dup2(original, 2)
        os.close(original)
        os.close(devnull)


def _check_video(path: Path, temporary: Path, expected_frames: int) -> None:
    """Count the frames of a video, because OpenCV's encoder reports no failure, such as a full disk."""
    capture = cv2.VideoCapture(str(temporary), cv2.CAP_FFMPEG)
    frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    capture.release()
    if frames != expected_frames:
        raise UsageError(f"{path}: must hold {expected_frames} frames, got {max(frames, 0)}; is the disk full?")
