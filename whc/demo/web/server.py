"""Serves the page of the demo to this machine alone."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whc.demo.web.assemble import Page, policy
from whc.errors import UsageError

HOST = "127.0.0.1"
MAX_CONNECTIONS = 64
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Together they let the page read fine clocks: a pass of a tiny network is shorter than a coarse tick.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}


def serve(page: Page, port: int, announce: Callable[[str], None]) -> None:
    """Serve a page on this machine until Ctrl-C or SIGTERM.

    Args:
        page: the page with its files.
        port: port to listen on; 0 is a free one.
        announce: called with the page's address, which nobody can guess, when browsers can connect.

    Raises:
        UsageError: the port is taken.
    """
    token = secrets.token_urlsafe(16)
    # Ctrl-C is the way to end it. uvicorn closes its connections first, and then raises it again.
    with suppress(KeyboardInterrupt), _listening(port) as listener:
        port = listener.getsockname()[1]
        announce(f"http://{HOST}:{port}/{token}/")
        config = uvicorn.Config(
            application(page, token, port),
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=1,
        )
        uvicorn.Server(config).run(sockets=[listener])


def _listening(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        reason, next_step = os.strerror(error.errno or 0), "close what listens there, or choose another"
        raise UsageError(f"--port: must be free, got {port} ({reason}); {next_step}") from error


def application(page: Page, token: str, port: int) -> ASGIApp:
    """The page below a path that is its token, and the files of the page; nothing else."""

    async def show(request: Request) -> Response:
        del request
        nonce = secrets.token_urlsafe(16)
        rules = f"{policy(nonce)}; frame-ancestors 'none'"
        return HTMLResponse(page.served(nonce), headers={"Content-Security-Policy": rules})

    async def send_part(request: Request) -> Response:
        content = page.parts.get(request.path_params["name"])
        if content is None:
            return PlainTextResponse("nothing here", 404)
        return Response(content, media_type="application/octet-stream")

    routes = [Route(f"/{token}/", show), Route(f"/{token}/parts/{{name}}", send_part)]
    return _LocalGuard(Starlette(routes=routes), port)


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
