"""MLflow's own pages over the registry, for this machine alone."""

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

MODELS_PAGE = "#/models"  # by name: its address takes no other order
_POLL_S = 0.2
_START_LIMIT_S = 120
_STOP_LIMIT_S = 10
_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # shells start background jobs with SIGINT ignored


def serve(location: Location, announce: Callable[[str], None]) -> None:
    """Run the UI until Ctrl-C, SIGTERM or the end of the terminal; an MLflow server has pages of its own.

    Args:
        location: the database to show and the address to listen on.
        announce: called with the address of the models' page when the UI answers there.

    Raises:
        RegistryError: the port is taken, or the UI does not start.
    """
    from whc.registry import store

    if location.is_http:
        store.connect(location)
        announce(f"{location.shown}/{MODELS_PAGE}")
        return
    _refuse_taken_port(location)
    # The database is created here: a server that is killed meanwhile would leave an incomplete one.
    store.connect_to_write(location)
    address = f"http://{location.host}:{location.port}"
    # Every one of these signals must end the server too.
    before = {number: signal.signal(number, signal.default_int_handler) for number in _ENDING_SIGNALS}
    try:
        with _server(location) as server:
            _await_answer(server, address)
            announce(f"{address}/{MODELS_PAGE}")
            server.wait()
    except KeyboardInterrupt:
        return
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    raise RegistryError(f"{address}: the UI stopped with exit code {server.returncode}; see the lines above")


def _refuse_taken_port(location: Location) -> None:
    with socket.socket() as probe:
        # With this option a port that was closed a moment ago counts as free, as it does for the server.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((location.host, location.port))
        except OSError as error:
            raise RegistryError(
                f"{location.host}:{location.port}: must be a free address, got: {error.strerror}; "
                "close what listens there or choose another with --port"
            ) from error


@contextmanager
def _server(location: Location) -> Iterator[subprocess.Popen[bytes]]:
    """The server's process; it ends with this block. Its group is its own, so that Ctrl-C does not reach it."""
    command = [sys.executable, "-m", "mlflow", "server"]
    command += ["--default-artifact-root", location.artifacts_uri, "--no-serve-artifacts"]
    command += ["--host", location.host, "--port", str(location.port), "--workers", "1"]
    # Given explicitly, because MLflow would else print advice on how to open the server to others.
    command += ["--allowed-hosts", f"{location.host}:{location.port},localhost:{location.port}"]
    command += ["--uvicorn-opts", "--log-level warning"]
    # Background jobs serve language-model features that whc does not use; they triple start-up time and memory.
    # Deprecation warnings of its libraries do not concern the user.
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}
    # Not an argument, which every user of this machine could read: the address may hold a password.
    environment["MLFLOW_BACKEND_STORE_URI"] = location.mlflow_uri
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        yield server
    finally:
        if server.poll() is None:
            server.terminate()
        try:
            server.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            # The whole group, because the server has a worker process.
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _await_answer(server: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    # No proxy: a proxy set in the environment cannot reach this machine's own addresses.
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
