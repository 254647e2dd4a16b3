"""Serves the pages of the demo to this machine alone."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whc import http_server
from whc.demo.web.assemble import Page, live_page, policy
from whc.demo.web.live import Broadcast
from whc.errors import UsageError

HOST = "127.0.0.1"
_BOUNDARY = "whc-frame"
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Together they let the page read fine clocks: a pass of a tiny network is shorter than a coarse tick.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}


Endpoint = Callable[[Request], Awaitable[Response]]
Site = Mapping[str, Endpoint]
"""What answers each path, below a token that nobody can guess; the page itself is the empty path."""


def serve(site: Site, port: int, announce: Callable[[str], None]) -> None:
    """Serve a page on this machine until Ctrl-C or SIGTERM.

    Args:
        site: the page and what it loads.
        port: port to listen on; 0 is a free one.
        announce: called with the page's address, which nobody can guess, when browsers can connect.

    Raises:
        UsageError: the port is taken.
    """
    token = secrets.token_urlsafe(16)
    with suppress(KeyboardInterrupt), _listening(port) as listener:
        port = listener.getsockname()[1]
        announce(f"http://{HOST}:{port}/{token}/")
        http_server.run(application(site, token, port), listener)


def _listening(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        reason, next_step = os.strerror(error.errno or 0), "close what listens there, or choose another"
        raise UsageError(f"--port: must be free, got {port} ({reason}); {next_step}") from error


def application(site: Site, token: str, port: int) -> ASGIApp:
    """A site below the path that is its token, and nothing else."""
    routes = [Route(f"/{token}/{path}", endpoint) for path, endpoint in site.items()]
    return _LocalGuard(Starlette(routes=routes), port)


def page_site(page: Page) -> Site:
    """A page that runs models in the browser, and the files that it loads."""

    async def show(request: Request) -> Response:
        del request
        return _html(page.served)

    async def send_part(request: Request) -> Response:
        content = page.parts.get(request.path_params["name"])
        if content is None:
            return PlainTextResponse("nothing here", 404)
        return Response(content, media_type="application/octet-stream")

    return {"": show, "parts/{name}": send_part}


def live_site(broadcast: Broadcast, title: str) -> Site:
    """A page that shows the frames that this machine draws, and says why there are none."""

    async def show(request: Request) -> Response:
        del request
        return _html(partial(live_page, title))

    async def stream(request: Request) -> Response:
        del request
        return StreamingResponse(
            _multipart(broadcast.watch()), media_type=f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
        )

    async def end(request: Request) -> Response:
        del request
        return PlainTextResponse(broadcast.end)

    return {"": show, "frames": stream, "end": end}


def _html(made: Callable[[str], str]) -> Response:
    """A page, which is made with a nonce of its own for each answer."""
    nonce = secrets.token_urlsafe(16)
    return HTMLResponse(made(nonce), headers={"Content-Security-Policy": f"{policy(nonce)}; frame-ancestors 'none'"})


async def _multipart(jpegs: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    boundary = f"--{_BOUNDARY}\r\n".encode("ascii")
    yield boundary
    async for jpeg in jpegs:
        head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
        # With the boundary that ends it: a browser shows a frame when it has seen that.
        yield head.encode("ascii") + jpeg + b"\r\n" + boundary


class _LocalGuard:
    """Refuses requests that a page of another origin made, or that reached this machine by another name."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._hosts = {f"{name}:{port}" for name in (HOST, "localhost")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if host not in self._hosts:
            await PlainTextResponse("the Host must be this machine", 421)(scope, receive, send)
        elif headers.get("origin", f"http://{host}") != f"http://{host}":
            await PlainTextResponse("pages of other origins may not ask this", 403)(scope, receive, send)
        else:
            await self._app(scope, receive, _with_headers(send))


def _with_headers(send: Send) -> Send:
    async def complete(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(_HEADERS)
        await send(message)

    return complete
