"""MLflow's own pages over the embedded database, for this machine alone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from whc.errors import RegistryError
from whc.registry.location import Location

_POLL_S = 0.2
_START_LIMIT_S = 120
_STOP_LIMIT_S = 10
_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # SIGINT too: shells start background jobs with it ignored


def serve(location: Location, announce: Callable[[str], None]) -> None:
    """Run the UI until Ctrl-C, SIGTERM or the end of the terminal.

    Args:
        location: the database to show and the address to listen on.
        announce: given the address of the models' page once the UI answers there.

    Raises:
        RegistryError: the port is taken, or the UI does not start.
    """
    from whc.registry import store

    _refuse_taken_port(location)
    # Made and brought up to date here: the server would leave a database half-made if it were killed meanwhile.
    store.connect_to_write(location)
    address = f"http://{location.host}:{location.port}"
    # However it is told to end, it must not leave the server behind.
    before = {number: signal.signal(number, signal.default_int_handler) for number in _ENDINGS}
    try:
        with _server(location) as server:
            _await_answer(server, address)
            announce(f"{address}/#/models")
            server.wait()
    except KeyboardInterrupt:
        return
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    raise RegistryError(f"{address}: the UI stopped with exit code {server.returncode}; see the lines above")


def _refuse_taken_port(location: Location) -> None:
    with socket.socket() as probe:
        # A port whose last user has just left is free, as it is for the server itself.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((location.host, location.port))
        except OSError as error:
            raise RegistryError(
                f"{location.host}:{location.port}: must be a free address, got: {error.strerror}; "
                "close what listens there or choose another port in mlflow/server.yaml"
            ) from error


@contextmanager
def _server(location: Location) -> Iterator[subprocess.Popen[bytes]]:
    """The server's process, in a group of its own: it ends when this block does, whoever got the Ctrl-C."""
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", location.tracking_uri]
    command += ["--default-artifact-root", location.artifacts_uri, "--no-serve-artifacts"]
    command += ["--host", location.host, "--port", str(location.port), "--workers", "1"]
    # Named, so that MLflow does not advise to open the server to others.
    command += ["--allowed-hosts", f"{location.host}:{location.port},localhost:{location.port}"]
    command += ["--uvicorn-opts", "--log-level warning"]
    # Background jobs serve language-model features that whc does not have, and triple the start and the memory.
    # What its libraries deprecate is no concern of the user's.
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        yield server
    finally:
        if server.poll() is None:
            server.terminate()
        try:
            server.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            # The whole group: the server has a worker of its own.
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _await_answer(server: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    # A proxy that the environment names cannot reach this machine's own addresses.
    opener = build_opener(ProxyHandler({}))
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RegistryError(
                f"{address}: the UI ended with exit code {server.returncode} before it answered; see the lines above"
            )
        try:
            with opener.open(f"{address}/health", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(_POLL_S)
    raise RegistryError(f"{address}: the UI must answer within {_START_LIMIT_S} s, got nothing; try again")
