"""Pictures, videos and streams from addresses: real servers on this machine, good and bad."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from whc.data.preprocess import Image
from whc.demo.sources import network, open_source
from whc.demo.sources.network import parse
from whc.errors import DataError

Serve = Callable[..., str]
Build = Callable[..., Any]


def refusal(spec: str) -> str:
    """The one line that refuses a source."""
    with pytest.raises(DataError) as caught, open_source(spec) as source:
        list(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def picture_of(spec: str) -> Image:
    with open_source(spec) as source:
        (frame,) = source
        return frame.picture


def send(handler: BaseHTTPRequestHandler, kind: str, content: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def send_file(handler: BaseHTTPRequestHandler, kind: str, path: Path) -> None:
    """Send a file, or the part of it that is asked for."""
    content = path.read_bytes()
    first = int((handler.headers["Range"] or "bytes=0-").removeprefix("bytes=").partition("-")[0])
    handler.send_response(206)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(content) - first))
    handler.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
    handler.end_headers()
    handler.wfile.write(content[first:])


def send_stream(handler: BaseHTTPRequestHandler, jpegs: list[bytes], pause_s: float = 0.0) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
    handler.end_headers()
    for jpeg in jpegs:
        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
        handler.wfile.write(head.encode() + jpeg + b"\r\n")
        handler.wfile.flush()
        time.sleep(pause_s)


def test_a_stream_of_jpegs_is_live_and_its_end_is_told(serve: Serve, jpeg: Build) -> None:
    host = serve(lambda handler: send_stream(handler, [jpeg(shade) for shade in (20, 120, 220)], 0.2))
    with open_source(f"http://{host}/stream") as source:
        assert (source.is_live, source.size, source.count) == (True, (48, 64), None)
        shades, seconds = zip(*[(frame.picture.mean(), frame.seconds) for frame in source], strict=True)
        assert source.ended == f"http://{host}/stream ended"
    assert shades == pytest.approx([20, 120, 220], abs=3)
    assert seconds == pytest.approx([0, 0.2, 0.4], abs=0.15)


def test_who_is_slow_gets_the_newest_frame_and_the_others_are_counted(serve: Serve, jpeg: Build) -> None:
    host = serve(lambda handler: send_stream(handler, [jpeg(shade) for shade in range(0, 200, 5)], 0.02))
    with open_source(f"http://{host}/stream") as source:
        taken = []
        for frame in source:
            taken.append(frame.seconds)
            time.sleep(0.15)
        assert source.dropped > 15
        assert len(taken) + source.dropped == 40
    assert taken == sorted(taken)


def test_a_stream_that_breaks_ends_with_what_came(serve: Serve, jpeg: Build) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        send_stream(handler, [jpeg(9)] * 2, 0.2)
        handler.wfile.write(jpeg(9)[:300])

    host = serve(answer)
    with open_source(f"http://{host}/") as source:
        assert len(list(source)) == 2
        assert source.unreadable == ["picture 2: cannot be decoded"]


def test_a_picture_is_decoded_as_its_file_is(serve: Serve, turned_jpeg: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(turned_jpeg)
    host = serve(lambda handler: send(handler, "image/jpeg", turned_jpeg))
    far, near = (picture_of(spec) for spec in (f"http://{host}/a", str(tmp_path / "a.jpg")))
    assert far.shape == (80, 40, 3)
    np.testing.assert_array_equal(far, near)


def test_a_video_is_read_whole_at_its_times(serve: Serve, video: Build, grey: Build) -> None:
    path = video([grey(shade) for shade in range(0, 200, 20)], 12.5)
    host = serve(lambda handler: send_file(handler, "video/mp4", path))
    with open_source(f"http://{host}/clip.mp4") as source:
        assert (source.is_live, source.fps, source.count) == (False, 12.5, 10)
        frames = list(source)
        assert (source.dropped, source.ended) == (0, "")
    assert [frame.seconds for frame in frames] == pytest.approx([number * 0.08 for number in range(10)])
    assert [frame.picture.mean() for frame in frames] == pytest.approx(range(0, 200, 20), abs=4)


@pytest.mark.parametrize("scheme", ["Basic", "Digest"])
def test_user_and_password_are_sent_and_never_shown(serve: Serve, jpeg: Build, scheme: str) -> None:
    seen = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        given = handler.headers["Authorization"]
        seen.append(given)
        if given is None or (scheme == "Basic" and given != "Basic " + base64.b64encode(b"me:s@cret").decode()):
            handler.send_response(401)
            handler.send_header("WWW-Authenticate", f'{scheme} realm="camera", nonce="1", qop="auth"')
            handler.end_headers()
        else:
            send(handler, "image/jpeg", jpeg(7))

    host = serve(answer)
    with open_source(f"http://me:s%40cret@{host}/a?token=s3") as source:
        assert source.name == f"http://{host}/a?..."
    assert seen[-1].startswith(scheme)
    told = refusal(f"http://me:wrong@{host}/a?token=s3") if scheme == "Basic" else refusal(f"http://{host}/a?token=s3")
    assert "401" in told
    assert "wrong" not in told
    assert "s3" not in told


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("ftp://me:cret@host/x", "ftp://host/x: must begin with http://, https://, rtsp://, rtsps://, got ftp://;"),
        ("http://", "must name a host"),
        ("http://me:cret@host:port/", "must be an address, got: Port could not be cast"),
        ("http://[::1/", "must be an address, got: Invalid IPv6"),
        ("rtsp://127.0.0.1:1/x", "rtsp://127.0.0.1:1/x: must answer, got: Connection refused; check the address"),
        ("http://me:cret@127.0.0.1:1/x", "http://127.0.0.1:1/x: must answer, got: Connection refused; check"),
        ("http://nowhere.invalid/", "must answer, got: "),
        ("http://127.0.0.1:99999/", "must be an address, got: Port out of range"),
    ],
)
def test_what_is_no_address_or_does_not_answer(spec: str, told: str) -> None:
    message = refusal(spec)
    assert told in message
    assert "cret" not in message


@pytest.mark.parametrize(
    ("kind", "content", "told"),
    [
        ("text/html; charset=utf-8", b"<html>", "must be a picture, a video or an MJPEG stream, got text/html"),
        ("image/jpeg", b"nonsense", "must hold images that can be decoded, got none of 1"),
        ("image/jpeg", b"", "must hold images that can be decoded, got none of 1"),
        ("video/mp4", b"nonsense" * 100, "must be a video or stream that FFmpeg can decode, got something else"),
        ("video/mp4", b"", "must be a video or stream that FFmpeg can decode, got something else"),
        (
            "multipart/x-mixed-replace; boundary=a",
            b"--a\r\n\r\n",
            "must give JPEG pictures one after another, got none",
        ),
    ],
)
def test_what_is_no_picture_is_told(serve: Serve, kind: str, content: bytes, told: str) -> None:
    host = serve(lambda handler: send(handler, kind, content))
    message = refusal(f"http://{host}/x")
    assert message.startswith(f"http://{host}/x: ")
    assert told in message


@pytest.mark.parametrize("code", [404, 500])
def test_a_server_that_refuses(serve: Serve, code: int) -> None:
    host = serve(lambda handler: handler.send_error(code))
    assert f"got {code} " in refusal(f"http://{host}/")


def test_a_server_that_sends_no_http(silent: tuple[str, list[socket.socket]]) -> None:
    address, accepted = silent
    assert "within 0.5 s, got none; check that it is on" in refusal(f"http://{address}/")
    assert "within 0.5 s, got none; check that it is on" in refusal(f"rtsp://{address}/")
    assert accepted


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[socket.socket]]]:
    """A server that takes connections and says nothing, and a short time limit."""
    monkeypatch.setattr(network, "OPEN_SECONDS", 0.5)
    monkeypatch.setattr(network, "READ_SECONDS", 3.0)
    with listener() as (server, address):
        yield address, [server]


@contextmanager
def listener() -> Iterator[tuple[socket.socket, str]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server, f"127.0.0.1:{server.getsockname()[1]}"


def test_proxies_of_the_environment_are_not_asked_for_this_machine(
    serve: Serve, video: Build, grey: Build, jpeg: Build
) -> None:
    """FFmpeg's reading too, in a process of its own, as whc sets the environment when it starts."""
    clip = video([grey(9)] * 3)
    is_picture = "/a.jpg".__eq__

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if is_picture(handler.path):
            send(handler, "image/jpeg", jpeg(7))
        else:
            send_file(handler, "video/mp4", clip)

    host = serve(answer)
    program = textwrap.dedent("""
        import sys
        from whc.demo.sources import open_source
        for spec in sys.argv[1:]:
            with open_source(spec) as source:
                print(len(list(source)))
    """)
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "ALL_PROXY", "https_proxy"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-c", program, f"http://{host}/a.jpg", f"http://{host}/b.mp4"],
        env=os.environ | proxies | {"no_proxy": "example.org"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("1\n3\n", "")


def test_names_of_addresses() -> None:
    address = parse("rtsp://user:p%40ss@cam.local:8554/live/ä?key=1")
    assert address.name == "rtsp://cam.local:8554/live/%C3%A4?..."
    assert (address.host, address.port, address.user, address.password) == ("cam.local", 8554, "user", "p@ss")


@contextmanager
def rtsp_server(stream: bytes, pause_s: float) -> Iterator[str]:
    """Sends a transport stream (MPEG-TS) in RTP packets over the connection that asks for it, and then nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"127.0.0.1:{server.getsockname()[1]}"
        thread = threading.Thread(target=answer_rtsp, args=(server, stream, pause_s), daemon=True)
        thread.start()
        yield place
        thread.join(10)


def answer_rtsp(server: socket.socket, stream: bytes, pause_s: float) -> None:
    description = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track\r\n"
    heads = {
        "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(description)}\r\n",
        "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n",
    }
    connection = server.accept()[0]
    while not connection.recv(1):  # the first connection only looks whether somebody listens
        connection.close()
        connection = server.accept()[0]
    with connection, connection.makefile("rb") as requests:
        method = ""
        while method != "PLAY":
            lines = list(iter(lambda: requests.readline().decode().strip(), ""))
            method, _, _ = lines[0].partition(" ")
            method = {"PTIONS": "OPTIONS"}.get(method, method)
            number = next(line for line in lines if line.lower().startswith("cseq"))
            reply = f"RTSP/1.0 200 OK\r\n{number}\r\nSession: 1\r\n{heads.get(method, '')}\r\n"
            connection.sendall((reply + (description if method == "DESCRIBE" else "")).encode())
        for number, first in enumerate(range(0, len(stream), 7 * 188)):
            payload = stream[first : first + 7 * 188]
            packet = b"\x80\x21" + number.to_bytes(2) + (number * 900).to_bytes(4) + bytes(4) + payload
            connection.sendall(b"$\x00" + len(packet).to_bytes(2) + packet)
            time.sleep(pause_s)


@pytest.fixture
def transport_stream(tmp_path: Path, grey: Build) -> Path:
    """A video of 100 frames whose header does not count them."""
    path = tmp_path / "a.ts"
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MPG2"), 25, (64, 48))
    assert writer.isOpened()
    for number in range(100):
        writer.write(grey(2 * number, 48, 64))
    writer.release()
    return path


def test_a_file_is_not_live_though_nobody_counts_its_frames(serve: Serve, transport_stream: Path) -> None:
    host = serve(lambda handler: send(handler, "video/mp2t", transport_stream.read_bytes()))
    with open_source(f"http://{host}/a.ts") as source:
        assert not source.is_live
        frames = len(list(source))
        assert (frames > 80, source.dropped, source.ended) == (True, 0, "")


def test_rtsp_is_live_and_its_end_is_told(transport_stream: Path) -> None:
    with (
        rtsp_server(transport_stream.read_bytes(), 0.01) as place,
        open_source(f"rtsp://me:cret@{place}/live") as source,
    ):
        assert (source.name, source.is_live, source.size) == (f"rtsp://{place}/live", True, (48, 64))
        frames = list(source)
        assert source.ended == f"rtsp://{place}/live ended"
    assert len(frames) + source.dropped > 80
    assert (np.diff([frame.seconds for frame in frames]) > 0).all()
    assert frames[-1].seconds == pytest.approx(4, abs=0.5)
