"""The HTTP server of our own pages and timers."""

from __future__ import annotations

import socket

import uvicorn
from starlette.types import ASGIApp

MAX_CONNECTIONS = 64


def run(app: ASGIApp, listener: socket.socket) -> None:
    """Serve an application on a socket, telling nobody what serves it.

    Raises:
        KeyboardInterrupt: Ctrl-C is the way to end it. uvicorn closes its connections first, and then raises it again.
    """
    config = uvicorn.Config(
        app,
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
