"""Servers on this machine, for what is read over a network."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import cv2
import numpy as np
import pytest

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    """Starts a server whose GET requests `answer` answers; returns its host and port."""
    with ExitStack() as stack:

        def start(answer: Answer) -> str:
            class Handler(http.server.BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    try:
                        answer(self)
                    except (BrokenPipeError, ConnectionResetError):
                        self.close_connection = True

                def log_message(self, *_: object) -> None:
                    pass

            server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            stack.callback(server.shutdown)
            return f"127.0.0.1:{server.server_port}"

        yield start


@pytest.fixture
def jpeg() -> Callable[..., bytes]:
    """A JPEG of one shade, 0..255."""

    def build(shade: int, height: int = 48, width: int = 64) -> bytes:
        return bytes(cv2.imencode(".jpg", np.full((height, width, 3), shade, np.uint8))[1].tobytes())

    return build


@pytest.fixture
def turned_jpeg(jpeg: Callable[..., bytes]) -> bytes:
    """One of 40x80 that its EXIF turns; its metadata have a preview, which has an end of its own."""
    entry = b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00"
    exif = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01" + entry + bytes(4) + jpeg(0, 8, 8)
    plain = jpeg(50, 40, 80)
    return plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif + plain[2:]
