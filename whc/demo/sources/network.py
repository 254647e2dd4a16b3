"""Addresses: a picture, a video or an MJPEG stream over HTTP, and RTSP.

HTTP is asked once, to see what is there; FFmpeg then reads what is no picture by itself. FFmpeg also reads RTSP.
"""

from __future__ import annotations

import http.client
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote, unquote, urlsplit

import cv2

from whc.data.pictures import MAX_FILE_BYTES, printable
from whc.data.preprocess import Image, Unreadable, read_image
from whc.data.video import Frame, Video, begun, capture
from whc.demo.sources import files, jpegs
from whc.demo.sources.source import Source, live_rate
from whc.errors import DataError

OPEN_SECONDS = 20.0  # for the first frame
READ_SECONDS = 10.0  # for each answer
RTSP_PORT = 554
_CHUNK_BYTES = 1 << 16
_SCHEMES = ("http", "https", "rtsp", "rtsps")
_NO_PICTURES = ("text/", "audio/", "application/json", "application/xhtml")
_PLAYLISTS = ("mpegurl", "dash+xml")
_ADVICE = "check the address, and that it is on"
_FFMPEG_LIMITS = tuple(
    number
    for setting in (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
    for number in (setting, round(1000 * READ_SECONDS))
)


@dataclass(frozen=True)
class Address:
    """An address: as it was given, in ASCII; without user and password; and `name`, which may be printed."""

    full: str
    plain: str
    name: str
    host: str
    port: int | None
    user: str
    password: str

    @property
    def is_http(self) -> bool:
        """Whether HTTP is spoken there."""
        return self.full.lower().startswith("http")


def is_address(spec: str) -> bool:
    """Whether a source is an address, of whatever scheme."""
    scheme, separator, _ = spec.partition("://")
    return bool(separator) and scheme.isascii() and scheme.replace("+", "").isalnum()


def parse(spec: str) -> Address:
    """The parts of an address.

    Raises:
        DataError: it is of no scheme that is read, or has no host.
    """
    ascii_spec = quote(spec, safe="%/:=&?~#+!$,;'@()*[]", errors="surrogateescape")
    scheme = ascii_spec.partition("://")[0].lower()
    shown_spec = f"{scheme}://{printable(spec).partition('://')[2].rpartition('@')[2].partition('?')[0]}"
    if scheme not in _SCHEMES:
        raise DataError(f"{shown_spec}: must begin with {'://, '.join(_SCHEMES)}://, got {scheme}://; {_ADVICE}")
    try:
        parts = urlsplit(ascii_spec)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise DataError(f"{shown_spec}: must be an address, got: {error}; {_ADVICE}") from error
    if not host:
        raise DataError(f"{shown_spec}: must name a host, got none; {_ADVICE}")
    place = parts.netloc.rpartition("@")[2]
    plain = parts._replace(netloc=place, fragment="").geturl()
    # What follows `?` may hold a password too.
    name = parts._replace(netloc=place, query="...", fragment="").geturl() if parts.query else plain
    return Address(ascii_spec, plain, name, host, port, unquote(parts.username or ""), unquote(parts.password or ""))


@contextmanager
def opened(address: Address) -> Iterator[Source]:
    """Open what is at an address, and close it at the end.

    Raises:
        DataError: nothing answers in time, or what answers is no picture, video or stream.
    """
    if not address.is_http:
        _require_listener(address)
        with _video(address, is_file=False) as source:
            yield source
        return
    with closing(_answer(address)) as response:
        kind = response.headers.get_content_type()
        if kind.startswith("multipart/"):
            source = jpegs.source(address.name, _chunks(response, address.name), is_timed=True)
            source.is_live, source.frames = True, _until_end(source, source.frames)
            yield source
            return
        if kind.startswith("image/") and kind != "image/gif":
            yield files.pictures(address.name, [(address.name, partial(_picture, response))])
            return
        if kind.startswith(_NO_PICTURES):
            rule = "must be a picture, a video or an MJPEG stream"
            raise DataError(f"{address.name}: {rule}, got {printable(kind)}; {_ADVICE}")
        # A playlist is a file too, but what it plays may be live.
        is_file = response.length is not None and not kind.endswith(_PLAYLISTS)
    with _video(address, is_file) as source:
        yield source


class _CloseRefusal(urllib.request.BaseHandler):
    """Closes the refusal that asks for a password, as the handlers that answer it leave it open."""

    handler_order = 100  # before these

    def http_error_401(self, request: object, response: http.client.HTTPResponse, *_: object) -> None:
        """Leave the rest to others."""
        response.close()


def _answer(address: Address) -> http.client.HTTPResponse:
    handlers: list[urllib.request.BaseHandler] = [_CloseRefusal()]
    if address.user:
        passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        passwords.add_password(None, address.plain, address.user, address.password)
        handlers += (urllib.request.HTTPBasicAuthHandler(passwords), urllib.request.HTTPDigestAuthHandler(passwords))
    # Some cameras refuse a program that they do not know.
    request = urllib.request.Request(address.plain, headers={"User-Agent": "Mozilla/5.0 whc"})  # noqa: S310
    try:
        response: http.client.HTTPResponse = urllib.request.build_opener(*handlers).open(request, timeout=READ_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        reason = f"{error.code} {printable(str(error.reason))}"
        raise DataError(f"{address.name}: must answer with pictures, got {reason}; {_ADVICE}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DataError(f"{address.name}: must answer, got: {_reason(error)}; {_ADVICE}") from error
    return response


def _reason(error: BaseException) -> str:
    """Why there is no answer, in a few words."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f"nothing for {READ_SECONDS:g} s"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return printable(str(cause) or type(cause).__name__)


def _chunks(response: http.client.HTTPResponse, name: str) -> Iterator[bytes]:
    try:
        while chunk := response.read1(_CHUNK_BYTES):
            yield chunk
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DataError(f"{name}: must go on, got: {_reason(error)}; {_ADVICE}") from error


def _until_end(source: Source, frames: Iterator[Frame]) -> Iterator[Frame]:
    yield from frames
    source.ended = f"{source.name} ended"


def _picture(response: http.client.HTTPResponse) -> Image:
    try:
        encoded = response.read(MAX_FILE_BYTES + 1)
    except (OSError, http.client.HTTPException) as error:
        raise Unreadable(f"cut off: {_reason(error)}") from error
    if len(encoded) > MAX_FILE_BYTES:
        raise Unreadable(f"over {MAX_FILE_BYTES // 10**6} MB")
    return read_image(encoded)


def _require_listener(address: Address) -> None:
    """FFmpeg does not say why it cannot open an address; a plain connection does."""
    try:
        socket.create_connection((address.host, address.port or RTSP_PORT), READ_SECONDS).close()
    except (OSError, ValueError) as error:
        raise DataError(f"{address.name}: must answer, got: {_reason(error)}; {_ADVICE}") from error


@contextmanager
def _video(address: Address, is_file: bool) -> Iterator[Source]:
    """What FFmpeg reads at an address: live, unless it is a file, or says how many frames there are."""
    with capture(address.full, settings=_FFMPEG_LIMITS) as reader:
        if not reader.isOpened():
            rule = "must be a video or stream that FFmpeg can decode"
            raise DataError(f"{address.name}: {rule}, got something else; check the address, user and password")
        video = begun(reader, address.name)
        rate = live_rate(video.fps)
        source = Source(video.path, video.fps, video.size, video.count, iter(()), lambda: rate)
        source.is_live = video.count is None and not is_file
        source.frames = _frames(video, source)
        yield source


def _frames(video: Video, source: Source) -> Iterator[Frame]:
    last_moment = time.monotonic()
    for frame in video:
        yield frame
        last_moment = time.monotonic()
    if time.monotonic() - last_moment > 0.9 * READ_SECONDS:
        source.ended = f"{source.name} gave no frame for {READ_SECONDS:g} s"
    elif source.is_live:
        source.ended = f"{source.name} ended"
